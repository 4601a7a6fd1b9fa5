"""Make the tokenizer.json of a bundle: the fast tokenizer, casing included, without truncation or padding."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

from bertbundle.errors import CheckpointError

__all__ = ["by_character", "character_tokenizer", "check_tokenizer", "is_lowercase", "load_tokenizer", "special_ids"]

# An embedding matrix is often rounded up to a multiple of a power of two; 128 is the largest that is usual.
_ROUNDING = 128


def load_tokenizer(path: Path, *, lowercase: bool | None = None) -> tokenizers.Tokenizer:
    """Load the tokenizer of a BERT directory as transformers does, from tokenizer.json or vocab.txt.

    Args:
        path: a directory with tokenizer.json or vocab.txt, or a vocab.txt.
        lowercase: whether to lower-case; None for what tokenizer_config.json says, and without one for what the
            vocabulary shows (no capital letters: lower-case).

    Raises:
        CheckpointError: neither file is there, or it cannot be read.
    """
    from transformers import BertTokenizerFast

    directory = path if path.is_dir() else path.parent
    vocab = directory / "vocab.txt" if path.is_dir() else path
    if not (directory / "tokenizer.json").is_file() and not vocab.is_file():
        raise CheckpointError(
            f"no tokenizer in {directory}: expected tokenizer.json or vocab.txt. Copy the one the model was trained "
            "with there, or pass --tokenizer."
        )
    try:
        options = _casing(directory, vocab, lowercase)
        if path.is_dir():
            fast = BertTokenizerFast.from_pretrained(str(directory), local_files_only=True, **options)
        else:
            fast = BertTokenizerFast(vocab_file=str(vocab), **options)
    except Exception as error:  # tokenizers raises plain Exception for a malformed file
        raise CheckpointError(f"the tokenizer in {directory} cannot be read: {error}.") from error
    return _without_limits(fast.backend_tokenizer)


def _casing(directory: Path, vocab: Path, lowercase: bool | None) -> dict[str, bool]:
    if lowercase is not None:
        return {"do_lower_case": lowercase}
    if any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        return {}
    return {"do_lower_case": not _has_capitals(vocab)}


def _without_limits(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Drop truncation and padding: sentence-transformers' files cut texts silently at 128 tokens."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _has_capitals(vocab: Path) -> bool:
    tokens = vocab.read_text(encoding="utf-8").splitlines()
    return any(token != token.lower() for token in tokens if token[:1] not in ("[", "<"))


def by_character(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Return a copy that makes every character a token of its own, as Chinese taggers are trained.

    >>> tokens = by_character(tokenizer).encode("1966年").tokens  # doctest: +SKIP
    ['[CLS]', '1', '9', '6', '6', '年', '[SEP]']
    """
    copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    single = pre_tokenizers.Split(Regex("."), "isolated")
    copy.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), single])
    return copy


def character_tokenizer(vocab: Path, *, lowercase: bool | None = None) -> tokenizers.Tokenizer:
    """Make a character tokenizer from a vocab.txt, see `by_character`."""
    return by_character(load_tokenizer(vocab, lowercase=lowercase))


def check_tokenizer(tokenizer: tokenizers.Tokenizer, vocab_size: int) -> None:
    """Check that a tokenizer belongs to embeddings of a size.

    Raises:
        CheckpointError: it has no [UNK], ids beyond the embeddings, or far fewer than they.
    """
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    if "[UNK]" not in vocabulary:
        raise CheckpointError(
            f"the tokenizer's vocabulary of {len(vocabulary)} tokens has no [UNK]. Use the tokenizer.json or vocab.txt "
            "that the model was trained with."
        )
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if highest >= vocab_size or vocab_size - highest > _ROUNDING:
        raise CheckpointError(
            f"the tokenizer has {highest + 1} tokens, the model's embeddings have {vocab_size}: they do not belong "
            "together. Use the tokenizer.json or vocab.txt that the model was trained with."
        )


def is_lowercase(tokenizer: tokenizers.Tokenizer) -> bool:
    """Return whether a tokenizer lower-cases what it reads."""
    normalizer: normalizers.Normalizer | None = tokenizer.normalizer
    return normalizer is not None and normalizer.normalize_str("A") == "a"


def special_ids(tokenizer: tokenizers.Tokenizer, pad_id: int) -> tuple[int, ...]:
    """Return the ids that stand for no text: what the tokenizer puts around one, and the padding.

    Raises:
        CheckpointError: the tokenizer adds no [CLS] and [SEP].
    """
    around = tokenizer.encode("").ids
    if len(around) < 2:
        post = json.loads(tokenizer.to_str()).get("post_processor")
        raise CheckpointError(
            f"the tokenizer puts {len(around)} special tokens around a text, BERT needs [CLS] and [SEP] "
            f"(post_processor: {post}). Use the tokenizer.json the model was trained with."
        )
    return tuple(sorted({*around, pad_id}))
