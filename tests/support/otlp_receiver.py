"""A receiver of OpenTelemetry's OTLP over gRPC, which keeps the spans."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc

from optional import skip_without

__all__ = ["OtlpReceiver", "Span"]

KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT"}


@dataclass(frozen=True)
class Span:
    """A received span.

    Attributes:
        name: its name.
        kind: INTERNAL, SERVER or CLIENT.
        service: the service.name of the process.
        trace: the trace id in hexadecimal digits.
        span: the span id in hexadecimal digits.
        parent: the span id of its parent; "" if it has none.
        start: start in nanoseconds since the epoch.
        end: end in nanoseconds since the epoch.
        attributes: its attributes.
    """

    name: str
    kind: str
    service: str
    trace: str
    span: str
    parent: str
    start: int
    end: int
    attributes: dict[str, str | int]


class OtlpReceiver:
    """Listens on a free port of the loopback interface. It skips the test without the otel extra.

    Attributes:
        endpoint: for OTEL_EXPORTER_OTLP_ENDPOINT.
    """

    def __init__(self) -> None:
        try:
            from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
        except ImportError:
            skip_without("the otel extra")
        self._spans: list[Span] = []
        self._lock = threading.Lock()
        self._response = trace_service_pb2.ExportTraceServiceResponse
        self._server = grpc.server(ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  # the name of the RPC
        """Receive spans."""
        del context
        spans = [
            _read_span(_read_attributes(resource.resource.attributes), span)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        with self._lock:
            self._spans.extend(spans)
        return self._response()

    def spans(self, trace: str | None = None) -> list[Span]:
        """Return the spans received so far, of one trace or of all."""
        with self._lock:
            return [span for span in self._spans if trace in (None, span.trace)]

    def stop(self) -> None:
        """Stop listening."""
        self._server.stop(0).wait()


def _read_span(resource: dict[str, str | int], span: Any) -> Span:
    return Span(
        span.name,
        KINDS[span.kind],
        str(resource["service.name"]),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _read_attributes(span.attributes),
    )


def _read_attributes(attributes: Any) -> dict[str, str | int]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}
