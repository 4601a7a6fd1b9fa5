"""A real Prometheus, which scrapes servers of a test and evaluates the rules of serving/deploy/observability."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from http_calls import fetch
from optional import skip_without
from waiting import wait_until

__all__ = ["Prometheus", "running_prometheus"]

VARIABLES = {"$__rate_interval": "10s", "$job": "bertbundle", "$model": ".*", "$instance": ".*"}
Point: TypeAlias = tuple[float, float]
"""Seconds since the epoch, and a value."""

CONFIG = """
global: {{scrape_interval: 500ms, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: bertbundle
    metrics_path: /monitoring/prometheus/metrics
    static_configs: [{{targets: {targets}}}]
"""


class Prometheus:
    """The HTTP API of a Prometheus.

    Args:
        url: its address.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def is_ready(self) -> bool:
        """Return whether it answers."""
        try:
            return fetch(f"{self._url}/-/ready")[0] == 200
        except OSError:
            return False

    def values(self, expression: str) -> list[float]:
        """Return the newest values of the series that a query finds; NaN, as of a ratio without requests, is none."""
        found = self._get("query", query=_set_variables(expression))["result"]
        return [float(series["value"][1]) for series in found if not math.isnan(float(series["value"][1]))]

    def history(self, expression: str, start: float, end: float) -> list[tuple[dict[str, str], list[Point]]]:
        """Return labels and points of the series that a query finds, one point a second."""
        found = self._get("query_range", query=_set_variables(expression), start=start, end=end, step=1)["result"]
        return [
            (series["metric"], [(float(moment), float(value)) for moment, value in series["values"]])
            for series in found
        ]

    def rules(self) -> dict[str, dict[str, Any]]:
        """Return the rules by the name of their record or alert; of several alerts of a name, the last one."""
        return {rule["name"]: rule for group in self._get("rules")["groups"] for rule in group["rules"]}

    def _get(self, path: str, **parameters: Any) -> Any:
        status, _, body = fetch(f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        document = json.loads(body)
        assert status == 200, (document, parameters)
        return document["data"]


@contextlib.contextmanager
def running_prometheus(directory: Path, rules: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
    """Run Prometheus while the context is open; skip the test if it is not installed.

    Args:
        directory: for its configuration and data.
        rules: the file of rules.
        targets: ``host:port`` of the servers to scrape.
    """
    program = shutil.which("prometheus")
    if program is None:
        skip_without("prometheus")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = directory / "prometheus.yml"
    config.write_text(CONFIG.format(rules=json.dumps(str(rules)), targets=json.dumps(list(targets))), encoding="utf-8")
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}"]
    with (directory / "prometheus.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
        try:
            prometheus = Prometheus(f"http://{address}")
            wait_until(lambda: prometheus.is_ready() or process.poll() is not None)
            assert process.poll() is None, (directory / "prometheus.log").read_text(encoding="utf-8")
            yield prometheus
        finally:
            process.terminate()
            process.wait()


def _set_variables(expression: str) -> str:
    """Return a query with values instead of Grafana's variables."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression
