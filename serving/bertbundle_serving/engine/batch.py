"""A batch: rows of several calls that are computed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle_serving.errors import RequestError
from bertbundle_serving.requests.call import SignatureCall
from bertbundle_serving.runtimes.base import Outputs, Servable

__all__ = ["Batch", "RowSlice", "concatenate_rows"]


@dataclass(frozen=True, slots=True)
class RowSlice:
    """Consecutive rows of a call.

    Attributes:
        call: the call.
        start: index of the first row.
        stop: index after the last row.
    """

    call: SignatureCall
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.stop - self.start

    def inputs(self) -> Arrays:
        """Return the inputs of these rows: the call's own arrays if these are all its rows."""
        if self.rows == self.call.rows:
            return self.call.inputs
        return {name: array[self.start : self.stop] for name, array in self.call.inputs.items()}


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of calls of one signature whose inputs have the same shapes except for the batch dimension.

    Attributes:
        signature: name of the signature.
        slices: the rows.
        rows: their total number.
        padded_rows: number of rows to compute; the padding repeats the first row.
    """

    signature: str
    slices: tuple[RowSlice, ...]
    rows: int
    padded_rows: int

    def run(self, servable: Servable) -> list[Outputs | Exception]:
        """Compute the batch and return the result of each slice: its outputs or its error.

        If the batch fails, each slice is computed alone, so that a bad request delays the others but fails only itself.
        """
        if len(self.slices) == 1 and self.padded_rows == self.rows:
            return [_run_slice(servable, self.slices[0])]
        try:
            return list(_split_rows(self._run_together(servable), self.slices))
        except Exception:  # noqa: BLE001  # the slice that causes it raises it again
            return [_run_slice(servable, row_slice) for row_slice in self.slices]

    def _run_together(self, servable: Servable) -> Outputs:
        names = tuple(dict.fromkeys(name for row_slice in self.slices for name in row_slice.call.outputs))
        inputs = concatenate_rows([row_slice.inputs() for row_slice in self.slices])
        padded = {name: _pad_rows(array, self.padded_rows) for name, array in inputs.items()}
        outputs = servable.run(self.signature, padded, names)
        if any(array.shape[:1] != (self.padded_rows,) for array in outputs.values()):
            raise RequestError(
                "FAILED_PRECONDITION",
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors",
            )
        return outputs


def concatenate_rows(parts: Sequence[Arrays]) -> Outputs:
    """Concatenate arrays by name, along the batch dimension.

    >>> concatenate_rows([{"x": np.array([1, 2])}, {"x": np.array([3])}])["x"].tolist()
    [1, 2, 3]
    """
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _run_slice(servable: Servable, row_slice: RowSlice) -> Outputs | Exception:
    try:
        return servable.run(row_slice.call.signature, row_slice.inputs(), row_slice.call.outputs)
    except Exception as error:  # noqa: BLE001  # raised again where the caller waits
        return error


def _pad_rows(array: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    missing = rows - len(array)
    return np.concatenate([array, np.repeat(array[:1], missing, axis=0)]) if missing else array


def _split_rows(outputs: Outputs, slices: Sequence[RowSlice]) -> list[Outputs]:
    """Return the outputs of each slice, without the padding at the end."""
    parts, start = [], 0
    for row_slice in slices:
        stop = start + row_slice.rows
        parts.append({name: outputs[name][start:stop] for name in row_slice.call.outputs})
        start = stop
    return parts
