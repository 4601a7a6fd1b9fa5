"""Describe a model that is not a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bertbundle._shared.validation import short_repr
from bertbundle.contract.heads import Head, output_name
from bertbundle.contract.labels import detect_scheme
from bertbundle.contract.manifest import InputSpec, Manifest, OutputSpec, Source

__all__ = ["foreign_manifest"]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_HEAD_TASKS = ("token-classification", "span-classification", "text-classification", "regression")
"""The tasks whose methods answer one of several heads."""


def foreign_manifest(
    task: str,
    *,
    max_length: int,
    labels: Sequence[str] = (),
    inputs: Sequence[str] = _INPUTS,
    outputs: Sequence[str] = ("logits",),
    dtype: str = "int32",
    pad_id: int = 0,
    multi_label: bool = False,
    normalized: bool = False,
    word_labels: str = "token",
    span_threshold: float = 0.0,
    heads: Mapping[str, Head] | None = None,
) -> Manifest:
    """Describe a model that is not a bundle, for ``Client(..., manifest=..., tokenizer=..., names=...)``.

    Args:
        task: one of the tasks of `Manifest.task`.
        max_length: number of tokens of each row; shorter texts are padded.
        labels: the labels, in the order of their ids.
        inputs: the inputs that the model has, by their names in a bundle. A model without attention_mask takes the
            tokens with `pad_id` for padding.
        outputs: the outputs that the model has: those of the task (docs/protocol.md), ``logits``, or ``probabilities``
            if the model's last layer is a softmax or sigmoid.
        dtype: dtype of the inputs, such as "int32", "int64" or "float32".
        pad_id: id of the padding token.
        multi_label: whether a text may have several labels.
        normalized: whether embeddings have length 1.
        word_labels: see `Manifest.word_labels`.
        span_threshold: the logit that a span must exceed, for span-classification. The model's output is ``logits``
            (or ``probabilities``), ``[batch, labels, length, length]``.
        heads: the heads of a model with several, for the task "multi-task": each states its task and labels, and has
            `outputs` as ``<head>.logits``. A label scheme is detected unless it is stated.

    Raises:
        TypeError: labels are not str.
        ValueError: an input is none of a bundle's, or a head is for a task that is never one of several.

    >>> foreign_manifest("token-classification", max_length=64, labels=["O", "B-PER", "I-PER"]).label_scheme
    'BIO'
    """
    unknown = [name for name in inputs if name not in _INPUTS]
    if unknown or "input_ids" not in inputs:
        raise ValueError(
            f"inputs are {', '.join(inputs) or 'none'}, expected some of {', '.join(_INPUTS)}, and input_ids. Give the "
            "model's own names of them to the client, as names="
        )
    _check_labels(labels)
    for name, head in (heads or {}).items():
        _check_labels(head.labels)
        if head.task not in _HEAD_TASKS:
            raise ValueError(f"head {name} is for {head.task}, one of several heads is for {', '.join(_HEAD_TASKS)}")
    described = {name: _with_scheme(head) for name, head in (heads or {}).items()}
    only = _with_scheme(Head(task, tuple(labels)))
    names = [output_name(head, output) for head in described for output in outputs] or outputs
    return Manifest(
        name="foreign",
        task=task,
        max_length=max_length,
        signatures={"serving_default": max_length},
        inputs=tuple(InputSpec(name, dtype, pad_id if name == "input_ids" else 0, 0) for name in inputs),
        outputs=tuple(OutputSpec(name, "float32", ("batch",)) for name in names),
        source=Source("foreign", "", "", 0, 0, 0, 0),
        labels=only.labels,
        label_scheme=only.label_scheme,
        label_decoding=only.label_decoding,
        multi_label=multi_label,
        normalized=normalized,
        word_labels=word_labels,
        span_threshold=span_threshold,
        heads=described,
    )


def _check_labels(labels: Sequence[str]) -> None:
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise TypeError(f"labels must be a list of str, in the order of their ids, got {short_repr(labels)}")


def _with_scheme(head: Head) -> Head:
    """Return a head with the label scheme of its labels, if it needs one and states none."""
    if head.task != "token-classification" or head.label_scheme != "none":
        return head
    return replace(head, label_scheme=detect_scheme(head.labels), label_decoding="argmax")
