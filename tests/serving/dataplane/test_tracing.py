"""Spans of the engine: where a request's time goes, in the request's own trace."""

from __future__ import annotations

import asyncio
from typing import Any

from bertbundle_serving.dataplane.tracing import EngineTracer
from engine_rig import EngineRig, run
from optional import require_package


class Traces:
    """A provider of OpenTelemetry's SDK that keeps its spans, and requests that submit calls within a span."""

    def __init__(self, sampler: str = "ALWAYS_ON") -> None:
        sdk, sampling = require_package("opentelemetry.sdk.trace"), require_package("opentelemetry.sdk.trace.sampling")
        memory = require_package("opentelemetry.sdk.trace.export.in_memory_span_exporter")
        export = require_package("opentelemetry.sdk.trace.export")
        self._exporter = memory.InMemorySpanExporter()
        self.provider = sdk.TracerProvider(sampler=getattr(sampling, sampler))
        self.provider.add_span_processor(export.SimpleSpanProcessor(self._exporter))
        self._tracer = self.provider.get_tracer("test")

    async def request(self, name: str, rig: EngineRig, *values: float) -> None:
        """Submit a call within a span, as the instrumented servers do, and wait for its outputs."""
        with self._tracer.start_as_current_span(name):
            await rig.submit(*values)

    def spans(self) -> dict[str, list[Any]]:
        """Return the finished spans by name, in the order of their end."""
        found: dict[str, list[Any]] = {}
        for span in self._exporter.get_finished_spans():
            found.setdefault(span.name, []).append(span)
        return found


async def send(rig: EngineRig, *requests: Any) -> None:
    """Let all requests wait before the first batch is computed."""
    tasks = [asyncio.ensure_future(request) for request in requests]
    await asyncio.sleep(0)
    rig.servable.gate.set()
    await asyncio.gather(*tasks)


def test_spans_of_a_batch() -> None:
    """Requests that are computed together have spans of their own, which link to the other requests of the batch."""

    async def work() -> None:
        traces = Traces()
        rig = EngineRig(EngineTracer(traces.provider))
        await send(rig, *(traces.request(name, rig, 1, 2) for name in ("first", "second", "third")))
        spans = traces.spans()
        requests = {name: spans[name][0].context for name in ("first", "second", "third")}
        assert [len(spans[name]) for name in ("queue", "batch", "compute")] == [3, 3, 3]
        by_trace = {span.context.trace_id: span for span in spans["batch"]}
        links = {
            name: {link.context.span_id for link in by_trace[context.trace_id].links}
            for name, context in requests.items()
        }
        ids = {name: context.span_id for name, context in requests.items()}
        assert links == {"first": set(), "second": {ids["third"]}, "third": {ids["second"]}}
        batch = by_trace[requests["third"].trace_id]
        assert batch.parent.span_id == ids["third"]
        assert dict(batch.attributes) == {
            "bertbundle.batch.calls": 2,
            "bertbundle.batch.rows": 4,
            "bertbundle.batch.padding_rows": 0,
        }

    run(work())


def test_spans_follow_each_other() -> None:
    """The queue ends where the batch begins, and the computation lies within the batch and the request."""

    async def work() -> None:
        traces = Traces()
        rig = EngineRig(EngineTracer(traces.provider))
        await send(rig, traces.request("request", rig, 1))
        (queue,), (batch,), (compute,), (request,) = (
            traces.spans()[name] for name in ("queue", "batch", "compute", "request")
        )
        assert request.start_time <= queue.start_time <= queue.end_time == batch.start_time <= compute.start_time
        assert compute.start_time < compute.end_time <= batch.end_time <= request.end_time
        assert compute.parent.span_id == batch.context.span_id
        assert queue.parent.span_id == batch.parent.span_id == request.context.span_id
        assert dict(queue.attributes) == {
            "bertbundle.model": "m",
            "bertbundle.version": 1,
            "bertbundle.signature": "s",
        }
        assert dict(compute.attributes) == {"bertbundle.runtime": "runtime gated threads 1"}

    run(work())


def test_large_call_has_spans_for_each_batch() -> None:
    """A call that is computed in parts has the three spans for each part."""

    async def work() -> None:
        traces = Traces()
        rig = EngineRig(EngineTracer(traces.provider), max_execution_batch_size=2)
        await send(rig, traces.request("request", rig, *range(5)))
        rows = [span.attributes["bertbundle.batch.rows"] for span in traces.spans()["batch"]]
        assert rows == [2, 2, 1]

    run(work())


def test_requests_without_a_sampled_trace_have_no_spans() -> None:
    """Neither a request outside of a trace nor one that is not sampled has spans."""

    async def work() -> None:
        traces = Traces("ALWAYS_OFF")
        rig = EngineRig(EngineTracer(traces.provider))
        await send(rig, traces.request("request", rig, 1), rig.submit(2))
        assert traces.spans() == {}

    run(work())
