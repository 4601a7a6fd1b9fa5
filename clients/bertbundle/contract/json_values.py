"""Build dataclasses from parsed JSON, with checks of all types."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

__all__ = ["build_value"]


def build_value(kind: Any, value: Any, where: str) -> Any:
    """Build a value from parsed JSON.

    Args:
        kind: its type: a dataclass, a tuple or a mapping of values, an optional value, or a plain type.
        value: the parsed JSON.
        where: the path of the value, for the message.

    Raises:
        ValueError: the value, or one within it, has another type, or a field is missing.

    >>> build_value(tuple[int, ...], [1, 2], "bundle.json.sizes")
    (1, 2)
    """
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else build_value(arguments[0], value, where)
    if origin is tuple:
        _check(isinstance(value, list), where, "a list", value)
        return tuple(build_value(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin in (Mapping, dict):
        _check(isinstance(value, dict), where, "an object", value)
        return {key: build_value(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    _check(type(value) is kind, where, kind.__name__, value)
    return value


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    _check(isinstance(value, dict), where, "an object", value)
    hints = typing.get_type_hints(kind)
    required = [f.name for f in dataclasses.fields(kind) if _is_required(f)]
    missing = [name for name in required if name not in value]
    if missing:
        raise ValueError(f"{where} has no {', '.join(missing)}")
    return kind(**{name: build_value(hints[name], value[name], f"{where}.{name}") for name in hints if name in value})


def _is_required(spec: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return spec.default is missing and isinstance(spec.default_factory, type(missing))


def _check(valid: bool, where: str, expected: str, value: object) -> None:
    if not valid:
        raise ValueError(f"{where} is {type(value).__name__} {str(value)[:60]!r}, expected {expected}")
