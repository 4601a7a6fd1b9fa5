"""Answers of the REST API as JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from bertbundle.contract.types import Arrays
from bertbundle_serving.errors import RequestError
from bertbundle_serving.rest_api.tensors import to_plain

__all__ = ["encode_json", "encode_predictions"]

# About 15 ms of text; a million numbers are 1.5 s, in which nobody else would be answered.
_MOST_AT_ONCE = 10_000


def encode_json(document: Any) -> bytes:
    """Return a JSON document as TensorFlow Serving prints it."""
    return json.dumps(document, indent=4, ensure_ascii=False).encode(errors="replace")


async def encode_predictions(outputs: Arrays, *, by_row: bool) -> bytes:
    """Return the answer to a Predict request, in the row or the column form; large ones are made in a thread.

    Raises:
        RequestError: INVALID_ARGUMENT, the outputs have no rows in common.
    """
    if by_row:
        _check_rows(outputs)
    if sum(array.size for array in outputs.values()) <= _MOST_AT_ONCE:
        return _encode(outputs, by_row)
    return await asyncio.to_thread(_encode, outputs, by_row)


def _encode(outputs: Arrays, by_row: bool) -> bytes:
    plain = to_plain(dict(sorted(outputs.items())))
    if not by_row:
        return encode_json({"outputs": plain if len(plain) > 1 else next(iter(plain.values()))})
    if len(plain) == 1:
        return encode_json({"predictions": next(iter(plain.values()))})
    return encode_json(
        {"predictions": [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]}
    )


def _check_rows(outputs: Arrays) -> None:
    """Check that a row form can be made: every output has the same number of rows."""
    size = -1
    for name, array in sorted(outputs.items()):
        if not array.ndim:
            raise _invalid(f"Tensor name: {name} has no shape information ")
        if size not in (-1, len(array)):
            raise _invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}")
        size = len(array)


def _invalid(message: str) -> RequestError:
    return RequestError("INVALID_ARGUMENT", message)
