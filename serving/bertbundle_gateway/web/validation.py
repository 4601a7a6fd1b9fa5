"""Errors of request bodies, without the values that they quote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from bertbundle_gateway.core.errors import RequestError, invalid_request

__all__ = ["Body", "Many", "validation_error"]

_MAX_NAME = 40
"""A longer name of a field is not repeated in a message: it may be a text in the wrong place."""
_MAX_FIELDS = 100
"""More fields are refused at once: there would be an error for each, and a body may have a million."""
_ALTERNATIVES = ("str", "int", "float", "bool", "list", "dict", "none")
"""Names that pydantic inserts for the alternatives of a union."""


T = TypeVar("T")
Many: TypeAlias = Annotated[list[T], Field(fail_fast=True)]
"""A list in a request body. Its first wrong item is the only one that is reported: there may be millions."""


class Body(BaseModel):
    """Base class of request bodies: unknown fields are refused, and values are not converted to other types."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _limit_fields(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > _MAX_FIELDS:
            raise PydanticCustomError("extra_forbidden", "too many fields")
        return data


def validation_error(errors: Sequence[Any], model: type[BaseModel] | None = None) -> RequestError:
    """Return the error of a request for pydantic's errors of its body.

    >>> errors = [{"type": "missing", "loc": ("body", "texts"), "msg": "Field required", "input": {}}]
    >>> validation_error(errors).message
    'The field texts is missing.'
    """
    # Of a union, the alternative that fits best.
    error = max(errors, key=lambda item: (len(_parts(item)), not item["type"].endswith("_type")))
    path = _path(error)
    return invalid_request(*_describe(error, path, model), field=path)


def _describe(error: Mapping[str, Any], path: str, model: type[BaseModel] | None) -> tuple[str, str]:
    """Return the reason and the message of an error."""
    kind, text = error["type"], str(error["msg"]).removeprefix("Value error, ")
    if kind == "missing":
        return "MISSING_FIELD", f"The field {path} is missing." if path else "The body is empty, expected JSON."
    if kind == "extra_forbidden":
        known = "" if model is None or "." in path else f", the fields are {', '.join(model.model_fields)}"
        return "UNKNOWN_FIELD", f"Unknown field{_quoted(path)}{known}."
    subject = f"The field {path}" if path else "The body"
    if text.startswith("Input should be "):
        return "INVALID_FIELD", f"{subject} must be {text.removeprefix('Input should be ')}."
    return "INVALID_FIELD", f"{subject}: {text}."


def _quoted(path: str) -> str:
    name = path.rpartition(".")[2]
    return f" {path}" if 0 < len(name) <= _MAX_NAME and name.isprintable() else ""


def _path(error: Mapping[str, Any]) -> str:
    """Return where in the body an error is, as in ``texts[3].question``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in _parts(error))
    return "".join(parts).removeprefix(".")


def _parts(error: Mapping[str, Any]) -> list[Any]:
    """Return the fields and indices of an error's location, without the names of the alternatives of a union."""
    *parents, last = error["loc"][1:] or ("",)
    parts = [part for part in parents if isinstance(part, int) or _is_field(part)]
    is_last = isinstance(last, int) or error["type"] in ("extra_forbidden", "missing") or _is_field(last)
    return [*parts, last] if is_last and last != "" else parts


def _is_field(name: str) -> bool:
    return name.isidentifier() and name.islower() and name not in _ALTERNATIVES
