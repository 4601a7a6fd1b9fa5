"""How a bundle is made: what the user may choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bertbundle.contract.labels import SCHEMES
from bertbundle_export.errors import ExportError
from bertbundle_export.precision import choose_precision

__all__ = ["DECODINGS", "FORMATS", "WORD_LABELS", "ExportOptions", "check_use", "signature_lengths"]

FORMATS = ("saved_model", "onnx")
WORD_LABELS = ("token", "first", "first-labelled")
DECODINGS = ("auto", "crf", "viterbi", "argmax")
DEFAULT_MAX_LENGTH = 128
_SHORTEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How a bundle is made.

    Attributes:
        max_length: tokens of `serving_default`; None for 128, or the model's own limit if that is less.
        lengths: lengths of the shorter signatures; None for every 8 to 64, every 16 to 128, every 32 to 256, every 64
            to 512, below `max_length`; of a SavedModel in bfloat16 the powers of two.
        formats: any of "saved_model" and "onnx".
        precision: of the encoder's matrix products: "float32"; "bfloat16", the SavedModel's; "int8", the ONNX files';
            or "auto" for float32 or bfloat16, what this processor favours.
        characters: make every character a token, as Chinese taggers are trained.
        label_scheme: name of a label scheme; None detects it.
        label_decoding: "crf", "viterbi", "argmax", or "auto": the model's CRF if it has one, else Viterbi where labels
            are BIO, BIOES or BMES.
        crf_transitions, crf_start, crf_end: dotted attributes of a model that does not return its CRF's scores itself:
            of a label after another ``[labels, labels]``, of the first label and of the last ``[labels]``.
        word_labels: see `Manifest.word_labels`.
        top_k: tokens that fill-mask offers for each mask.
        texts: texts to prove the export on; None for a set that comes with the package.
    """

    max_length: int | None = None
    lengths: Sequence[int] | None = None
    formats: Sequence[str] = FORMATS
    precision: str = "float32"
    characters: bool = False
    label_scheme: str | None = None
    label_decoding: str = "auto"
    crf_transitions: str | None = None
    crf_start: str | None = None
    crf_end: str | None = None
    word_labels: str = "token"
    top_k: int = 10
    texts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _check_choice("word_labels", self.word_labels, WORD_LABELS)
        _check_choice("label_decoding", self.label_decoding, DECODINGS)
        if self.top_k < 1:
            raise ExportError(f"top_k must be at least 1, got {self.top_k}.")
        if self.label_scheme is not None:
            _check_choice("label_scheme", self.label_scheme, tuple(SCHEMES))
        if not self.formats or not set(self.formats) <= set(FORMATS):
            raise ExportError(f"formats must be some of {', '.join(FORMATS)}, got {', '.join(self.formats) or 'none'}.")
        if self.precision == "int8" and "onnx" not in self.formats:
            raise ExportError("precision int8 is of the ONNX files: a SavedModel has none. Add onnx to --formats.")


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ExportError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")


# What only some tasks have a use for: the option, what it is when it is not given, and the tasks.
_TAGGERS, _FEATURES = ("token-classification",), ("feature-extraction",)
_FOR: Sequence[tuple[str, Any, Sequence[str]]] = (
    ("label_scheme", None, _TAGGERS),
    ("label_decoding", "auto", _TAGGERS),
    ("crf_transitions", None, _TAGGERS),
    ("crf_start", None, _TAGGERS),
    ("crf_end", None, _TAGGERS),
    ("word_labels", "token", _TAGGERS),
    ("top_k", 10, ("fill-mask",)),
    ("multi_label", None, ("text-classification",)),
    ("labels", None, ("token-classification", "text-classification")),
    ("last_layers", 1, _FEATURES),
    ("normalize", None, _FEATURES),
)


def check_use(task: str, *given: Any) -> None:
    """Check that every option that was given is one that the task has a use for.

    Args:
        task: name of the task.
        given: objects that have the options as attributes.

    Raises:
        ExportError: one would be ignored.
    """
    for name, default, tasks in _FOR:
        value = next(getattr(options, name) for options in given if hasattr(options, name))
        if value != default and task not in tasks:
            raise ExportError(
                f"--{name.replace('_', '-')} ({name}= in Python) is for {' and '.join(tasks)}, the task is {task}. "
                "Leave it out."
            )


def signature_lengths(options: ExportOptions, max_positions: int | None) -> dict[str, int]:
    """Return the length of each signature by name, shortest first, `serving_default` last.

    Raises:
        ExportError: a length that the model cannot take, or that makes no sense.
    """
    limit = max_positions or options.max_length or DEFAULT_MAX_LENGTH
    longest = options.max_length or min(DEFAULT_MAX_LENGTH, limit)
    if longest > limit:
        raise ExportError(
            f"max_length {longest} is over the model's max_position_embeddings {limit}. Choose at most {limit}."
        )
    if options.lengths is None:
        few = choose_precision(options.precision)[0] == "bfloat16" and "saved_model" in options.formats
        shorter = [length for length in (_few_lengths if few else _usual_lengths)(longest) if length < longest]
    else:
        shorter = sorted(set(options.lengths) - {longest})
    wrong = [length for length in (*shorter, longest) if not 3 <= length <= longest]
    if wrong:
        raise ExportError(
            f"length {wrong[0]} cannot be: lengths are from 3 ([CLS], a token, [SEP]) to max_length {longest}."
        )
    return {f"length_{length}": length for length in shorter} | {"serving_default": longest}


def _few_lengths(longest: int) -> list[int]:
    """Return powers of two: each length that ran costs a BERT-base in bfloat16 0.2 GB on TensorFlow."""
    return [1 << power for power in range(4, longest.bit_length())]


def _usual_lengths(longest: int) -> list[int]:
    """Return lengths a quarter of the power of two below them apart, and no closer than the shortest is long."""
    lengths = [_SHORTEST]
    while lengths[-1] < longest:
        power = 1 << (lengths[-1].bit_length() - 1)
        lengths.append(lengths[-1] + max(_SHORTEST, power // 4))
    return lengths
