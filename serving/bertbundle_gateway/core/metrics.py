"""Prometheus metrics of a gateway; their names begin with ``bertbundle_gateway_``."""

from __future__ import annotations

from collections.abc import Iterable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from bertbundle_gateway.core.errors import HTTP_STATUS
from bertbundle_gateway.core.limits import Gate
from bertbundle_gateway.core.methods import METHODS

__all__ = ["CONTENT_TYPE", "GatewayMetrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_CODES = ("OK", *sorted(HTTP_STATUS.keys() - {"UNAUTHENTICATED", "UNIMPLEMENTED"}))
"""The codes of requests for a model: the other two are those of requests that are refused before."""
_METHODS = (*METHODS, "describe", "predict")
_SECONDS = tuple(0.001 * 2**power for power in range(16))
_OTHER_MODELS = ""
_MAX_MODELS = 256
"""Servers behind the gateway that answered for any name would otherwise let callers create series."""

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class GatewayMetrics:
    """The metrics of a gateway.

    The names of models are the caller's choice: a model has series if it is configured, or once a request for it has
    been answered. Other requests share the label "".
    """

    def __init__(self, models: Iterable[str] = ()) -> None:
        """Create the series of the configured models, and of other models, at 0."""
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "bertbundle_gateway_requests",
            "Requests that ended, by their gRPC status code.",
            ("model", "method", "code"),
            registry=registry,
        )
        self._texts = Counter(
            "bertbundle_gateway_texts", "Texts of answered requests.", ("model", "method"), registry=registry
        )
        self._seconds = Histogram(
            "bertbundle_gateway_request_seconds",
            "Time of answered requests in the gateway, with the calls to the servers.",
            ("model", "method"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "bertbundle_gateway_requests_in_flight", "Requests that are being answered.", registry=registry
        )
        self._limit = Gauge(
            "bertbundle_gateway_requests_in_flight_limit",
            "Maximum number of requests in flight; further ones are refused.",
            registry=registry,
        )
        self._models = set[str]()
        for model in (_OTHER_MODELS, *models):
            self._create_series(model)

    def watch(self, gate: Gate) -> None:
        """Report the requests that a gate has admitted, and its limit."""
        self._in_flight.set_function(lambda: gate.in_flight)
        self._limit.set(gate.limit)

    def request_finished(self, model: str, method: str, code: str, texts: int, seconds: float) -> None:
        """Count a request that ended with a result (the code OK) or an error."""
        if code == "OK" and model not in self._models and len(self._models) < _MAX_MODELS:
            self._create_series(model)
        name = model if model in self._models else _OTHER_MODELS
        self._requests.labels(name, method, code).inc()
        if code == "OK":
            self._texts.labels(name, method).inc(texts)
            self._seconds.labels(name, method).observe(seconds)

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return prometheus_client.generate_latest(self._registry)

    def _create_series(self, model: str) -> None:
        """Create the counters of a model; a quantile of the histogram has no value without requests anyway."""
        self._models.add(model)
        for method in _METHODS:
            self._texts.labels(model, method)
            for code in _CODES:
                self._requests.labels(model, method, code)
