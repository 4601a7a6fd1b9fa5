"""Values of Arrow columns in Python, also those that Python cannot represent: a row is never lost because of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["UndecodedText", "python_rows", "python_values"]


class UndecodedText(bytes):
    """The bytes of a string that is not UTF-8; Parquet files may have it."""

    def __str__(self) -> str:
        """Return the text with escaped bytes."""
        return self.decode("utf-8", "backslashreplace")


def python_rows(batch: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each row of a ``pyarrow.RecordBatch`` with why it is malformed; "" if it is well-formed."""
    for row in _rows(batch):
        undecoded = [name for name, value in row.items() if isinstance(value, UndecodedText)]
        yield row, f"not UTF-8: column {undecoded[0]!r}" if undecoded else ""


def _rows(batch: Any) -> list[dict[str, Any]]:
    try:
        return list(batch.to_pylist())
    except Exception:  # noqa: BLE001 - of Arrow, of Python's datetime, of a library of time zones
        columns = map(python_values, batch.columns)
        return [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def python_values(column: Any) -> list[Any]:
    """Return the values of a ``pyarrow.Array``; text for a value that Python lacks, such as a date after 9999."""
    try:
        return list(column.to_pylist())
    except Exception:  # noqa: BLE001 - as above
        return [_python_value(column, index) for index in range(len(column))]


def _python_value(column: Any, index: int) -> Any:
    scalar = column[index]
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        if undecoded := _undecoded(scalar):
            return undecoded
    except Exception:  # noqa: BLE001, S110 - as above
        pass
    return _nested_values(scalar) or str(column.slice(index, 1)).strip("[] \n")  # Arrow's printer knows all types


def _undecoded(scalar: Any) -> UndecodedText | None:
    text = getattr(scalar, "value", scalar)  # of a dictionary
    return UndecodedText(text.as_buffer()) if hasattr(text, "as_buffer") else None


def _nested_values(scalar: Any) -> Any:
    """Return the value of a list or struct; None for other types."""
    import pyarrow as pa

    if pa.types.is_struct(scalar.type):
        fields = range(scalar.type.num_fields)
        return {scalar.type[field].name: _python_value(pa.array([scalar[field]]), 0) for field in fields}
    if pa.types.is_list(scalar.type) or pa.types.is_large_list(scalar.type):
        return python_values(scalar.values)
    return None
