"""TensorFlow Serving's own metrics, under its names, with its labels, units and buckets."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from bertbundle_serving.engine.queue import QueuedBatch
from bertbundle_serving.repository.version import Version

__all__ = ["ServingMetrics"]

# Microseconds. Source: tensorflow_serving/servables/tensorflow/util.cc, monitoring::Buckets::Exponential(10, 1.8, 33).
_MICROSECONDS = tuple(10 * 1.8**power for power in range(33))
# Source: tensorflow_serving/batching/batching_session.cc and batching_util.h.
_QUEUING_MICROSECONDS = tuple(100 * 1.2**power for power in range(52))
_BATCH_ROWS = tuple(2**power for power in range(14))
# The statuses with which this server ends requests of a served model.
_STATUSES = (
    "OK",
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
)


class ServingMetrics:
    """The metrics of TensorFlow Serving that this server has, too.

    Args:
        registry: collects them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f":tensorflow:serving:{name}", text, labels, buckets=buckets, registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f":tensorflow:{name}", text, labels, registry=registry)

        self._requests = counter("serving:request_count", "The total number of requests.", ("model_name", "status"))
        self._request_latency = histogram(
            "request_latency",
            "Distribution of wall time (in microseconds) for a request.",
            ("model_name", "API", "entrypoint", "status"),
            _MICROSECONDS,
        )
        self._runtime_latency = histogram(
            "runtime_latency",
            "Distribution of wall time (in microseconds) for the runtime.",
            ("model_name", "API", "runtime"),
            _MICROSECONDS,
        )
        self._queuing_latency = histogram(
            "batching_session:queuing_latency",
            "Distribution of wall time spent (in microseconds) in queuing",
            ("thread_pool_name",),
            _QUEUING_MICROSECONDS,
        )
        self._padding_size = histogram(
            "batching_session:padding_size",
            "Tracks the padding size distribution on batches.",
            ("execution_batch_size",),
            _BATCH_ROWS,
        )
        self._processed_batch_size = histogram(
            "batching_session:processed_batch_size",
            "Tracks the batch size distribution on processing.",
            (),
            _BATCH_ROWS,
        )
        self._run_count = counter(
            "serving:batching_session:wrapped_run_count", "Total count of run calls on the wrapped session"
        )
        self._warmup_latency = histogram(
            "model_warmup_latency",
            "Distribution of wall time (in microseconds) for warming up the model.",
            ("model_path", "status"),
            _MICROSECONDS,
        )
        self._load_attempts = counter(
            "cc:saved_model:load_attempt_count",
            "The number of times a model was loaded, with or without success.",
            ("model_path", "status"),
        )
        self._load_latency = counter(
            "cc:saved_model:load_latency",
            "Latency in microseconds for models that were successfully loaded.",
            ("model_path",),
        )

    def create_series(self, version: Version) -> None:
        """Create the series of a version at 0, before its first request."""
        for status in _STATUSES:
            self._requests.labels(version.model, status)
        for entrypoint in ("GRPC", "REST"):
            self._request_latency.labels(version.model, "Predict", entrypoint, "OK")
        self._runtime_latency.labels(version.model, "Predict", _runtime_label(version.servable.description))
        self._queuing_latency.labels(version.batching.thread_pool_name)

    def request_finished(self, model: str, api: str, entrypoint: str, code: str, seconds: float) -> None:
        """Count a request that ended with a result or an error."""
        self._requests.labels(model, code).inc()
        self._request_latency.labels(model, api, entrypoint, code).observe(seconds * 1e6)

    def batch_computed(self, queued: QueuedBatch, seconds: float) -> None:
        """Count a batch. Calls that cannot be batched do not pass through TensorFlow Serving's batching session."""
        key, batch = queued.queue.key, queued.batch
        self._runtime_latency.labels(key.model, "Predict", _runtime_label(key.runtime)).observe(seconds * 1e6)
        if queued.calls[0].call.row_shapes is None:
            return
        waits = self._queuing_latency.labels(queued.queue.parameters.thread_pool_name)
        for pending in queued.calls:
            waits.observe((queued.taken - pending.submitted) * 1e6)
        self._padding_size.labels(batch.padded_rows).observe(batch.padded_rows - batch.rows)
        self._processed_batch_size.observe(batch.padded_rows)
        self._run_count.inc()

    def load_finished(self, path: str, seconds: float, *, success: bool) -> None:
        """Count an attempt to load a version directory, and the time of a successful one."""
        self._load_attempts.labels(path, "success" if success else "fail").inc()
        if success:
            self._load_latency.labels(path).inc(seconds * 1e6)

    def warmup_finished(self, path: str, code: str, seconds: float) -> None:
        """Count the warmup of a version directory, which ended with the status `code`."""
        self._warmup_latency.labels(path, code).observe(seconds * 1e6)


def _runtime_label(description: str) -> str:
    """Return runtime, device and precision of a servable's description.

    >>> _runtime_label("runtime onnx precision int8 threads 2")
    'onnx int8'
    >>> _runtime_label("runtime onnx device cuda precision float16 threads 2")
    'onnx cuda float16'
    """
    label = description.removeprefix("runtime ").partition(" threads ")[0]
    return label.replace(" device ", " ").replace(" precision ", " ")
