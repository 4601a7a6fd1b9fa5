"""The results of each task as dicts, for JSON, and as typed columns, for Arrow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from bertbundle.contract.heads import MULTI_TASK, Head
from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import Classification

__all__ = ["ERROR_COLUMN", "RESULT_DICTS", "arrow_columns", "arrow_fields", "head_task"]

ERROR_COLUMN = "error"
"""The column with the reason why a row has no answer; null if it has one."""


def _head_dicts(heads: Mapping[str, Any]) -> dict[str, Any]:
    return {"heads": {name: dict(RESULT_DICTS[head_task(result)](result)) for name, result in heads.items()}}


def head_task(result: Any) -> str:
    """Return the task of the result of one of several heads, by its type."""
    tasks = {Classification: "text-classification", list: "token-classification", float: "regression"}
    return tasks[type(result)]


def _entities(entities: Any) -> dict[str, Any]:
    return {"entities": [entity.to_dict() for entity in entities]}


RESULT_DICTS: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {
    "token-classification": _entities,
    "span-classification": _entities,
    "text-classification": lambda classification: classification.to_dict(),
    "regression": lambda value: {"value": value},
    "feature-extraction": lambda vector: {"embedding": [round(float(value), 7) for value in vector]},
    "question-answering": lambda answer: {"answer": answer.to_dict()},
    "fill-mask": lambda masks: {"masks": [[fill.to_dict() for fill in fills] for fills in masks]},
    MULTI_TASK: _head_dicts,
}
"""Converts one result of each task to a JSON-serializable dict."""


# ---- Arrow

_Fields: TypeAlias = "Callable[[Any, Manifest | Head], list[Any]]"


def _span(pa: Any, *names: str) -> list[tuple[str, Any]]:
    """Return the fields of a span: texts of these names, then its offsets and score."""
    offsets = [("start", pa.int32()), ("end", pa.int32()), ("score", pa.float64())]
    return [*((name, pa.string()) for name in names), *offsets]


def _entity_fields(pa: Any, _: Manifest | Head) -> list[Any]:
    return [pa.field("entities", pa.list_(pa.struct(_span(pa, "label", "text"))))]


def _class_fields(pa: Any, _: Manifest | Head) -> list[Any]:
    return [
        pa.field("label", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("scores", pa.map_(pa.string(), pa.float64())),
    ]


def _answer_fields(pa: Any, _: Manifest | Head) -> list[Any]:
    return [pa.field("answer", pa.struct([*_span(pa, "text"), ("null_score", pa.float64())]))]


def _mask_fields(pa: Any, _: Manifest | Head) -> list[Any]:
    fill = pa.struct([("token", pa.string()), ("token_id", pa.int32()), *_span(pa, "text")])
    return [pa.field("masks", pa.list_(pa.list_(fill)))]


def _head_fields(pa: Any, manifest: Manifest | Head) -> list[Any]:
    heads = manifest.heads if isinstance(manifest, Manifest) else {}
    structs = [pa.field(name, pa.struct(_FIELDS[head.task](pa, head))) for name, head in heads.items()]
    return [pa.field("heads", pa.struct(structs))]


_FIELDS: Mapping[str, _Fields] = {
    "token-classification": _entity_fields,
    "span-classification": _entity_fields,
    "text-classification": _class_fields,
    "regression": lambda pa, _: [pa.field("value", pa.float64())],
    "feature-extraction": lambda pa, _: [pa.field("embedding", pa.list_(pa.float32()))],
    "question-answering": _answer_fields,
    "fill-mask": _mask_fields,
    MULTI_TASK: _head_fields,
}


def arrow_fields(pa: Any, task: str, manifest: Manifest) -> list[Any]:
    """Return the fields of the result of a task, with pyarrow as `pa`."""
    return _FIELDS[task](pa, manifest)


def arrow_columns(pa: Any, task: str, fields: list[Any], results: list[Any]) -> list[Any]:
    """Return an Arrow array for each field; a row whose result is None has null in all of them."""
    if task == "feature-extraction":  # without the rounding of JSON
        return [pa.array(results, fields[0].type)]
    to_dict = RESULT_DICTS[task]
    rows = [{} if result is None else to_dict(result) for result in results]
    return [pa.array([_arrow_value(row.get(field.name), field.type) for row in rows], field.type) for field in fields]


def _arrow_value(value: Any, arrow_type: Any) -> Any:
    """Return a value with pairs in place of the mappings whose type is a map, also those within a struct."""
    if not isinstance(value, Mapping):
        return value
    if str(arrow_type).startswith("map<"):
        return list(value.items())
    return {name: _arrow_value(item, arrow_type.field(name).type) for name, item in value.items()}
