"""Spans of a request's time in the queue, in a batch and in the computation, for OpenTelemetry."""

from __future__ import annotations

import itertools
import time

from opentelemetry import trace

from bertbundle_serving.engine.engine import EngineObserver
from bertbundle_serving.engine.queue import QueuedBatch

__all__ = ["EngineTracer"]

_MAX_LINKS = 32
"""Maximum number of links from a batch to the other requests in it."""


class EngineTracer(EngineObserver):
    """Adds three spans to the trace of each request: ``queue``, ``batch``, and within the batch ``compute``.

    The request's own span is that of OpenTelemetry's instrumentation of gRPC or ASGI. A request that is computed in
    several batches has three spans for each. Requests that are not sampled have none.

    Args:
        provider: exports the spans; None for that of the process.
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("bertbundle_serving", tracer_provider=provider)

    def batch_computed(self, queued: QueuedBatch, started: float, finished: float) -> None:
        """Add the spans of a batch to the traces of its calls."""
        requests = [pending.context.run(trace.get_current_span) for pending in queued.calls]
        sampled = dict.fromkeys(request for request in requests if request.get_span_context().trace_flags.sampled)
        clock = _UnixClock()
        for pending, request in zip(queued.calls, requests, strict=True):
            if request in sampled:
                others = itertools.islice((other for other in sampled if other is not request), _MAX_LINKS)
                links = [trace.Link(other.get_span_context()) for other in others]
                self._add_span("queue", request, clock(pending.submitted), clock(queued.taken), queued)
                batch = self._add_span("batch", request, clock(queued.taken), clock.now, queued, links)
                self._add_span("compute", batch, clock(started), clock(finished), queued)

    def _add_span(
        self,
        name: str,
        parent: trace.Span,
        start: int,
        end: int,
        queued: QueuedBatch,
        links: list[trace.Link] | None = None,
    ) -> trace.Span:
        context, attributes = trace.set_span_in_context(parent), _ATTRIBUTES[name](queued)
        span = self._tracer.start_span(name, context, attributes=attributes, links=links, start_time=start)
        span.end(end)
        return span


class _UnixClock:
    """Converts values of `time.perf_counter` to nanoseconds since the epoch."""

    def __init__(self) -> None:
        self.now = time.time_ns()
        self._offset = self.now - time.perf_counter_ns()

    def __call__(self, moment: float) -> int:
        return self._offset + int(moment * 1e9)


def _queue_attributes(queued: QueuedBatch) -> dict[str, str | int]:
    key = queued.queue.key
    return {"bertbundle.model": key.model, "bertbundle.version": key.version, "bertbundle.signature": key.signature}


def _batch_attributes(queued: QueuedBatch) -> dict[str, str | int]:
    batch = queued.batch
    return {
        "bertbundle.batch.calls": len(queued.calls),
        "bertbundle.batch.rows": batch.rows,
        "bertbundle.batch.padding_rows": batch.padded_rows - batch.rows,
    }


def _compute_attributes(queued: QueuedBatch) -> dict[str, str | int]:
    return {"bertbundle.runtime": queued.queue.key.runtime}


_ATTRIBUTES = {"queue": _queue_attributes, "batch": _batch_attributes, "compute": _compute_attributes}
