"""The metrics have TensorFlow Serving's names where TensorFlow Serving has the same metrics."""

from __future__ import annotations

from http_calls import fetch, fetch_json
from tiny_bundles import rest_instances


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
