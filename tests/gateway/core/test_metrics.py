"""The metrics of a gateway: which series exist."""

from __future__ import annotations

import re

import pytest

from bertbundle_gateway.core import errors
from bertbundle_gateway.core.limits import Gate
from bertbundle_gateway.core.methods import METHODS
from bertbundle_gateway.core.metrics import GatewayMetrics
from series import read_series, request_counts

CODES = {
    "OK",
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
}


def models_of(metrics: GatewayMetrics) -> set[str]:
    """Return the models that have series, without Prometheus' parser, which takes seconds for hundreds of models."""
    return set(re.findall(r'\bmodel="([^"]*)"', metrics.exposition().decode()))


def test_series_exist_from_the_start() -> None:
    """Before the first request, the counters of configured models, and of other models, are 0 for every code."""
    series = read_series(GatewayMetrics(["ner", "topics"]).exposition())
    assert {rule.code for rule in errors._RULES} <= CODES
    for model in ("ner", "topics", ""):
        for method in (*METHODS, "describe", "predict"):
            assert series[f'bertbundle_gateway_texts_total{{method="{method}",model="{model}"}}'] == 0
            for code in CODES:
                labels = f'code="{code}",method="{method}",model="{model}"'
                assert series[f"bertbundle_gateway_requests_total{{{labels}}}"] == 0
    assert series["bertbundle_gateway_requests_in_flight"] == 0
    assert series["bertbundle_gateway_requests_in_flight_limit"] == 0
    assert series["process_resident_memory_bytes"] > 0
    assert not [name for name in series if "_created" in name]


def test_requests_in_flight() -> None:
    """The gauges are those of the gate: its limit, and the requests that it has admitted at the time of the scrape."""
    metrics, gate = GatewayMetrics(), Gate(7)
    metrics.watch(gate)
    with gate.admit(), gate.admit():
        series = read_series(metrics.exposition())
    assert series["bertbundle_gateway_requests_in_flight"] == 2
    assert series["bertbundle_gateway_requests_in_flight_limit"] == 7
    assert read_series(metrics.exposition())["bertbundle_gateway_requests_in_flight"] == 0


@pytest.mark.parametrize("code", sorted(CODES - {"OK"}))
def test_names_of_callers_make_no_series(code: str) -> None:
    """However a request with an invented name fails, it counts for the model ""; no series is added."""
    metrics = GatewayMetrics(["ner"])
    before = read_series(metrics.exposition()).keys()
    for number in range(3):
        metrics.request_finished(f"invented-{number}", "entities", code, 1, 0.1)
    assert request_counts(metrics.exposition()) == {("", "entities", code): 3}
    assert read_series(metrics.exposition()).keys() == before


def test_models_that_answer_have_series() -> None:
    """A model that is not configured has all codes from its first answer on."""
    metrics = GatewayMetrics()
    metrics.request_finished("ner", "entities", "UNAVAILABLE", 1, 0.1)
    metrics.request_finished("ner", "entities", "OK", 2, 0.1)
    metrics.request_finished("ner", "entities", "UNAVAILABLE", 4, 0.1)
    assert request_counts(metrics.exposition()) == {
        ("", "entities", "UNAVAILABLE"): 1,
        ("ner", "entities", "OK"): 1,
        ("ner", "entities", "UNAVAILABLE"): 1,
    }
    series = read_series(metrics.exposition())
    assert series['bertbundle_gateway_texts_total{method="entities",model="ner"}'] == 2
    assert series['bertbundle_gateway_requests_total{code="INTERNAL",method="embed",model="ner"}'] == 0


def test_number_of_models() -> None:
    """A server that answers for any name cannot fill the metrics; configured models are never left out."""
    configured = [f"configured-{number}" for number in range(260)]
    assert models_of(GatewayMetrics(configured)) == {*configured, ""}
    metrics = GatewayMetrics()
    for number in range(260):
        metrics.request_finished(f"any-{number}", "entities", "OK", 1, 0.1)
    assert len(models_of(metrics)) == 256
    assert request_counts(metrics.exposition())["", "entities", "OK"] == 5


def test_latency() -> None:
    """Only answered requests are in the histogram: those that are refused at once would hide that others are slow."""
    metrics = GatewayMetrics(["ner"])
    metrics.request_finished("ner", "entities", "OK", 1, 0.003)
    metrics.request_finished("ner", "entities", "RESOURCE_EXHAUSTED", 1, 0.0)
    series = read_series(metrics.exposition())
    name = "bertbundle_gateway_request_seconds"
    assert series[f'{name}_bucket{{le="0.002",method="entities",model="ner"}}'] == 0
    assert series[f'{name}_bucket{{le="0.004",method="entities",model="ner"}}'] == 1
    assert series[f'{name}_sum{{method="entities",model="ner"}}'] == 0.003
    assert series[f'{name}_bucket{{le="+Inf",method="entities",model="ner"}}'] == 1
