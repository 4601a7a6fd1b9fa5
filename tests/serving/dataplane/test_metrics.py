"""The metrics have TensorFlow Serving's names where TensorFlow Serving has the same metrics."""

from __future__ import annotations

import asyncio
import re
import shutil
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bertbundle_serving.dataplane.metrics import Metrics
from bertbundle_serving.repository.warmup import WARMUP_FILE
from embedded_server import Serve
from engine_rig import EngineRig, run
from http_calls import fetch, fetch_json
from tiny_bundles import TinyBundles, rest_instances
from waiting import wait_until


def test_metrics(url: str) -> None:
    """Metrics that TensorFlow Serving has, too, have its names and labels."""
    fetch_json(f"{url}/v1/models/tiny:predict", {"instances": rest_instances()})
    fetch_json(f"{url}/v1/models/any-name:predict", {"instances": rest_instances()})
    status, headers, body = fetch(f"{url}/monitoring/prometheus/metrics")
    text = body.decode()
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "# TYPE :tensorflow:serving:request_count counter\n" in text
    assert ':tensorflow:serving:request_count{model_name="tiny",status="OK"} ' in text
    assert (
        ':tensorflow:serving:request_latency_count{API="Predict",entrypoint="REST",model_name="tiny",status="OK"}'
        in text
    )
    assert (
        ':tensorflow:serving:runtime_latency_bucket{API="Predict",le="10.0",model_name="tiny",runtime="onnx float32"}'
        in text
    )
    assert 'bertbundle_queue_depth{model="tiny",signature="serving_default",version="1"} 0.0' in text
    for name in ("bertbundle_batch_rows_count", "bertbundle_tokens_total", "bertbundle_padding_tokens_total"):
        assert f'{name}{{model="tiny",signature="serving_default"}}' in text
    assert "any-name" not in text, "a client must not be able to fill the metrics with names"
    assert 'model_name="(other)",status="NOT_FOUND"' in text


def exposed(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the value of each series, read by Prometheus' parser, which appends _total to TensorFlow's counters."""
    return {
        (re.sub("^(:tensorflow:.*)_total$", r"\1", sample.name), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def test_series_exist_from_the_start(bundles: TinyBundles, serve: Serve) -> None:
    """Before the first request, the series of a loaded model are 0, so that rates and scalers have a first value."""
    bundles.write(3)
    series = exposed(serve(bundles.base).server.metrics)
    signature = {("model", "tiny"), ("signature", "length_4")}
    model = {("model_name", "tiny")}
    for name, labels in (
        ("bertbundle_queue_depth", signature | {("version", "3")}),
        ("bertbundle_queue_seconds_count", signature),
        ("bertbundle_batch_rows_count", signature),
        ("bertbundle_batch_padding_rows_total", signature),
        ("bertbundle_tokens_total", signature),
        ("bertbundle_padding_tokens_total", signature),
        ("bertbundle_request_seconds_count", signature),
        ("bertbundle_requests_in_flight", set()),
        ("bertbundle_failed_versions", {("model", "tiny")}),
        (":tensorflow:serving:request_count", model | {("status", "OK")}),
        (":tensorflow:serving:request_count", model | {("status", "UNAVAILABLE")}),
        (
            ":tensorflow:serving:request_latency_count",
            model | {("API", "Predict"), ("entrypoint", "GRPC"), ("status", "OK")},
        ),
        (":tensorflow:serving:runtime_latency_count", model | {("API", "Predict"), ("runtime", "onnx float32")}),
        (":tensorflow:serving:batching_session:queuing_latency_count", {("thread_pool_name", "batch_threads")}),
        (":tensorflow:serving:batching_session:wrapped_run_count", set()),
    ):
        assert series[name, frozenset(labels)] == 0, name


def test_versions_and_loads(bundles: TinyBundles, serve: Serve) -> None:
    """The newest version, failed loads, and the time of loads and warmups; queues end with their version."""
    (bundles.write(1) / WARMUP_FILE).unlink()
    server = serve(bundles.base)
    bundles.break_file(2)
    tiny = frozenset({("model", "tiny")})
    wait_until(lambda: exposed(server.server.metrics)["bertbundle_failed_versions", tiny] == 1)
    bundles.write(3)
    wait_until(lambda: exposed(server.server.metrics)["bertbundle_newest_version", tiny] == 3)
    series = exposed(server.server.metrics)
    paths = {str(bundles.base / version) for version in ("1", "2", "3")}
    attempts = {
        (dict(labels)["model_path"], dict(labels)["status"]): value
        for (name, labels), value in series.items()
        if name == ":tensorflow:cc:saved_model:load_attempt_count"
    }
    one, two, three = sorted(paths)
    assert attempts == {(one, "success"): 1, (two, "fail"): 1, (three, "success"): 1}
    assert series[":tensorflow:cc:saved_model:load_latency", frozenset({("model_path", three)})] > 0
    warmups = {labels for name, labels in series if name == ":tensorflow:serving:model_warmup_latency_count"}
    assert warmups == {frozenset({("model_path", three), ("status", "OK")})}  # as in TensorFlow Serving, 1 had no file
    queues = {dict(labels)["version"] for name, labels in series if name == "bertbundle_queue_depth"}
    assert queues == {"3"}
    shutil.rmtree(bundles.base / "2")
    wait_until(lambda: exposed(server.server.metrics)["bertbundle_failed_versions", tiny] == 0)


def test_time_in_the_queue() -> None:
    """Each call counts with the time from its submission until its batch is taken, in seconds and in microseconds."""

    async def work() -> None:
        metrics = Metrics()
        rig = EngineRig(metrics, allowed_batch_sizes=(1, 4), max_execution_batch_size=4)
        calls = [rig.submit(1), rig.submit(2), rig.submit(3, 4)]
        submitted = time.perf_counter()
        await asyncio.sleep(0.02)
        waited = time.perf_counter() - submitted
        rig.servable.gate.set()
        await asyncio.gather(*calls)
        series = exposed(metrics)
        samples = {name: value for (name, _), value in series.items()}
        session = ":tensorflow:serving:batching_session"
        assert samples["bertbundle_queue_seconds_count"] == samples[f"{session}:queuing_latency_count"] == 3
        assert samples["bertbundle_queue_seconds_sum"] >= 2 * waited
        assert samples[f"{session}:queuing_latency_sum"] == pytest.approx(samples["bertbundle_queue_seconds_sum"] * 1e6)
        assert samples[f"{session}:wrapped_run_count"] == 2
        assert (samples[f"{session}:processed_batch_size_sum"], samples["bertbundle_batch_rows_sum"]) == (5, 4)
        assert series[f"{session}:padding_size_sum", frozenset({("execution_batch_size", "4")})] == 1

    run(work())
