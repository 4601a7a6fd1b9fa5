"""One batch: rows of several calls, computed together, and given back to each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle_serving.errors import RequestError
from bertbundle_serving.requests.call import Call
from bertbundle_serving.runtimes.base import Servable

__all__ = ["Batch", "Outputs", "Part", "Task"]

Outputs = dict[str, npt.NDArray[Any]]


@dataclass(eq=False, slots=True)
class Task:
    """A call that waits or runs. What the engine's threads do with it they do under the engine's lock.

    Attributes:
        call: what to compute.
        rows: its rows; 1 for a call that is never put together with others.
        done: gets the outputs. Done early when its caller leaves.
        arrived: `time.perf_counter` of its arrival.
        most_bytes: what its outputs may hold, strings included.
        taken: rows that a batch has taken.
        results: outputs by the first row they are for.
        outcome: what its caller gets, once that is known.
    """

    call: Call
    rows: int
    done: asyncio.Future[Outputs]
    arrived: float
    most_bytes: int
    taken: int = 0
    results: dict[int, Outputs] = field(default_factory=dict)
    computed: int = 0
    size: int = 0
    outcome: Outputs | BaseException | None = None

    def take(self, most: int) -> Part:
        """Return its next rows, at most so many."""
        part = Part(self, self.taken, min(self.taken + most, self.rows))
        self.taken = part.stop
        return part

    @property
    def waits(self) -> bool:
        """Whether there is something to compute for it: no part of it has failed, and its caller has not left."""
        return self.outcome is None and not self.done.done()

    def keep(self, part: Part, result: Outputs | BaseException) -> None:
        """Keep what came of a part; the last part, or an error, settles the outcome."""
        if not self.waits:
            return
        if isinstance(result, BaseException):
            self.outcome = result
            return
        self.size += sum(_size(array) for array in result.values())
        self.results[part.start] = result
        self.computed += part.rows
        if self.size > self.most_bytes:
            self.results.clear()
            self.outcome = _too_large(self.most_bytes)
        elif self.computed == self.rows:
            self.outcome = self._whole()

    def answer(self) -> None:
        """Give the caller the outcome, if there is one. Belongs to the caller's event loop."""
        if self.outcome is None or self.done.done():
            return
        if isinstance(self.outcome, BaseException):
            self.done.set_exception(self.outcome)
        else:
            self.done.set_result(self.outcome)

    def _whole(self) -> Outputs | BaseException:
        try:
            return _joined([self.results[start] for start in sorted(self.results)])
        except (ValueError, MemoryError) as error:  # outputs whose sizes depend on the inputs
            return error


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a task."""

    task: Task
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Their number."""
        return self.stop - self.start

    def inputs(self) -> Arrays:
        """Return their inputs; the call's own arrays where they are all its rows."""
        inputs = self.task.call.inputs
        if self.rows == self.task.rows:
            return inputs
        return {name: array[self.start : self.stop] for name, array in inputs.items()}


@dataclass(frozen=True, slots=True)
class Batch:
    """Parts of calls to one signature whose inputs have the same shapes but for the rows.

    Attributes:
        signature: its name.
        parts: what is computed together.
        padded: rows to compute; those beyond the parts' repeat the first.
    """

    signature: str
    parts: tuple[Part, ...]
    padded: int

    @property
    def rows(self) -> int:
        """Rows that somebody asked for."""
        return sum(part.rows for part in self.parts)

    def run(self, servable: Servable) -> list[Outputs | BaseException]:
        """Compute, and return what each part gets: its outputs, or the error that it alone is to blame for.

        If the batch fails each part is computed alone, so that one caller's bad request costs the others time only.
        """
        if len(self.parts) == 1 and self.padded == self.rows:
            return [_attempt(servable, self.parts[0])]
        try:
            return list(_split(self._run_joined(servable), self.parts))
        except Exception:  # noqa: BLE001  # whatever it is, it is found again by the part that causes it
            return [_attempt(servable, part) for part in self.parts]

    def _run_joined(self, servable: Servable) -> Outputs:
        wanted = dict.fromkeys(name for part in self.parts for name in part.task.call.outputs)
        inputs = _joined([part.inputs() for part in self.parts])
        padded = {name: _pad(array, self.padded) for name, array in inputs.items()}
        outputs = servable.run(self.signature, padded, tuple(wanted))
        if any(array.shape[:1] != (self.padded,) for array in outputs.values()):
            raise RequestError(
                "FAILED_PRECONDITION",
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors",
            )
        return outputs


def _attempt(servable: Servable, part: Part) -> Outputs | BaseException:
    call = part.task.call
    try:
        return servable.run(call.signature, part.inputs(), call.outputs)
    except Exception as error:  # noqa: BLE001  # the caller gets it; the gRPC and REST layers know what to tell
        return error


def _size(array: npt.NDArray[Any]) -> int:
    """Return the bytes that an array holds; of strings their lengths."""
    return sum(map(len, array.flat)) if array.dtype == object else array.nbytes


def _too_large(limit: int) -> RequestError:
    return RequestError(
        "INVALID_ARGUMENT",
        f"the answer is larger than max ({limit} bytes). Send fewer rows, or ask for fewer outputs (output_filter)",
    )


def _joined(many: Sequence[Arrays]) -> Outputs:
    if len(many) == 1:
        return dict(many[0])
    return {name: np.concatenate([arrays[name] for arrays in many]) for name in many[0]}


def _pad(array: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    missing = rows - len(array)
    return np.concatenate([array, np.repeat(array[:1], missing, axis=0)]) if missing else array


def _split(outputs: Outputs, parts: Sequence[Part]) -> list[Outputs]:
    split, start = [], 0
    for part in parts:
        rows = slice(start, start + part.rows)
        split.append({name: outputs[name][rows] for name in part.task.call.outputs})
        start += part.rows
    return split
