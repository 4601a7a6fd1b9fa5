"""The options of an export."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bertbundle.contract.heads import MULTI_TASK
from bertbundle.contract.labels import SCHEMES
from bertbundle_export.errors import ExportError
from bertbundle_export.tasks import HEAD_TASKS

__all__ = [
    "ADDED_TOKENS",
    "BUNDLE_FORMATS",
    "DECODINGS",
    "MIN_LENGTH",
    "WORD_LABELS",
    "ExportOptions",
    "check_options_apply",
]

MIN_LENGTH = 3
"""Length of the shortest signature, in tokens: [CLS], a token, [SEP]."""
BUNDLE_FORMATS = ("saved_model", "onnx")
ADDED_TOKENS = ("match", "text")
WORD_LABELS = ("token", "first", "first-labelled")
DECODINGS = ("auto", "crf", "viterbi", "argmax")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """The options of an export; `LoadOptions` has those of the checkpoint.

    Attributes:
        max_length: length of `serving_default` in tokens; None for 128, or the model's own limit if that is less.
        lengths: lengths of the shorter signatures. None selects all multiples of 8 up to 64, of 16 up to 128, of 32 up
            to 256 and of 64 up to 512 that are below `max_length`; for a SavedModel in bfloat16 or int8, the powers
            of two.
        formats: "saved_model", "onnx", or both.
        precision: precision of the encoder's matrix products: "float32"; "bfloat16" for the SavedModel; "float16"
            for the ONNX files; "int8"; or "auto", which chooses float32 or bfloat16 depending on this machine's CPU.
        added_tokens: whether tokens that were added to the model's own, such as entity markers, are recognized in a
            text: "match", or "text" to tokenize them like any text. The model's own special tokens never are.
        characters: tokenize into single characters, as most Chinese taggers do.
        label_scheme: name of a label scheme; None detects it.
        label_decoding: "crf", "viterbi", "argmax", or "auto": the model's CRF if it has one, else Viterbi if the labels
            are BIO, BIOES or BMES.
        crf_transitions, crf_start, crf_end: dotted names of the model's attributes with the CRF's scores, for a model
            that does not return them: of label pairs, ``[labels, labels]``; of the first and the last label,
            ``[labels]``.
        word_labels: see `Manifest.word_labels`.
        top_k: number of tokens that fill-mask returns for each mask, by default 10; largest number of spans of a text
            for span-classification, by default 128.
        span_threshold: the logit that a span must exceed, -100 or more.
        texts: texts to verify the export on; None for the built-in ones.
    """

    max_length: int | None = None
    lengths: Sequence[int] | None = None
    formats: Sequence[str] = BUNDLE_FORMATS
    precision: str = "float32"
    added_tokens: str = "match"
    characters: bool = False
    label_scheme: str | None = None
    label_decoding: str = "auto"
    crf_transitions: str | None = None
    crf_start: str | None = None
    crf_end: str | None = None
    word_labels: str = "token"
    top_k: int | None = None
    span_threshold: float = 0.0
    texts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _check_choice("added_tokens", self.added_tokens, ADDED_TOKENS)
        _check_choice("word_labels", self.word_labels, WORD_LABELS)
        _check_choice("label_decoding", self.label_decoding, DECODINGS)
        _check_lengths(self.lengths, self.max_length)
        if self.top_k is not None and self.top_k < 1:
            raise ExportError(f"top_k must be at least 1, got {self.top_k}.")
        if not -100 <= self.span_threshold < math.inf:
            raise ExportError(f"span_threshold must be a number, -100 or more, got {self.span_threshold}.")
        if self.label_scheme is not None:
            _check_choice("label_scheme", self.label_scheme, tuple(SCHEMES))
        if not self.formats or not set(self.formats) <= set(BUNDLE_FORMATS):
            raise ExportError(
                f"formats must be one or more of {', '.join(BUNDLE_FORMATS)}, got {', '.join(self.formats) or 'none'}."
            )
        if self.precision == "float16" and "onnx" not in self.formats:
            raise ExportError(
                "precision float16 is the precision of the ONNX files, but formats has none of them. Add onnx to "
                "--formats, or leave --precision out."
            )


def _check_lengths(lengths: Sequence[int] | None, max_length: int | None) -> None:
    """Check lengths as far as the model is not needed for it; its own limit is checked by `signature_lengths`."""
    given = [*(lengths or ()), *([] if max_length is None else [max_length])]
    wrong = [length for length in given if length < MIN_LENGTH or length > (max_length or length)]
    if wrong:
        longest = "the model's" if max_length is None else max_length
        raise ExportError(
            f"length {wrong[0]} is not valid: lengths range from {MIN_LENGTH} ([CLS], a token, [SEP]) to max_length "
            f"{longest}."
        )


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ExportError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")


# Options that apply only to some tasks: name, default, tasks.
_TAGGERS, _SPANS, _FEATURES = ("token-classification",), ("span-classification",), ("feature-extraction",)
_TASKS_OF_OPTIONS: Sequence[tuple[str, Any, Sequence[str]]] = (
    ("label_scheme", None, _TAGGERS),
    ("label_decoding", "auto", _TAGGERS),
    ("crf_transitions", None, _TAGGERS),
    ("crf_start", None, _TAGGERS),
    ("crf_end", None, _TAGGERS),
    ("word_labels", "token", _TAGGERS),
    ("top_k", None, ("fill-mask", *_SPANS)),
    ("span_threshold", 0.0, _SPANS),
    ("multi_label", None, ("text-classification",)),
    ("labels", None, ("token-classification", "text-classification", *_SPANS)),
    ("pooling", None, ("text-classification", "regression", *_FEATURES)),
    ("last_layers", 1, _FEATURES),
    ("normalize", None, _FEATURES),
)


def check_options_apply(task: str, *objects: Any) -> None:
    """Check that every option that was set applies to the task.

    Args:
        task: name of the task.
        objects: the objects with the options as attributes.

    Raises:
        ExportError: an option would be ignored.
    """
    for name, default, tasks in _TASKS_OF_OPTIONS:
        value = next((getattr(options, name) for options in objects if hasattr(options, name)), default)
        if value not in (default, ()) and task not in tasks:
            is_of_heads = task == MULTI_TASK and not set(tasks).isdisjoint(HEAD_TASKS)
            advice = "State it for a head: --head-option (HeadSpec in Python)" if is_of_heads else "Leave it out"
            raise ExportError(
                f"--{name.replace('_', '-')} ({name}= in Python) applies to {' and '.join(tasks)}, but the task is "
                f"{task}. {advice}."
            )
