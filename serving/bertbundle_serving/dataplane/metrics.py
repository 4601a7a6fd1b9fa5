"""Prometheus metrics: TensorFlow Serving's under its names, and others whose names begin with ``bertbundle_``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np
import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from bertbundle_serving.engine.engine import EngineObserver
from bertbundle_serving.engine.queue import QueuedBatch, QueueKey
from bertbundle_serving.repository.model import Model
from bertbundle_serving.repository.version import Version
from bertbundle_serving.requests.call import SignatureCall

__all__ = ["CONTENT_TYPE", "Metrics", "ServingMetrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = tuple(0.001 * 2**power for power in range(15))
_WAIT_SECONDS = (0.0001, 0.0003, *_SECONDS)  # without load, a wait is far shorter than a computation
_ROWS = tuple(2**power for power in range(11))
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
# The library appends _total to the names of counters, TensorFlow Serving does not.
_TOTAL = re.compile(rb"^((?:# (?:HELP|TYPE) )?:tensorflow:[\w:]+)_total\b", re.MULTILINE)
_ATTENTION_MASK = "attention_mask"

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


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


class Metrics(EngineObserver):
    """The metrics of a server.

    Args:
        models: returns the models that are served. Their series exist from the first scrape, at 0.

    Attributes:
        serving: TensorFlow Serving's metrics.
        in_flight: number of requests that are being answered.
    """

    def __init__(self, models: Callable[[], Iterable[Model]] = tuple) -> None:
        self._models = models
        self._registry = registry = CollectorRegistry()
        self.serving = ServingMetrics(registry)
        ProcessCollector(registry=registry)
        self.in_flight = Gauge("bertbundle_requests_in_flight", "Requests that are being answered.", registry=registry)
        self._newest = Gauge(
            "bertbundle_newest_version", "Newest version that is served; 0 if none is.", ("model",), registry=registry
        )
        self._failed = Gauge(
            "bertbundle_failed_versions",
            "Versions in the base path that could not be loaded.",
            ("model",),
            registry=registry,
        )
        self._queue = Gauge(
            "bertbundle_queue_depth",
            "Requests waiting for the engine.",
            ("model", "signature", "version"),
            registry=registry,
        )
        self._queues = set[tuple[str, str, int]]()

        def counter(name: str, text: str) -> Counter:
            return Counter(f"bertbundle_{name}", text, ("model", "signature"), registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"bertbundle_{name}", text, ("model", "signature"), buckets=buckets, registry=registry)

        self._batch_rows = histogram("batch_rows", "Rows computed together.", _ROWS)
        self._batch_padding = counter("batch_padding_rows", "Rows added to reach an allowed batch size.")
        self._tokens = counter("tokens", "Tokens computed, including padding.")
        self._padding = counter("padding_tokens", "Padding tokens computed.")
        self._wait = histogram("queue_seconds", "Time that (a part of) a request waited for a batch.", _WAIT_SECONDS)
        self._latency = histogram(
            "request_seconds",
            "Time from a request's submission to the engine until its outputs are computed.",
            _SECONDS,
        )
        counters, histograms = (self._batch_padding, self._tokens, self._padding), (self._batch_rows, self._wait)
        self._by_signature = (*counters, *histograms, self._latency)

    def queue_changed(self, key: QueueKey, waiting_calls: int) -> None:
        """Set the number of calls that wait for a signature of a version."""
        queue = (key.model, key.signature, key.version)
        self._queues.add(queue)
        self._queue.labels(*queue).set(waiting_calls)

    def batch_computed(self, queued: QueuedBatch, started: float, finished: float) -> None:
        """Count a batch."""
        labels, batch = (queued.queue.key.model, queued.queue.key.signature), queued.batch
        self.serving.batch_computed(queued, finished - started)
        self._batch_rows.labels(*labels).observe(batch.rows)
        self._batch_padding.labels(*labels).inc(batch.padded_rows - batch.rows)
        waits = self._wait.labels(*labels)
        for pending in queued.calls:
            waits.observe(queued.taken - pending.submitted)

    def call_computed(self, key: QueueKey, call: SignatureCall, seconds: float) -> None:
        """Count a call whose outputs its caller received."""
        labels = (key.model, key.signature)
        self._latency.labels(*labels).observe(seconds)
        mask = call.inputs.get(_ATTENTION_MASK)
        if mask is not None:
            self._tokens.labels(*labels).inc(mask.size)
            self._padding.labels(*labels).inc(mask.size - int(np.count_nonzero(mask)))

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        self._describe_models()
        return _TOTAL.sub(rb"\1", prometheus_client.generate_latest(self._registry))

    def _describe_models(self) -> None:
        """Create the series of all served versions, and remove the queues of versions that are no longer served."""
        self._newest.clear()
        self._failed.clear()
        queues = set[tuple[str, str, int]]()
        for model in self._models():
            name, versions = model.config.name, model.versions
            self._newest.labels(name).set(max(versions, default=0))
            self._failed.labels(name).set(model.failed_versions)
            for version in versions.values():
                queues.update(self._create_series(version))
        for queue in self._queues - queues:
            self._queue.remove(*queue)
        self._queues = queues

    def _create_series(self, version: Version) -> Iterable[tuple[str, str, int]]:
        self.serving.create_series(version)
        for signature in version.signatures:
            for family in self._by_signature:
                family.labels(version.model, signature)
            self._queue.labels(version.model, signature, version.number)
            yield version.model, signature, version.number


def _runtime_label(description: str) -> str:
    """Return runtime, device and precision of a servable's description.

    >>> _runtime_label("runtime onnx precision int8 threads 2")
    'onnx int8'
    >>> _runtime_label("runtime onnx device cuda precision float16 threads 2")
    'onnx cuda float16'
    """
    label = description.removeprefix("runtime ").partition(" threads ")[0]
    return label.replace(" device ", " ").replace(" precision ", " ")
