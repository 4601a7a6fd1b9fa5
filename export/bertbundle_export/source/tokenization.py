"""Load the tokenizer of a checkpoint for a bundle: with its casing, without truncation or padding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers

from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.added_tokens import check_added_ids
from bertbundle_export.source.japanese import load_japanese
from bertbundle_export.source.kashgari_tokenizer import is_kashgari, load_kashgari_tokenizer, split_anything
from bertbundle_export.source.stored_tokenizer import load_stored_tokenizer
from bertbundle_export.source.tokenizer_settings import has_definition, is_japanese, read_tokenizer_settings
from bertbundle_export.source.wordpiece import load_wordpiece

__all__ = [
    "character_tokenizer",
    "check_padding",
    "check_tokenizer",
    "is_lowercase",
    "load_tokenizer",
    "mask_token",
    "special_ids",
    "split_characters",
]

# Embedding matrices are often padded to a multiple of a power of two, usually 128 at most.
_MAX_UNUSED_EMBEDDINGS = 128
_OTHER_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "spiece.model")
_MASK_TOKENS = ("[MASK]", "<mask>")


def load_tokenizer(path: Path, *, lowercase: bool | None = None) -> tokenizers.Tokenizer:
    """Load the tokenizer of a directory as transformers does: from tokenizer.json, or from the vocabulary.

    Args:
        path: a vocab.txt, or a directory with vocab.txt (BERT's WordPiece), tokenizer.json, or the files of another
            kind of tokenizer (vocab.json and merges.txt, spiece.model); or Kashgari's configuration.
        lowercase: whether to lower-case. None for the setting in tokenizer_config.json; without that file, texts are
            lower-cased if the vocabulary has no capital letters.

    Raises:
        CheckpointError: the files are missing or cannot be read, or a setting cannot be followed.
    """
    if is_kashgari(path):
        return load_kashgari_tokenizer(path, lowercase=lowercase)
    directory = path if path.is_dir() else path.parent
    vocab = directory / "vocab.txt" if path.is_dir() else path
    if not vocab.is_file() and not any((directory / name).is_file() for name in _OTHER_TOKENIZER_FILES):
        raise CheckpointError(
            f"no tokenizer in {directory}: expected tokenizer.json or vocab.txt. Copy the model's own there, or pass "
            "--tokenizer."
        )
    settings = read_tokenizer_settings(path)
    try:
        tokenizer = _load(path, vocab, settings, lowercase)
    except CheckpointError:
        raise
    except Exception as error:  # tokenizers raises plain Exception for a malformed file
        raise CheckpointError(f"the tokenizer in {directory} cannot be read: {error}.") from error
    return _without_limits(tokenizer)


def _load(path: Path, vocab: Path, settings: Mapping[str, Any], lowercase: bool | None) -> tokenizers.Tokenizer:
    if path.suffix == ".json":
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
        check_added_ids(tokenizer, path)
        return _check_casing(tokenizer, path, lowercase)
    if is_japanese(path, settings):
        return load_japanese(vocab, settings, lowercase=lowercase)
    if path.is_file() or not has_definition(path):
        return load_wordpiece(vocab, settings, lowercase=lowercase)
    return _check_casing(load_stored_tokenizer(path, settings, lowercase), path, lowercase)


def _check_casing(tokenizer: tokenizers.Tokenizer, path: Path, lowercase: bool | None) -> tokenizers.Tokenizer:
    if lowercase is not None and is_lowercase(tokenizer) != lowercase:
        raise CheckpointError(
            f"the tokenizer of {path} {'keeps capital letters' if lowercase else 'lower-cases texts'}, which "
            f"--{'' if lowercase else 'no-'}lowercase cannot change. Leave it out, or pass --tokenizer with a "
            "vocab.txt or another tokenizer.json."
        )
    return tokenizer


def _without_limits(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Remove truncation and padding: sentence-transformers' files truncate texts silently at 128 tokens."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def split_characters(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Return a copy that tokenizes into single characters, as most Chinese taggers do.

    Raises:
        CheckpointError: the tokenizer keeps words whole that BERT's splits.

    >>> tokens = split_characters(tokenizer).encode("1966年").tokens  # doctest: +SKIP
    ['[CLS]', '1', '9', '6', '6', '年', '[SEP]']
    """
    if isinstance(tokenizer.model, models.WordLevel):
        return split_anything(tokenizer)
    if isinstance(tokenizer.pre_tokenizer, pre_tokenizers.Split):
        raise CheckpointError(
            "--characters splits all words, never_split of tokenizer_config.json or do_basic_tokenize false keep some "
            "whole. Leave --characters out, or remove the setting."
        )
    copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    single = pre_tokenizers.Split(Regex("."), "isolated")
    copy.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), single])
    return copy


def character_tokenizer(vocab: Path, *, lowercase: bool | None = None) -> tokenizers.Tokenizer:
    """Load a vocab.txt as a tokenizer of single characters, see `split_characters`."""
    return split_characters(load_tokenizer(vocab, lowercase=lowercase))


def check_tokenizer(tokenizer: tokenizers.Tokenizer, vocab_size: int) -> None:
    """Check that a tokenizer fits embeddings of a given size.

    Raises:
        CheckpointError: it has no token for unknown words, ids beyond the embeddings, or far fewer ids.
    """
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    unknown = getattr(tokenizer.model, "unk_token", None)
    if unknown is not None and unknown not in vocabulary:
        raise CheckpointError(
            f"the tokenizer's vocabulary of {len(vocabulary)} tokens has no {unknown}. Use the tokenizer.json or "
            "vocab.txt that the model was trained with."
        )
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if highest >= vocab_size or vocab_size - highest > _MAX_UNUSED_EMBEDDINGS:
        raise CheckpointError(
            f"the tokenizer has {highest + 1} tokens, the model's embeddings have {vocab_size}: they do not match. "
            "Use the tokenizer.json or vocab.txt that the model was trained with."
        )


def check_padding(tokenizer: tokenizers.Tokenizer, pad_id: int) -> None:
    """Check that a text cannot contain the padding token of a model that counts positions from it, as RoBERTa does.

    Raises:
        CheckpointError: the id belongs to another token, which has the position of padding wherever a text contains it.
    """
    token = tokenizer.id_to_token(pad_id)
    if "pad" not in str(token).lower():
        raise CheckpointError(
            f"config.json has pad_token_id {pad_id}, which is the token {token!r}: RoBERTa gives that token the "
            "position of padding, which is not supported. Use the config.json and the tokenizer that the model was "
            "trained with."
        )


def is_lowercase(tokenizer: tokenizers.Tokenizer) -> bool:
    """Return whether a tokenizer lower-cases texts."""
    normalizer: normalizers.Normalizer | None = tokenizer.normalizer
    return normalizer is not None and normalizer.normalize_str("A") == "a"


def special_ids(tokenizer: tokenizers.Tokenizer, pad_id: int) -> tuple[int, ...]:
    """Return the ids that do not stand for text: those that the tokenizer adds to each text, and the padding.

    Raises:
        CheckpointError: the tokenizer adds no [CLS] and [SEP].
    """
    added = tokenizer.encode("").ids
    if len(added) < 2:
        post = json.loads(tokenizer.to_str()).get("post_processor")
        raise CheckpointError(
            f"the tokenizer adds {len(added)} special tokens to a text, BERT needs [CLS] and [SEP] "
            f"(post_processor: {post}). Use the tokenizer.json the model was trained with."
        )
    return tuple(sorted({*added, pad_id}))


def mask_token(tokenizer: tokenizers.Tokenizer) -> tuple[str, int]:
    """Return the mask token and its id.

    Raises:
        CheckpointError: the tokenizer has none.
    """
    for token in _MASK_TOKENS:
        if tokenizer.token_to_id(token) is not None:
            return token, tokenizer.token_to_id(token)
    raise CheckpointError(f"the tokenizer has no mask token ({' or '.join(_MASK_TOKENS)}), which fill-mask needs.")
