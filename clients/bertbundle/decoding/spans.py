"""Convert the spans of tokens that a model found to entities, which may be nested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays, Encoding, Entity
from bertbundle.decoding.activations import sigmoid
from bertbundle.decoding.base import DecodeInput, WindowOutputs
from bertbundle.decoding.entities import end_with_combining_marks
from bertbundle.decoding.loaded_model import LoadedModel
from bertbundle.errors import InputError, ManifestError, ServerError
from bertbundle.text.windows import select_spans

__all__ = ["decode_spans", "merge_spans", "spans_from_logits", "spans_from_probabilities"]

_Spans: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Spans (label, first token, last token), int ``[n, 3]``, and their scores, float ``[n]``."""


def decode_spans(item: DecodeInput) -> list[Entity]:
    """Return the entities of a text, ordered by their start, then the longer one first, then by label.

    Args:
        item: a text, and its `spans`, `span_scores` and `span_counts`.

    Raises:
        InputError: the text has more spans than the model returns.
        ServerError: the outputs have the wrong shape, or values that are no spans.
    """
    spans, scores = _text_spans(item.model, item.encoding, item.outputs)
    labels, offsets, text = item.model.manifest.labels, item.encoding.offsets, str(item.text)
    best: dict[tuple[int, int, str], float] = {}
    for (label, first, last), score in zip(spans.tolist(), scores.tolist(), strict=True):
        start, end = offsets[first][0], end_with_combining_marks(text, offsets[last][1])
        # One character may have several tokens, such as the letters of a Hangul syllable.
        key = start, -end, labels[label]
        best[key] = max(score, best.get(key, 0.0))
    return [
        Entity(label, text[start:-end], start, -end, score)
        for (start, end, label), score in sorted(best.items())
        if start < -end
    ]


def merge_spans(outputs: WindowOutputs) -> Arrays:
    """Merge the spans of a long text's windows into one row; see `select_spans`.

    Raises:
        InputError, ServerError: as for `decode_spans`, for one of the windows.
    """
    windows = outputs.windows
    found = [
        _text_spans(outputs.model, window.encoding, row) for window, row in zip(windows, outputs.rows, strict=True)
    ]
    selected = select_spans(windows, [[(first, last) for _, first, last in spans.tolist()] for spans, _ in found])
    parts = [
        (spans[chosen] + np.array([0, 1, 1]) * (window.start - window.prefix_length), scores[chosen])
        for window, (spans, scores), chosen in zip(windows, found, selected, strict=True)
    ]
    spans, scores = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return {"spans": spans, "span_scores": scores, "span_counts": np.array(len(spans))}


def _text_spans(model: LoadedModel, encoding: Encoding, row: Arrays) -> _Spans:
    """Return the spans of a row that start and end at tokens of the text.

    A bundle returns no others. The logits of a model that is not a bundle may have some, at special tokens and padding.
    """
    spans, scores, count = (row[name] for name in ("spans", "span_scores", "span_counts"))
    if spans.ndim != 2 or spans.shape[1] != 3 or scores.shape != spans.shape[:1] or count.shape != ():
        shapes = ", ".join(str(list(array.shape)) for array in (spans, scores, count))
        raise ServerError(f"the server returned spans, span_scores and span_counts of shapes {shapes} per text.")
    if count > len(spans):
        quoted = f": {' '.join(encoding.tokens)[:60]!r}"
        raise InputError(
            f"a text has {count} spans, this model returns at most {len(spans)}{quoted}. "
            "Shorten the text, or export the model with a larger --top-k or --span-threshold.",
            quoted=quoted,
        )
    spans, scores = spans[: int(count)], scores[: int(count)]
    labels, first, last = spans.T
    if not ((labels >= 0) & (labels < len(model.manifest.labels)) & (first >= 0) & (first <= last)).all():
        raise ServerError(
            f"the server returned spans that are not [label, first token, last token] of {len(model.manifest.labels)} "
            "labels: the model does not match its manifest."
        )
    is_text = np.array([word is not None for word in encoding.word_ids] + [False])
    kept = is_text[np.minimum(first, len(encoding))] & is_text[np.minimum(last, len(encoding))]
    return spans[kept], scores[kept]


# ---- models that are not bundles


def spans_from_logits(model: LoadedModel, row: Arrays) -> Arrays:
    """Return all spans whose logit exceeds the manifest's threshold.

    Args:
        model: the model.
        row: `logits`, float ``[labels, length, length]``.

    Raises:
        ManifestError: the logits have another shape, or are probabilities.
    """
    logits = row["logits"]
    if logits.size and logits.min() >= 0 and logits.max() <= 1:
        raise ManifestError(
            "the model's output logits has probabilities: all are between 0 and 1. Name it probabilities in the "
            "manifest: foreign_manifest(..., outputs=('probabilities',)), and in names."
        )
    return _spans_above(model, logits, model.manifest.span_threshold, sigmoid)


def spans_from_probabilities(model: LoadedModel, row: Arrays) -> Arrays:
    """Return all spans of `probabilities`, as `spans_from_logits` does."""
    threshold = float(sigmoid(np.float64(model.manifest.span_threshold)))
    return _spans_above(model, row["probabilities"], threshold, lambda values: values)


def _spans_above(
    model: LoadedModel, values: npt.NDArray[Any], threshold: float, score: Callable[[npt.NDArray[Any]], Any]
) -> Arrays:
    labels = len(model.manifest.labels)
    if values.ndim != 3 or len(values) != labels or values.shape[1] != values.shape[2]:
        raise ManifestError(
            f"the model's output has shape {list(values.shape)} per text, span-classification needs [{labels}, length, "
            "length]: a value for each label, first token and last token. Check the labels in the manifest."
        )
    in_order = np.triu(np.ones(values.shape[1:], bool))
    spans = np.argwhere((values > threshold) & in_order)
    return {"spans": spans, "span_scores": score(values[tuple(spans.T)]), "span_counts": np.array(len(spans))}
