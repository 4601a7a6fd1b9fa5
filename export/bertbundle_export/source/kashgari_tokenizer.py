"""Kashgari's tokenizer: it looks up whole tokens, and leaves it to its user how texts are split into them.

Source: Kashgari 2.0.2, processors/sequence_processor.py; 1.1.5, processors/base_processor.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors

from bertbundle_export.errors import CheckpointError

__all__ = ["describe_splitting", "is_kashgari", "load_kashgari_tokenizer", "split_anything"]

_FILES = ("model_config.json", "model_info.json")
_SPECIAL = ("token_unk", "token_bos", "token_eos")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_MIN_CHINESE = 1 / 3  # 0.7 in BERT's Chinese vocabulary, 0.1 in its multilingual one
_UNUSED = "\ue000"


def is_kashgari(path: Path) -> bool:
    """Return whether a path is the configuration of a model of Kashgari, by its name."""
    return path.name in _FILES


def describe_splitting(file: Path) -> str:
    """Return how `load_kashgari_tokenizer` splits texts, for the user."""
    return "into single characters" if _is_chinese(_read_processor(file)[0]) else "at white space"


def load_kashgari_tokenizer(file: Path, *, lowercase: bool | None = None) -> tokenizers.Tokenizer:
    """Build the tokenizer of a model of Kashgari.

    Texts are split into single characters if the vocabulary is Chinese, as in ``list(text)``, otherwise at white space,
    as in ``text.split()``. A word that is not in the vocabulary is unknown; it is not split into pieces.

    Args:
        file: model_config.json or model_info.json.
        lowercase: whether to lower-case; Kashgari itself does not.

    Raises:
        CheckpointError: it has no vocabulary, or no tokens for the start, the end and unknown words.
    """
    vocabulary, special = _read_processor(file)
    missing = [name for name in _SPECIAL if special.get(name) not in vocabulary]
    if missing:
        raise CheckpointError(
            f"{file} has no token {', '.join(f'{name} {special.get(name)!r}' for name in missing)} in its vocabulary, "
            "which BERT needs. Pass --tokenizer with the tokenizer.json that the model was trained with."
        )
    unknown, start, end = (special[name] for name in _SPECIAL)
    tokenizer = tokenizers.Tokenizer(models.WordLevel(dict(vocabulary), unk_token=unknown))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(start, vocabulary[start]), (end, vocabulary[end])],
    )
    # Without this, the name of a special token that a stranger types would be that token.
    typed = Regex(r"\[(?=[A-Z]+\])")
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(typed, _UNUSED), *([normalizers.Lowercase()] if lowercase else [])]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return split_anything(tokenizer) if _is_chinese(vocabulary) else tokenizer


def split_anything(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Return a copy that splits texts into single characters, white space included."""
    copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    copy.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return copy


def _read_processor(file: Path) -> tuple[Mapping[str, int], Mapping[str, str]]:
    """Return the vocabulary and the names of the special tokens."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        processor = stored["text_processor"] if "text_processor" in stored else stored["embedding"]["processor"]
        settings = processor["config"]
        vocabulary = {
            str(token): int(number) for token, number in settings.get("vocab2idx", settings.get("token2idx")).items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file} has no vocabulary: {type(error).__name__}: {error}. Save the model again."
        ) from error
    defaults = {"token_unk": "[UNK]", "token_bos": "[CLS]", "token_eos": "[SEP]"}
    return vocabulary, {name: str(settings.get(name, default)) for name, default in defaults.items()}


def _is_chinese(vocabulary: Mapping[str, int]) -> bool:
    return sum(bool(_CHINESE.search(token)) for token in vocabulary) >= _MIN_CHINESE * len(vocabulary)
