"""Rows of files as texts, and their answers and errors as JSON lines."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertbundle.data.row_files import Row
from bertbundle.errors import InputError

__all__ = ["RowColumns", "json_line", "name_option", "reject_reason", "result_name_problem", "text_or_error"]


@dataclass(frozen=True, slots=True)
class RowColumns:
    """Which columns of a row are used.

    Attributes:
        text: column of the text.
        pair: column of the second text of a pair; None for single texts.
        keep: columns to copy to the output; None for all.
    """

    text: str = "text"
    pair: str | None = None
    keep: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the text and of the second text."""
        return (self.text,) if self.pair is None else (self.text, self.pair)

    def text_of(self, row: Row) -> Any:
        """Return the text or pair of a row, or an InputError if the row has none."""
        if row.error:
            return InputError(row.error)
        if error := self.missing(row.columns):
            return error
        return text_or_error(self.names, [row.columns[name] for name in self.names])

    def missing(self, columns: Mapping[str, Any]) -> InputError | None:
        """Return an error for the first column that a row lacks."""
        for name, option in zip(self.names, ("text", "pair"), strict=False):
            if name not in columns:
                found = ", ".join(map(str, columns))
                advice = f"name the column with {name_option(option)}"
                return InputError(f"no column {name!r}, the row has {found}: {advice}")
        return None

    def check(self, rows: Sequence[Row], source: str) -> None:
        """Check that some of the first rows of a file have the columns.

        Raises:
            InputError: all of them lack one.
        """
        readable = [row.columns for row in rows if not row.error]
        missing = [self.missing(columns) for columns in readable]
        if missing and missing[0] and all(missing):
            raise InputError(f"{source} has {missing[0]}.")
        for name in self.keep or ():
            if readable and not any(name in columns for columns in readable):
                found = ", ".join(readable[0])
                advice = f"correct {name_option('keep')}"
                raise InputError(f"{source} has no column {name!r}, the row has {found}: {advice}.")

    def with_result(self, columns: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
        """Return the columns that are copied to the output, and those of the result.

        Raises:
            InputError: a column has the name of a result.
        """
        kept = dict(columns) if self.keep is None else {name: columns.get(name) for name in self.keep}
        if taken := kept.keys() & result.keys():
            raise InputError(result_name_problem(min(taken)))
        return kept | dict(result)


def name_option(option: str) -> str:
    """Return how an option is written on the command line and in Python: messages about rows are read by both."""
    return f"--{option} ({option}= in Python)"


def result_name_problem(column: str) -> str:
    """Return a message about a column that a result would replace."""
    return f"column {column!r} has the name of a result: rename it, or leave it out with {name_option('keep')}."


def text_or_error(names: Sequence[str], values: Sequence[Any]) -> Any:
    """Return the text of one column or the pair of two, or an InputError for a value that is no text."""
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, str):
            return InputError(f"column {name!r} has {value!r}, expected a text")
    return values[0] if len(values) == 1 else tuple(values)


def reject_reason(error: InputError) -> str:
    """Return why a row was rejected, without the index of the text in its request."""
    return re.sub(r"^text \d+ ", "the text ", str(error))


def json_line(value: Mapping[str, Any]) -> bytes:
    """Return a row as a line of JSON: numbers and bytes that JSON lacks are texts, as in the JSON of protobuf."""
    try:
        line = json.dumps(value, ensure_ascii=False, default=_json_value, allow_nan=False)
    except ValueError:  # rare, and dear to look for
        line = json.dumps(_without_nan(value), ensure_ascii=False, default=_json_value)
    return line.encode("utf-8", "backslashreplace") + b"\n"


def _json_value(value: Any) -> str:
    return base64.b64encode(value).decode() if type(value) is bytes else str(value)


def _without_nan(value: Any) -> Any:
    """Return a value with "NaN", "Infinity" and "-Infinity" in place of these numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list | tuple) else value
