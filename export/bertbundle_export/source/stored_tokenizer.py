"""Load a tokenizer.json as transformers does, with the settings and the vocabulary in the files beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.added_tokens import check_added_ids
from bertbundle_export.source.tokenizer_settings import read_object, settings_of_version_5, tokenizer_class

__all__ = ["load_stored_tokenizer"]

# Classes that follow a tokenizer.json as it is: transformers' general class, by its names in versions 4 and 5.
_GENERAL_CLASSES = ("PreTrainedTokenizer", "TokenizersBackend")
# What BERT's classes set in the BertNormalizer of a tokenizer.json: by setting, its key there and its default.
_NORMALIZER = {
    "do_lower_case": ("lowercase", True),
    "strip_accents": ("strip_accents", None),
    "tokenize_chinese_chars": ("handle_chinese_chars", True),
}


def load_stored_tokenizer(path: Path, settings: Mapping[str, Any], lowercase: bool | None) -> tokenizers.Tokenizer:
    """Load the tokenizer of a directory with a tokenizer.json, or with a vocabulary that is not WordPiece's.

    Args:
        path: the directory.
        settings: the content of its tokenizer_config.json, checked.
        lowercase: overrides `do_lower_case`.

    Raises:
        CheckpointError: the files contradict each other.
    """
    file = path / "tokenizer.json"
    stored = read_object(file)
    _check_vocabulary(path, stored)
    casing = {} if lowercase is None else {"do_lower_case": lowercase}
    options = {**settings_of_version_5(settings), **casing}
    loader = _loader(str(tokenizer_class(path, settings)), stored)
    if loader == "BertTokenizerFast":
        _check_normalizer(file, stored["normalizer"], {**settings, **casing})
    import transformers

    loaded = getattr(transformers, loader).from_pretrained(str(path), local_files_only=True, **options)
    tokenizer: tokenizers.Tokenizer = loaded.backend_tokenizer
    check_added_ids(tokenizer, path)
    return tokenizer


def _loader(name: str, stored: Mapping[str, Any]) -> str:
    """Return the class of transformers that loads a tokenizer: BERT's changes the normalizer, if it is BERT's."""
    if stored and name.removesuffix("Fast") in _GENERAL_CLASSES:
        return "PreTrainedTokenizerFast"
    if (stored.get("model") or {}).get("type") != "WordPiece":
        return "AutoTokenizer"
    is_bert = (stored.get("normalizer") or {}).get("type") == "BertNormalizer"
    return "BertTokenizerFast" if is_bert else "PreTrainedTokenizerFast"


def _check_normalizer(file: Path, normalizer: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse a normalizer that transformers would replace by a default: the files would say both."""
    replacing = {key: settings.get(name, default) for name, (key, default) in _NORMALIZER.items()}
    if _effect(normalizer) == _effect(replacing):
        return
    for name, (key, default) in _NORMALIZER.items():
        if name not in settings and normalizer.get(key) != default:
            raise CheckpointError(
                f"{file} has the normalizer's {key} {json.dumps(normalizer.get(key))}, and tokenizer_config.json has "
                f"no {name}, which transformers takes for {json.dumps(default)}: the model may have been trained with "
                f"either. Add {name} to tokenizer_config.json, or pass --tokenizer {file} to follow that file."
            )


def _effect(normalizer: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return whether a BertNormalizer lower-cases, strips accents, and separates Chinese characters."""
    lowercase, strips = normalizer.get("lowercase"), normalizer.get("strip_accents")
    return lowercase, lowercase if strips is None else strips, normalizer.get("handle_chinese_chars")


def _check_vocabulary(path: Path, stored: Mapping[str, Any]) -> None:
    """Refuse a vocabulary that differs from the one in tokenizer.json: transformers' slow classes read the former."""
    model = stored.get("model") or {}
    file, stated = _stated_vocabulary(path, model.get("type"))
    if not stated:
        return
    added = {token["content"]: token["id"] for token in stored.get("added_tokens") or ()}
    found = {token.strip(): index for token, index in {**model["vocab"], **added}.items()}
    differing = [token for token, index in stated.items() if found.get(token) != index]
    differing += [token.strip() for token in model["vocab"] if token.strip() and token.strip() not in stated]
    if differing:
        raise CheckpointError(
            f"{file} and tokenizer.json have different vocabularies, for example {differing[0]!r} has the id "
            f"{stated.get(differing[0])} and {found.get(differing[0])}: one of them was changed. Pass --tokenizer "
            f"{file}, or --tokenizer {path / 'tokenizer.json'}, whichever the model was trained with."
        )


def _stated_vocabulary(path: Path, kind: str | None) -> tuple[Path, dict[str, int]]:
    """Return the file beside tokenizer.json with the vocabulary, and its ids by token; empty if there is none.

    White space around a token is ignored: the tokenizers library removes it from a vocab.txt.
    """
    file = path / ("vocab.txt" if kind == "WordPiece" else "vocab.json")
    if kind not in ("WordPiece", "BPE") or not file.is_file():
        return file, {}
    if kind == "BPE":
        return file, {str(token).strip(): index for token, index in read_object(file).items() if str(token).strip()}
    lines = file.read_text(encoding="utf-8-sig").split("\n")
    return file, {line.strip(): index for index, line in enumerate(lines) if line.strip()}
