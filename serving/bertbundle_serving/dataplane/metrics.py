"""Prometheus metrics: TensorFlow Serving's under its names, and others whose names begin with ``bertbundle_``."""

from __future__ import annotations

import re

import numpy as np
import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bertbundle_serving.engine.batch import Batch
from bertbundle_serving.engine.queue import QueueKey
from bertbundle_serving.requests.call import SignatureCall

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Microseconds. Source: tensorflow_serving/servables/tensorflow/util.cc, monitoring::Buckets::Exponential(10, 1.8, 33).
_MICROSECONDS = tuple(10 * 1.8**power for power in range(33))
_SECONDS = tuple(0.001 * 2**power for power in range(15))
_ROWS = tuple(2**power for power in range(11))
# The library appends _total to the names of counters, TensorFlow Serving does not.
_TOTAL = re.compile(rb"^((?:# (?:HELP|TYPE) )?:tensorflow:[\w:]+)_total\b", re.MULTILINE)
_ATTENTION_MASK = "attention_mask"

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of a server. It is the `EngineObserver` of the engine."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            ":tensorflow:serving:request_count",
            "The total number of requests.",
            ("model_name", "status"),
            registry=registry,
        )
        self._request_latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Distribution of wall time (in microseconds) for a request.",
            ("model_name", "API", "entrypoint", "status"),
            buckets=_MICROSECONDS,
            registry=registry,
        )
        self._runtime_latency = Histogram(
            ":tensorflow:serving:runtime_latency",
            "Distribution of wall time (in microseconds) for the runtime.",
            ("model_name", "API", "runtime"),
            buckets=_MICROSECONDS,
            registry=registry,
        )
        labels = ("model", "signature")
        self._queue = Gauge(
            "bertbundle_queue_depth", "Requests waiting for the engine.", (*labels, "version"), registry=registry
        )
        self._batch_rows = Histogram(
            "bertbundle_batch_rows", "Rows computed together.", labels, buckets=_ROWS, registry=registry
        )
        self._batch_padding = Counter(
            "bertbundle_batch_padding_rows", "Rows added to reach an allowed batch size.", labels, registry=registry
        )
        self._tokens = Counter("bertbundle_tokens", "Tokens computed, including padding.", labels, registry=registry)
        self._padding = Counter("bertbundle_padding_tokens", "Padding tokens computed.", labels, registry=registry)
        self._latency = Histogram(
            "bertbundle_request_seconds",
            "Time from a request's submission to the engine until its outputs are computed.",
            labels,
            buckets=_SECONDS,
            registry=registry,
        )

    def request_finished(self, model: str, api: str, entrypoint: str, code: str, seconds: float) -> None:
        """Count a request that ended with a result or an error."""
        self._requests.labels(model, code).inc()
        self._request_latency.labels(model, api, entrypoint, code).observe(seconds * 1e6)

    def queue_changed(self, key: QueueKey, waiting_calls: int) -> None:
        """Set the number of calls that wait for a signature of a version."""
        self._queue.labels(key.model, key.signature, key.version).set(waiting_calls)

    def batch_computed(self, key: QueueKey, batch: Batch, seconds: float) -> None:
        """Count a batch."""
        labels = (key.model, key.signature)
        self._runtime_latency.labels(key.model, "Predict", _runtime_label(key.runtime)).observe(seconds * 1e6)
        self._batch_rows.labels(*labels).observe(batch.rows)
        self._batch_padding.labels(*labels).inc(batch.padded_rows - batch.rows)

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
        return _TOTAL.sub(rb"\1", prometheus_client.generate_latest(self._registry))


def _runtime_label(description: str) -> str:
    """Return runtime, device and precision of a servable's description.

    >>> _runtime_label("runtime onnx precision int8 threads 2")
    'onnx int8'
    >>> _runtime_label("runtime onnx device cuda precision float16 threads 2")
    'onnx cuda float16'
    """
    label = description.removeprefix("runtime ").partition(" threads ")[0]
    return label.replace(" device ", " ").replace(" precision ", " ")
