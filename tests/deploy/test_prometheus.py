"""A real Prometheus scrapes two servers under load, and answers every panel and every rule with data."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from embedded_server import ServerAddress
from http_calls import fetch_json
from local_server import serving
from observability.dashboards import FOLDER, queries
from panel_picture import draw_panels
from paths import ROOT
from prometheus import Prometheus, running_prometheus
from tiny_bundles import TinyBundles, features, predict_request, rest_instances
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

PICTURE = os.environ.get("BERTBUNDLE_PANELS")
"""Where to draw the panels after a minute of load, for example docs/observability.png."""


@dataclass(frozen=True)
class Instance:
    """A server. Attributes: its gRPC address, and host and port of its REST API."""

    grpc: str
    rest: str


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Instance]]:
    """Two servers of the tiny model, of which only the second has version 2."""
    with contextlib.ExitStack() as stack:
        started = []
        for newest in (1, 2):
            base = tmp_path_factory.mktemp("models") / "tiny"
            base.mkdir()
            for version in range(1, newest + 1):
                TinyBundles(base).write(version, loops=2)
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            flags = {"rest_api_port": port, "monitoring_config_file": ROOT / "serving/deploy/monitoring.config"}
            address = stack.enter_context(serving(model_name="tiny", model_base_path=base, **flags))
            started.append(Instance(address, f"127.0.0.1:{port}"))
        yield started


def send_load(instance: Instance, stop: threading.Event) -> None:
    """Send requests over gRPC and REST, also padded ones, wrong ones and some with too short a deadline."""
    server = ServerAddress(int(instance.grpc.rpartition(":")[2]))
    inputs = features(3, 4)
    inputs["attention_mask"][:, 3:] = 0
    good = [predict_request(), predict_request(inputs, signature="length_4")]
    wrong = predict_request({}, signature="length_4")
    while not stop.wait(0.1):
        for request in good:
            server.predict(request)
        with contextlib.suppress(grpc.RpcError):
            server.predict(wrong)
        with contextlib.suppress(grpc.RpcError):
            server.predict(good[0], timeout=0.001)
        fetch_json(f"http://{instance.rest}/v1/models/tiny:predict", {"instances": rest_instances()})
    server.channel.close()


@pytest.fixture(scope="module")
def prometheus(instances: list[Instance], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the servers, which receive requests, the second one more than the first."""
    stop = threading.Event()
    callers = [
        threading.Thread(target=send_load, args=(instance, stop))
        for number, instance in enumerate(instances, start=1)
        for _ in range(number)
    ]
    targets = [instance.rest for instance in instances]
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), FOLDER / "rules.yaml", targets) as prometheus:
        wait_until(lambda: prometheus.values("sum(up)") == [2])
        for caller in callers:
            caller.start()
        yield prometheus
        stop.set()
        for caller in callers:
            caller.join()


def test_every_panel_has_data(prometheus: Prometheus) -> None:
    """Every query of every panel finds a value."""
    waiting = dict(queries())

    def all_answered() -> bool:
        for name in [name for name, expression in waiting.items() if prometheus.values(expression)]:
            del waiting[name]
        return not waiting

    with contextlib.suppress(AssertionError):
        wait_until(all_answered)
    assert waiting == {}


def test_every_rule_has_data(prometheus: Prometheus) -> None:
    """Every recording rule records a value, every alert is evaluated, and those that should be are pending."""
    wait_until(lambda: {rule["health"] for rule in prometheus.rules().values()} == {"ok"})
    rules = prometheus.rules()
    recorded = [name for name, rule in rules.items() if rule["type"] == "recording"]
    assert len(recorded) == 9
    wait_until(lambda: all(prometheus.values(name) for name in recorded))
    expected = {"BertBundleErrorBudgetBurn", "BertBundleErrorRatio", "BertBundleVersionSkew"}
    wait_until(lambda: expected <= pending(prometheus))
    # The other alerts find nothing to alert about. That they have data is a matter of test_observability.
    assert "BertBundleVersionNotLoaded" not in pending(prometheus)


def pending(prometheus: Prometheus) -> set[str]:
    """Return the alerts whose condition holds, not yet for as long as they demand, or already."""
    return {name for name, rule in prometheus.rules().items() if rule.get("state") in ("pending", "firing")}


def test_panels_are_drawn(prometheus: Prometheus, tmp_path: Path) -> None:
    """The panels can be drawn from their queries: all of them if a picture is wanted, some in a test."""
    path = Path(PICTURE) if PICTURE else tmp_path / "panels.png"
    start = time.time()
    time.sleep(60 if PICTURE else 1)
    draw_panels(prometheus, start, time.time(), path, max_panels=None if PICTURE else 4)
    assert path.stat().st_size > 10_000
