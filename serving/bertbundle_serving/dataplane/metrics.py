"""Prometheus metrics: TensorFlow Serving's under its names, and others whose names begin with ``bertbundle_``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np
import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from bertbundle_serving.dataplane.serving_metrics import ServingMetrics
from bertbundle_serving.engine.engine import EngineObserver
from bertbundle_serving.engine.queue import QueuedBatch, QueueKey
from bertbundle_serving.repository.model import Model
from bertbundle_serving.repository.version import Version, VersionState
from bertbundle_serving.requests.call import SignatureCall

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = tuple(0.001 * 2**power for power in range(15))
_WAIT_SECONDS = (0.0001, 0.0003, *_SECONDS)  # without load, a wait is far shorter than a computation
_ROWS = tuple(2**power for power in range(11))
# The library appends _total to the names of counters, TensorFlow Serving does not.
_TOTAL = re.compile(rb"^((?:# (?:HELP|TYPE) )?:tensorflow:[\w:]+)_total\b", re.MULTILINE)
_ATTENTION_MASK = "attention_mask"

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


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
            "bertbundle_failed_versions", "Versions that could not be loaded.", ("model",), registry=registry
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
        for pending in queued.calls:
            self._wait.labels(*labels).observe(queued.taken - pending.submitted)

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
            failed = [s for s in model.statuses() if s.state == VersionState.END and s.code != "OK"]
            self._newest.labels(name).set(max(versions, default=0))
            self._failed.labels(name).set(len(failed))
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
