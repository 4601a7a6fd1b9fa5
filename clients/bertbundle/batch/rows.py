"""Rows of files as texts, and their answers and errors as JSON lines."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertbundle.data.row_files import Row
from bertbundle.errors import InputError

__all__ = ["RowColumns", "json_line", "reject_reason", "text_or_error"]


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
        for name, option in zip(self.names, ("--text", "--pair"), strict=False):
            if name not in columns:
                found = ", ".join(map(str, columns))
                return InputError(f"no column {name!r}, the row has {found}: name the column with {option}")
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
                raise InputError(
                    f"{source} has no column {name!r}, the row has {', '.join(readable[0])}: correct --keep."
                )

    def with_result(self, columns: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
        """Return the columns that are copied to the output, and those of the result.

        Raises:
            InputError: a column has the name of a result.
        """
        kept = dict(columns) if self.keep is None else {name: columns.get(name) for name in self.keep}
        if taken := kept.keys() & result.keys():
            raise InputError(f"column {min(taken)!r} has the name of a result: rename it, or leave it out with --keep.")
        return kept | dict(result)


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
    """Return a row as a line of JSON."""
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace") + b"\n"
