"""A server with the REST API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from embedded_server import start_server
from tiny_bundles import TinyBundles


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The REST root of a server of the tiny bundle, version 1, scale 0.1, label stable."""
    base = tmp_path_factory.mktemp("rest") / "tiny"
    base.mkdir()
    TinyBundles(base).write(1, scale=0.1)
    server = start_server(
        base,
        rest_port=0,
        poll_seconds=0,
        labels={"stable": 1},
        cors=True,
        metrics_path="/monitoring/prometheus/metrics",
    )
    yield f"http://127.0.0.1:{server.server.rest_port}"
    server.stop()
