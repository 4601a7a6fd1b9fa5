"""The metrics have the names, types and labels that dashboards and alerts for TensorFlow Serving rely on."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from http_calls import fetch, fetch_json
from model_server import Addresses

FAMILIES = {
    "serving:request_count": ("counter", {"model_name", "status"}),
    "serving:request_latency": ("histogram", {"model_name", "API", "entrypoint", "le", "status"}),
    "serving:runtime_latency": ("histogram", {"model_name", "API", "runtime", "le"}),
    "serving:batching_session:queuing_latency": ("histogram", {"thread_pool_name", "le"}),
    "serving:batching_session:padding_size": ("histogram", {"execution_batch_size", "le"}),
    "serving:batching_session:processed_batch_size": ("histogram", {"le"}),
    "serving:batching_session:wrapped_run_count": ("counter", set()),
    "cc:saved_model:load_attempt_count": ("counter", {"model_path", "status"}),
    "cc:saved_model:load_latency": ("counter", {"model_path"}),
}

ServeBatching = Callable[[Path], AbstractContextManager[Addresses]]


@pytest.fixture(scope="module")
def exposition(serve_batching: ServeBatching, many_signatures: Path) -> str:
    """The metrics of each server after a request, with batching."""
    with serve_batching(many_signatures) as addresses:
        status, answer = fetch_json(f"{addresses.rest}:predict", {"instances": [1.0, 2.0]})
        assert status == 200, answer
        return fetch(addresses.rest.partition("/v1/")[0] + "/monitoring/prometheus/metrics")[2].decode()


@pytest.mark.parametrize("name", FAMILIES)
def test_family(exposition: str, name: str) -> None:
    """A family has its type and its labels."""
    kind, labels = FAMILIES[name]
    assert f"# TYPE :tensorflow:{name} {kind}\n" in exposition
    suffix = "_bucket" if kind == "histogram" else ""
    found = re.findall(rf"^:tensorflow:{name}{suffix}(?:\{{(.*)\}})? ", exposition, flags=re.MULTILINE)
    assert found
    assert {frozenset(re.findall(r'(\w+)="', series)) for series in found} == {frozenset(labels)}
