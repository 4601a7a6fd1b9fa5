"""Write the client's results into the messages of the text API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from bertbundle import Answer, Classification, Entity, Fill
from bertbundle.text.v1 import text_service_pb2 as pb
from bertbundle_gateway.core.errors import ItemError
from bertbundle_gateway.core.offsets import to_utf8, to_utf16

__all__ = [
    "encode_answer",
    "encode_classification",
    "encode_embedding",
    "encode_entities",
    "encode_error",
    "encode_heads",
    "encode_masks",
    "encode_value",
]

_CODES = {code.name: code.value[0] for code in grpc.StatusCode}


def encode_error(message: pb.ItemError, error: ItemError) -> None:
    """Write the error of an item."""
    message.code, message.reason, message.message = _CODES[error.code], error.reason, error.message


def encode_entities(result: Any, item: str | list[str], entities: Sequence[Entity]) -> None:
    """Write the entities of a text or of a list of words into an EntitiesResult or a HeadResult."""
    text = " ".join(item) if isinstance(item, list) else item
    result.entities.SetInParent()  # a text without entities has an empty list, not nothing
    spans = _spans(text, [(entity.start, entity.end) for entity in entities])
    for entity, span in zip(entities, spans, strict=True):
        result.entities.entities.add(label=entity.label, text=entity.text, span=span, score=entity.score)


def encode_classification(result: Any, item: object, answer: Classification) -> None:
    """Write a classification into a ClassificationResult or a HeadResult."""
    del item
    result.classification.label, result.classification.score = answer.label, answer.score
    result.classification.labels.extend(answer.labels)
    for label, score in answer.scores.items():
        result.classification.scores.add(label=label, score=score)


def encode_value(result: Any, item: object, value: float) -> None:
    """Write a value into a RegressionResult or a HeadResult."""
    del item
    result.value = value


def encode_embedding(result: pb.EmbeddingResult, item: object, vector: Any) -> None:
    """Write a vector."""
    del item
    result.embedding.values.extend(vector.tolist())


def encode_answer(result: pb.AnswerResult, item: tuple[str, str], answer: Answer) -> None:
    """Write the answer to a question and a context."""
    (span,) = _spans(item[1], [(answer.start, answer.end)])
    result.answer.CopyFrom(pb.Answer(text=answer.text, span=span, score=answer.score, null_score=answer.null_score))


def encode_masks(result: pb.MasksResult, item: str, masks: Sequence[Sequence[Fill]]) -> None:
    """Write the tokens for each mask of a text."""
    result.masks.SetInParent()
    spans = _spans(item, [(fills[0].start, fills[0].end) for fills in masks])
    for fills, span in zip(masks, spans, strict=True):
        mask = result.masks.masks.add(span=span)
        for fill in fills:
            mask.fills.add(token=fill.token, token_id=fill.token_id, text=fill.text, score=fill.score)


def encode_heads(result: pb.HeadsResult, item: Any, answers: Mapping[str, Any]) -> None:
    """Write the result of each head."""
    result.heads.SetInParent()
    for name, answer in answers.items():
        encode = next((encode for kind, encode in _HEAD_RESULTS if isinstance(answer, kind)), encode_value)
        encode(result.heads.heads[name], item, answer)


_HEAD_RESULTS: Sequence[tuple[type, Any]] = ((list, encode_entities), (Classification, encode_classification))


def _spans(text: str, offsets: Sequence[tuple[int, int]]) -> list[pb.Span]:
    """Return spans with offsets in all units for pairs of start and end in code points."""
    flat = [offset for pair in offsets for offset in pair]
    columns = [iter(units) for units in (flat, to_utf16(text, flat), to_utf8(text, flat))]
    return [
        pb.Span(
            start=next(columns[0]),
            end=next(columns[0]),
            utf16_start=next(columns[1]),
            utf16_end=next(columns[1]),
            utf8_start=next(columns[2]),
            utf8_end=next(columns[2]),
        )
        for _ in offsets
    ]
