"""The metrics have the names, types and labels that dashboards and alerts for TensorFlow Serving rely on."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from embedded_server import start_server
from http_calls import fetch, fetch_json
from model_server import BINARY, free_port, model_server
from optional import skip_without
from paths import ROOT
from tiny_bundles import TinyBundles

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


@pytest.fixture(scope="module", params=["embedded", "tensorflow_model_server"])
def exposition(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The metrics of each server after a request, with batching."""
    if request.param == "embedded":
        return ask_embedded(tmp_path_factory.mktemp("models") / "tiny")
    if not os.environ.get(BINARY):
        skip_without("a real TensorFlow Serving")
    many: Path = request.getfixturevalue("many_signatures")
    port = free_port()
    monitoring = ROOT / "serving/deploy/monitoring.config"
    flags = {"rest_api_port": port, "monitoring_config_file": monitoring, "enable_batching": "true"}
    with model_server("many", model_base_path=many.parent, **flags):
        url = f"http://127.0.0.1:{port}"
        assert fetch_json(f"{url}/v1/models/many:predict", {"instances": [1.0, 2.0]})[0] == 200
        return fetch(f"{url}/monitoring/prometheus/metrics")[2].decode()


def ask_embedded(base: Path) -> str:
    """Return the metrics of an embedded server after a request."""
    base.mkdir()
    TinyBundles(base).write(1)
    server = start_server(base)
    server.address.predict_tiny()
    text = server.server.metrics.exposition().decode()
    server.stop()
    return text


@pytest.mark.parametrize("name", FAMILIES)
def test_family(exposition: str, name: str) -> None:
    """A family has its type and its labels."""
    kind, labels = FAMILIES[name]
    assert f"# TYPE :tensorflow:{name} {kind}\n" in exposition
    suffix = "_bucket" if kind == "histogram" else ""
    found = re.findall(rf"^:tensorflow:{name}{suffix}(?:\{{(.*)\}})? ", exposition, flags=re.MULTILINE)
    assert found
    assert {frozenset(re.findall(r'(\w+)="', series)) for series in found} == {frozenset(labels)}
