"""The decoder of each task."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle._shared.validation import check_counts
from bertbundle.contract.heads import MULTI_TASK
from bertbundle.contract.types import Arrays, Classification, Fill
from bertbundle.decoding.activations import sigmoid, softmax
from bertbundle.decoding.base import DecodeInput, Decoder, Fallback, WindowOutputs
from bertbundle.decoding.entities import decode_label_outputs, outside_entities
from bertbundle.decoding.heads import heads_decoder
from bertbundle.decoding.loaded_model import LoadedModel
from bertbundle.decoding.question_answering import MAX_ANSWER_TOKENS, decode_answer, merge_answer_logits
from bertbundle.decoding.spans import decode_spans, merge_spans, spans_from_logits, spans_from_probabilities
from bertbundle.errors import InputError, ManifestError, ServerError
from bertbundle.text.windows import average_outputs, merge_token_outputs

__all__ = [
    "DECODERS",
    "DEFAULT_THRESHOLD",
    "answer_decoder",
    "classification_decoder",
    "decode_classification",
    "fill_decoder",
    "merge_per_token",
    "too_few_tokens",
]

DEFAULT_THRESHOLD = 0.5
"""The minimum score of a predicted label of a multi-label model."""
_SUM_TOLERANCE = 1e-5
"""A row of a float32 softmax sums to 1 within this tolerance, a row of logits hardly ever."""


# ---- merging the windows of a long text


def merge_per_token(outputs: WindowOutputs) -> Arrays:
    """Merge outputs with a value per token; see `merge_token_outputs`."""
    return merge_token_outputs(outputs.windows, outputs.rows)


def _merge_labels(outputs: WindowOutputs) -> Arrays:
    """Merge labels per token without splitting an entity; see `merge_token_outputs`."""
    return merge_token_outputs(outputs.windows, outputs.rows, outside=lambda row: outside_entities(outputs.model, row))


def _merge_mean(outputs: WindowOutputs) -> Arrays:
    """Merge outputs with a value per text; see `average_outputs`."""
    return average_outputs(outputs.windows, outputs.rows)


def _merge_embeddings(outputs: WindowOutputs) -> Arrays:
    """Average vectors like `_merge_mean`, and normalize the result if the model's embeddings are normalized."""
    row = average_outputs(outputs.windows, outputs.rows)
    if not outputs.model.manifest.normalized:
        return row
    return {name: vector / max(float(np.linalg.norm(vector)), 1e-12) for name, vector in row.items()}


# ---- classification, regression, embeddings


def decode_classification(
    item: DecodeInput, *, threshold: float = DEFAULT_THRESHOLD, top_k: int | None = None
) -> Classification:
    """Sort the labels by score.

    Args:
        item: a text and its `scores`.
        threshold: minimum score of a predicted label of a multi-label model.
        top_k: number of labels in `Classification.scores`; None for all.

    Raises:
        ServerError: the number of scores differs from the number of labels.
    """
    values, manifest = item.outputs["scores"], item.model.manifest
    labels = manifest.labels
    if values.shape != (len(labels),):
        raise ServerError(
            f"the server returned scores of shape {list(values.shape)} per text for {len(labels)} labels."
        )
    ranked = sorted(zip(labels, values.tolist(), strict=True), key=lambda pair: -pair[1])
    label, score = ranked[0]
    predicted = tuple(name for name, value in ranked if value >= threshold) if manifest.multi_label else (label,)
    return Classification(label, score, predicted, dict(ranked[:top_k]))


def _scores_from_logits(model: LoadedModel, row: Arrays) -> Arrays:
    logits = _check_logits(row["logits"])
    return {"scores": sigmoid(logits) if model.manifest.multi_label else softmax(logits)}


def _check_logits(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the logits of a model that is not a bundle.

    Raises:
        ManifestError: they are probabilities: their softmax would be wrong.
    """
    sums = logits.sum(axis=-1, dtype=np.float64)
    if logits.shape[-1] > 1 and logits.min() >= 0 and np.allclose(sums, 1, rtol=0, atol=_SUM_TOLERANCE):
        raise ManifestError(
            "the model's output logits has probabilities: each row sums to 1. Name it probabilities in the manifest: "
            "foreign_manifest(..., outputs=('probabilities',)), and in names."
        )
    return logits


def _decode_value(item: DecodeInput) -> float:
    value = item.outputs["value"]
    if value.shape != ():
        raise ServerError(f"the server returned shape {list(value.shape)} per text for output 'value'.")
    return float(value)


def _decode_embedding(item: DecodeInput) -> npt.NDArray[np.float32]:
    vector = item.outputs["sentence_embedding"]
    if vector.ndim != 1:
        raise ServerError(f"the server returned shape {list(vector.shape)} per text for output 'sentence_embedding'.")
    return vector.astype(np.float32, copy=False)


# ---- token classification


def _labels_from_logits(model: LoadedModel, row: Arrays) -> Arrays:
    return _labels_from_probabilities(model, {"probabilities": softmax(_check_logits(row["logits"]))})


def _labels_from_probabilities(_model: LoadedModel, row: Arrays) -> Arrays:
    probabilities = row["probabilities"]
    return {"label_ids": probabilities.argmax(axis=-1), "label_scores": probabilities.max(axis=-1)}


# ---- fill-mask


def _decode_fills(item: DecodeInput, *, top_k: int | None = None) -> list[list[Fill]]:
    """Return the best tokens for each mask, best first.

    Args:
        item: a text with masks, and its `token_ids` and `token_scores`.
        top_k: number of tokens for each mask; None for all that the model returns.

    Raises:
        InputError: `top_k` is larger than the number of tokens that the model returns.
        ServerError: the outputs have the wrong shape.
    """
    model, encoding = item.model, item.encoding
    ids, scores, size = item.outputs["token_ids"], item.outputs["token_scores"], model.manifest.top_k
    if top_k is not None and top_k > size:
        raise too_few_tokens(model, f"top_k is {top_k}")
    if ids.shape != scores.shape or ids.ndim != 2 or len(ids) < len(encoding) or ids.shape[1] != size:
        raise ServerError(
            f"the server returned shape {list(ids.shape)} for 'token_ids', expected {size} ids per token."
        )
    mask_id = model.tokenizer.token_id(model.manifest.mask_token)
    masks = [index for index, token_id in enumerate(encoding.ids) if token_id == mask_id]
    return [
        [_fill(item, mask, int(token_id), float(score)) for token_id, score in _best(ids, scores, mask, top_k)]
        for mask in masks
    ]


def too_few_tokens(model: LoadedModel, problem: str) -> InputError:
    """Return the error for a request that needs more tokens for each mask than the model returns."""
    return InputError(
        f"{problem}, but the model returns only the best {model.manifest.top_k} tokens for each mask. Export it with a "
        "larger --top-k."
    )


def _best(ids: npt.NDArray[Any], scores: npt.NDArray[Any], mask: int, top_k: int | None) -> list[tuple[Any, Any]]:
    return list(zip(ids[mask], scores[mask], strict=True))[:top_k]


def _fill(item: DecodeInput, mask: int, token_id: int, score: float) -> Fill:
    text, (start, end) = str(item.text), item.encoding.offsets[mask]
    token = item.model.tokenizer.decode(token_id).strip()  # a byte-level token includes the space before a word
    return Fill(token, token_id, f"{text[:start]}{token}{text[end:]}", start, end, score)


# ---- the decoders


_DECODERS = (
    Decoder(
        "token-classification",
        "entities",
        ("label_ids", "label_scores"),
        decode_label_outputs,
        _merge_labels,
        truncation="window",
        fallbacks=(Fallback("logits", _labels_from_logits), Fallback("probabilities", _labels_from_probabilities)),
    ),
    Decoder(
        "span-classification",
        "entities",
        ("spans", "span_scores", "span_counts"),
        decode_spans,
        merge_spans,
        truncation="window",
        fallbacks=(Fallback("logits", spans_from_logits), Fallback("probabilities", spans_from_probabilities)),
    ),
    Decoder(
        "text-classification",
        "classify",
        ("scores",),
        decode_classification,
        _merge_mean,
        takes="text or pair",
        fallbacks=(
            Fallback("logits", _scores_from_logits),
            Fallback("probabilities", lambda _, row: {"scores": row["probabilities"]}),
        ),
    ),
    Decoder("regression", "regress", ("value",), _decode_value, _merge_mean, takes="text or pair"),
    Decoder(
        "feature-extraction", "embed", ("sentence_embedding",), _decode_embedding, _merge_embeddings, gather=np.stack
    ),
    Decoder(
        "question-answering",
        "answer",
        ("start_logits", "end_logits"),
        decode_answer,
        merge_answer_logits,
        takes="pair",
        truncation="window",
        sequence_id=1,
    ),
    Decoder(
        "fill-mask", "fill_mask", ("token_ids", "token_scores"), _decode_fills, merge_per_token, truncation="window"
    ),
)
_BY_TASK = {decoder.task: decoder for decoder in _DECODERS}
DECODERS: Mapping[str, Decoder] = {**_BY_TASK, MULTI_TASK: heads_decoder(_BY_TASK)}
"""The decoder of each task, by the name of the task in the manifest."""


def classification_decoder(*, top_k: int | None = None, threshold: float = DEFAULT_THRESHOLD) -> Decoder:
    """Return the decoder of text classification with its options; see `decode_classification`."""
    check_counts(top_k=top_k)
    decode = functools.partial(decode_classification, top_k=top_k, threshold=threshold)
    return replace(DECODERS["text-classification"], decode=decode)


def answer_decoder(*, max_answer_len: int = MAX_ANSWER_TOKENS, handle_impossible_answer: bool = False) -> Decoder:
    """Return the decoder of question answering with its options; see `decode_answer`."""
    check_counts(max_answer_len=max_answer_len)
    decode = functools.partial(
        decode_answer, max_answer_len=max_answer_len, handle_impossible_answer=handle_impossible_answer
    )
    return replace(DECODERS["question-answering"], decode=decode)


def fill_decoder(*, top_k: int | None = None) -> Decoder:
    """Return the decoder of fill-mask with its options: `top_k` tokens for each mask, None for all."""
    check_counts(top_k=top_k)
    return replace(DECODERS["fill-mask"], decode=functools.partial(_decode_fills, top_k=top_k))
