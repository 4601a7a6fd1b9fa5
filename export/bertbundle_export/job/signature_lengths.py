"""Choose the lengths of the signatures."""

from __future__ import annotations

from bertbundle_export.errors import ExportError
from bertbundle_export.options import MIN_LENGTH, ExportOptions
from bertbundle_export.precision import choose_precision

__all__ = ["signature_lengths"]

DEFAULT_MAX_LENGTH = 128
_MIN_DEFAULT_LENGTH = 8


def signature_lengths(
    options: ExportOptions, max_positions: int | None, stated_length: int | None = None
) -> dict[str, int]:
    """Return the length of each signature by name, shortest first, `serving_default` last.

    Args:
        options: the user's choices.
        max_positions: length of the longest sequence that the model accepts; None if unknown.
        stated_length: length of the longest text that the tokenizer's files state; None if they state none.

    Raises:
        ExportError: a length is shorter than 3, or longer than `max_length` or the model's limit.
    """
    limit = max_positions or options.max_length or DEFAULT_MAX_LENGTH
    longest = options.max_length or min(DEFAULT_MAX_LENGTH, limit, stated_length or limit)
    if longest > limit:
        raise ExportError(
            f"max_length {longest} exceeds the model's max_position_embeddings {limit}. Choose at most {limit}."
        )
    shorter = _shorter_lengths(options, longest)
    wrong = [length for length in (*shorter, longest) if not MIN_LENGTH <= length <= longest]
    if wrong:
        raise ExportError(
            f"length {wrong[0]} is not valid: lengths range from {MIN_LENGTH} ([CLS], a token, [SEP]) to max_length "
            f"{longest}."
        )
    return {f"length_{length}": length for length in shorter} | {"serving_default": longest}


def _shorter_lengths(options: ExportOptions, longest: int) -> list[int]:
    if options.lengths is not None:
        return sorted(set(options.lengths) - {longest})
    keeps_copies = choose_precision(options.precision)[0] in ("bfloat16", "int8") and "saved_model" in options.formats
    lengths = _powers_of_two(longest) if keeps_copies else _default_lengths(longest)
    return [length for length in lengths if length < longest]


def _powers_of_two(longest: int) -> list[int]:
    """Return the powers of two from 16.

    For each length that a BERT-base ran with, TensorFlow keeps a copy of its kernels: 0.2 GB in bfloat16, 0.1 in int8.
    """
    return [1 << power for power in range(4, longest.bit_length())]


def _default_lengths(longest: int) -> list[int]:
    """Return lengths in steps of 8, or of a quarter of the last power of two if that is more."""
    lengths = [_MIN_DEFAULT_LENGTH]
    while lengths[-1] < longest:
        power = 1 << (lengths[-1].bit_length() - 1)
        lengths.append(lengths[-1] + max(_MIN_DEFAULT_LENGTH, power // 4))
    return lengths
