"""Which requests are computed together: TensorFlow Serving's batching parameters, and how batches are cut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bertbundle_serving.config.text_format import read_text_file
from bertbundle_serving.errors import ServeError
from bertbundle_serving.protos import _config_pb2 as proto

__all__ = ["PARAMETERS_FILE", "BatchingParameters", "model_parameters", "read_batching_parameters"]

PARAMETERS_FILE = "batching_params.pbtxt"
"""In a version directory: the parameters of that version. The number of threads is the server's all the same."""

_UNLIMITED = 2**31
_MOST_THREADS = 4096


@dataclass(frozen=True, slots=True)
class BatchingParameters:
    """How requests for one signature of one version are put together.

    A request never waits while the engine is idle, so there is no batch_timeout_micros here: what arrives while the
    engine is busy makes up the next batch. The defaults are those without a file.

    Attributes:
        max_batch_size: rows that one request may have.
        max_execution_batch_size: rows that are computed at a time. 32: more gains nothing on a CPU.
        max_enqueued_batches: batches that may wait for a signature; a request beyond them is refused.
        num_batch_threads: batches that are computed at a time; None: as many as the cores have room for the threads of.
        allowed_batch_sizes: row counts that a batch is padded up to; empty for any.
        max_execution_tokens: elements of one input that are computed at a time, if `split`; None for any. 1024: a
            matrix product of as many rows keeps a CPU busy, and nobody waits for a batch of many long rows.
        split: whether a request of more than `max_execution_batch_size` rows is computed in parts.
    """

    max_batch_size: int = _UNLIMITED
    max_execution_batch_size: int = 32
    max_enqueued_batches: int = 64
    num_batch_threads: int | None = None
    allowed_batch_sizes: tuple[int, ...] = ()
    max_execution_tokens: int | None = 1024
    split: bool = True

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_execution_batch_size", "max_enqueued_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive; was {getattr(self, name)}")
        if self.num_batch_threads is not None and not 1 <= self.num_batch_threads <= _MOST_THREADS:
            raise ValueError(f"num_batch_threads must be in [1, {_MOST_THREADS}]; was {self.num_batch_threads}")
        if self.max_execution_batch_size > self.max_batch_size:
            raise ValueError("max_execution_batch_size should be less than or equal to max_batch_size")
        self._check_allowed()

    def _check_allowed(self) -> None:
        # Source of the texts: tensorflow_serving/servables/tensorflow/bundle_factory_util.cc, batching_session.cc.
        sizes = self.allowed_batch_sizes
        if any(later <= earlier for earlier, later in zip((0, *sizes), sizes, strict=False)):
            raise ValueError("allowed_batch_sizes entries must be monotonically increasing")
        if sizes and sizes[-1] != self.max_execution_batch_size:
            limit = "max_execution_batch_size" if self.split else "max_batch_size"
            raise ValueError(f"Last entry in allowed_batch_sizes must match {limit}; last entry was {sizes[-1]}")

    def room(self, row_size: int) -> int:
        """Return how many rows of so many elements are computed at a time.

        >>> BatchingParameters().room(row_size=128)
        8
        """
        if self.max_execution_tokens is None or not self.split:
            return self.max_execution_batch_size
        return max(1, min(self.max_execution_batch_size, self.max_execution_tokens // max(1, row_size)))

    def padded(self, rows: int) -> int:
        """Return the number of rows that so many are padded up to.

        >>> BatchingParameters(max_execution_batch_size=8, allowed_batch_sizes=(4, 8)).padded(3)
        4
        """
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)


# TensorFlow Serving's own values where a file leaves them out. Source: BasicBatchScheduler::Options in
# tensorflow/core/kernels/batching_util/basic_batch_scheduler.h.
_FILE_DEFAULTS = {"max_batch_size": 1000, "max_enqueued_batches": 10}


def read_batching_parameters(path: Path) -> BatchingParameters:
    """Read a batching_parameters_file: a BatchingParameters in text form.

    Raises:
        ServeError: the file is missing or malformed, or its values contradict each other.
    """
    message = read_text_file(path, proto.BatchingParameters(), "batching parameters")
    try:
        return _from_message(message)
    except ValueError as error:
        raise ServeError(f"cannot read batching parameters {path}: {error}.") from error


def model_parameters(directory: Path, common: BatchingParameters) -> BatchingParameters:
    """Return the parameters of a version directory: its own if it has any, else the server's.

    Raises:
        ServeError: as `read_batching_parameters`.
    """
    path = directory / PARAMETERS_FILE
    return read_batching_parameters(path) if path.is_file() else common


def _from_message(message: proto.BatchingParameters) -> BatchingParameters:
    given = {name: int(getattr(message, name).value) for name in _WRAPPED if message.HasField(name)}
    split = message.enable_large_batch_splitting.value
    values = _FILE_DEFAULTS | given
    if not split:
        values["max_execution_batch_size"] = values["max_batch_size"]
    else:
        values.setdefault("max_execution_batch_size", values["max_batch_size"])
    sizes = tuple(message.allowed_batch_sizes)
    return BatchingParameters(**values, allowed_batch_sizes=sizes, max_execution_tokens=None, split=split)


_WRAPPED = ("max_batch_size", "max_execution_batch_size", "max_enqueued_batches", "num_batch_threads")
