"""Describe a model that is not a bundle."""

from __future__ import annotations

from collections.abc import Sequence

from bertbundle.contract.labels import detect_scheme
from bertbundle.contract.manifest import InputSpec, Manifest, OutputSpec, Source

__all__ = ["foreign_manifest"]


def foreign_manifest(
    task: str,
    *,
    max_length: int,
    labels: Sequence[str] = (),
    inputs: Sequence[str] = ("input_ids", "attention_mask", "token_type_ids"),
    outputs: Sequence[str] = ("logits",),
    dtype: str = "int32",
    pad_id: int = 0,
    multi_label: bool = False,
    normalized: bool = False,
    word_labels: str = "token",
    span_threshold: float = 0.0,
) -> Manifest:
    """Describe a model that is not a bundle, for ``Client(..., manifest=..., tokenizer=..., names=...)``.

    Args:
        task: one of the tasks of `Manifest.task`.
        max_length: number of tokens of each row; shorter texts are padded.
        labels: the labels, in the order of their ids.
        inputs: the inputs that the model has, by their names in a bundle.
        outputs: the outputs that the model has: those of the task (docs/protocol.md), ``logits``, or ``probabilities``
            if the model's last layer is a softmax or sigmoid.
        dtype: dtype of the inputs, such as "int32", "int64" or "float32".
        pad_id: id of the padding token.
        multi_label: whether a text may have several labels.
        normalized: whether embeddings have length 1.
        word_labels: see `Manifest.word_labels`.
        span_threshold: the logit that a span must exceed, for span-classification. The model's output is ``logits``
            (or ``probabilities``), ``[batch, labels, length, length]``.

    >>> foreign_manifest("token-classification", max_length=64, labels=["O", "B-PER", "I-PER"]).label_scheme
    'BIO'
    """
    scheme = detect_scheme(labels) if task == "token-classification" else "none"
    return Manifest(
        name="foreign",
        task=task,
        max_length=max_length,
        signatures={"serving_default": max_length},
        inputs=tuple(InputSpec(name, dtype, pad_id if name == "input_ids" else 0, 0) for name in inputs),
        outputs=tuple(OutputSpec(name, "float32", ("batch",)) for name in outputs),
        source=Source("foreign", "", "", 0, 0, 0, 0),
        labels=tuple(labels),
        label_scheme=scheme,
        label_decoding="argmax" if scheme != "none" else "none",
        multi_label=multi_label,
        normalized=normalized,
        word_labels=word_labels,
        span_threshold=span_threshold,
    )
