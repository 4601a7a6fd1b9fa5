"""TensorFlow Serving's batching parameters: which calls are computed together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bertbundle_serving.config.text_format import read_text_file
from bertbundle_serving.errors import ServeError
from bertbundle_serving.protos import _config_pb2 as proto

__all__ = ["PARAMETERS_FILE", "BatchingParameters", "read_batching_parameters", "version_batching_parameters"]

PARAMETERS_FILE = "batching_params.pbtxt"
"""Name of a version's own file of parameters. Its ``num_batch_threads`` is ignored: all versions share the threads."""

_UNLIMITED = 2**31
_MAX_THREADS = 4096
_THREADS = "batch_threads"  # source: SharedBatchScheduler::Options in TensorFlow


@dataclass(frozen=True, slots=True)
class BatchingParameters:
    """How calls of one signature of one version are batched.

    There is no batch_timeout_micros: a call never waits while the engine is idle, and the calls that arrive while the
    engine is busy make up the next batch. The defaults apply if no file is given.

    Attributes:
        max_batch_size: maximum number of rows in one request.
        max_execution_batch_size: maximum number of rows computed together. On a CPU, more than 32 gain nothing.
        max_enqueued_batches: maximum number of batches waiting per signature; further requests are refused.
        num_batch_threads: number of batches computed at the same time; None derives it from the number of cores.
        allowed_batch_sizes: row counts that batches are padded to; empty for no padding.
        max_execution_tokens: maximum number of elements of one input computed together, if `split`; None for no limit.
            A matrix product of 1024 rows already keeps a CPU busy, and no request waits for a batch of many long rows.
        split: whether a request of more than `max_execution_batch_size` rows is computed in parts.
        thread_pool_name: label of TensorFlow Serving's metrics of the queues.
    """

    max_batch_size: int = _UNLIMITED
    max_execution_batch_size: int = 32
    max_enqueued_batches: int = 64
    num_batch_threads: int | None = None
    allowed_batch_sizes: tuple[int, ...] = ()
    max_execution_tokens: int | None = 1024
    split: bool = True
    thread_pool_name: str = _THREADS

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_execution_batch_size", "max_enqueued_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive; was {getattr(self, name)}")
        if self.num_batch_threads is not None and not 1 <= self.num_batch_threads <= _MAX_THREADS:
            raise ValueError(f"num_batch_threads must be in [1, {_MAX_THREADS}]; was {self.num_batch_threads}")
        if self.max_execution_batch_size > self.max_batch_size:
            raise ValueError("max_execution_batch_size should be less than or equal to max_batch_size")
        self._check_allowed_sizes()

    def _check_allowed_sizes(self) -> None:
        # Source of the messages: tensorflow_serving/servables/tensorflow/bundle_factory_util.cc, batching_session.cc.
        sizes = self.allowed_batch_sizes
        if any(later <= earlier for earlier, later in zip((0, *sizes), sizes, strict=False)):
            raise ValueError("allowed_batch_sizes entries must be monotonically increasing")
        if sizes and sizes[-1] != self.max_execution_batch_size:
            limit = "max_execution_batch_size" if self.split else "max_batch_size"
            raise ValueError(f"Last entry in allowed_batch_sizes must match {limit}; last entry was {sizes[-1]}")


_WRAPPED_FIELDS = ("max_batch_size", "max_execution_batch_size", "max_enqueued_batches", "num_batch_threads")

# TensorFlow Serving's defaults for fields that a file omits. Source: BasicBatchScheduler::Options in
# tensorflow/core/kernels/batching_util/basic_batch_scheduler.h.
_FILE_DEFAULTS = {"max_batch_size": 1000, "max_enqueued_batches": 10}


def read_batching_parameters(path: Path) -> BatchingParameters:
    """Read a --batching_parameters_file: a BatchingParameters message in text format.

    Raises:
        ServeError: the file is missing or malformed, or its values contradict each other.
    """
    message = read_text_file(path, proto.BatchingParameters(), "batching parameters")
    try:
        return _from_message(message)
    except ValueError as error:
        raise ServeError(f"cannot read batching parameters {path}: {error}.") from error


def version_batching_parameters(directory: Path, default: BatchingParameters) -> BatchingParameters:
    """Return the parameters in a version directory, or `default` if it has none.

    Raises:
        ServeError: as for `read_batching_parameters`.
    """
    path = directory / PARAMETERS_FILE
    return read_batching_parameters(path) if path.is_file() else default


def _from_message(message: proto.BatchingParameters) -> BatchingParameters:
    given = {name: int(getattr(message, name).value) for name in _WRAPPED_FIELDS if message.HasField(name)}
    split = message.enable_large_batch_splitting.value
    values = _FILE_DEFAULTS | given
    if not split:
        values["max_execution_batch_size"] = values["max_batch_size"]
    else:
        values.setdefault("max_execution_batch_size", values["max_batch_size"])
    return BatchingParameters(
        **values,
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        max_execution_tokens=None,
        split=split,
        thread_pool_name=message.thread_pool_name.value if message.HasField("thread_pool_name") else _THREADS,
    )
