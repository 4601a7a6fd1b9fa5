"""Results of the text API as JSON documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bertbundle import Answer, Classification, Entity, Fill
from bertbundle_gateway.core.errors import ItemError, RequestError
from bertbundle_gateway.core.offsets import to_utf8, to_utf16

__all__ = ["ERROR_DOMAIN", "error_document", "item_error_document", "result_documents"]

ERROR_DOMAIN = "bertbundle"
_UNITS: Mapping[str, Callable[[str, Sequence[int]], list[int]]] = {
    "code_points": lambda _, offsets: list(offsets),
    "utf16": to_utf16,
    "utf8": to_utf8,
}


def result_documents(
    method: str, results: Sequence[Any], items: Sequence[Any], unit: str = "code_points"
) -> list[dict[str, Any]]:
    """Return the document of each result.

    Args:
        method: the method that answered, a name in `METHODS`.
        results: results of `TextService.annotate`.
        items: the texts, pairs or lists of words.
        unit: a key of `offset_unit`.
    """
    document = _DOCUMENTS[method]
    return [
        item_error_document(result) if isinstance(result, ItemError) else document(result, item, unit)
        for result, item in zip(results, items, strict=True)
    ]


def item_error_document(error: ItemError) -> dict[str, Any]:
    """Return the document of a text that has no result."""
    return {"error": {"code": error.code, "reason": error.reason, "message": error.message}}


def _head_document(result: Any, item: Any, unit: str) -> dict[str, Any]:
    method = "classify" if isinstance(result, Classification) else "entities" if isinstance(result, list) else "regress"
    return _DOCUMENTS[method](result, item, unit)


def _joined(item: Any) -> str:
    return " ".join(item) if isinstance(item, list) else str(item)


_DOCUMENTS: Mapping[str, Callable[[Any, Any, str], dict[str, Any]]] = {
    "entities": lambda result, item, unit: {"entities": _spans(result, _joined(item), unit)},
    "classify": lambda result, _item, _unit: result.to_dict(),
    "regress": lambda result, _item, _unit: {"value": result},
    "embed": lambda result, _item, _unit: {"embedding": result},
    "answer": lambda result, item, unit: _spans([result], item[1], unit)[0],
    "fill_mask": lambda result, item, unit: {"masks": [_spans(fills, item, unit) for fills in result]},
    "heads": lambda result, item, unit: {
        "heads": {name: _head_document(part, item, unit) for name, part in result.items()}
    },
}


def _spans(spans: Sequence[Entity | Answer | Fill], text: str, unit: str) -> list[dict[str, Any]]:
    """Return the documents of spans of a text, with offsets in a unit."""
    offsets = iter(_UNITS[unit](text, [offset for span in spans for offset in (span.start, span.end)]))
    return [{**span.to_dict(), "start": next(offsets), "end": next(offsets)} for span in spans]


def error_document(error: RequestError, message: str, status: int) -> dict[str, Any]:
    """Return an error in the form of Google's APIs: https://google.aip.dev/193."""
    metadata = {**error.metadata, **({"field": error.field} if error.field else {})}
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.reason,
        "domain": ERROR_DOMAIN,
        "metadata": metadata,
    }
    return {"error": {"code": status, "status": error.code, "message": message, "details": [info]}}
