"""Embedded servers on hosts of their own: network namespaces, each connected to this process by a cable (veth)."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fakes import write_bundle
from http_calls import fetch
from optional import skip_without
from paths import ROOT

__all__ = ["GRPC_PORT", "REST_PORT", "Host", "require_namespaces", "running_hosts"]

GRPC_PORT, REST_PORT = 8500, 8501
_CALLS = re.compile(rb'^:tensorflow:serving:request_count\{model_name="tiny",status="OK"\} (\S+)$', re.MULTILINE)


def ip(*arguments: str) -> None:
    """Run iproute2's command.

    Raises:
        RuntimeError: it failed; the message is that of the command.
    """
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def require_namespaces() -> None:
    """Skip the running test where network namespaces cannot be created."""
    if shutil.which("ip") is None:
        skip_without("iproute2")
    name = f"bb{os.getpid()}"
    try:
        ip("netns", "add", name)
        try:
            ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        finally:
            ip("netns", "del", name)
    except RuntimeError as error:
        skip_without("network namespaces", f"run as root, on a Linux with veth ({error})")


class Host:
    """A host with an embedded server of the model ``tiny``.

    Attributes:
        address: its IPv4 address.
        base: base path of the model on this host.
    """

    def __init__(self, index: int, directory: Path) -> None:
        """Create a host; `index` is its number among those of this process."""
        self._name = f"bb{os.getpid() % 100_000}-{index}"
        # 198.18.0.0/15 is for tests of networks: RFC 2544.
        network = f"198.18.{os.getpid() % 256}.{4 * index}"
        self._gateway, self.address = (f"{network.rpartition('.')[0]}.{4 * index + offset}" for offset in (1, 2))
        self.base = directory / f"host-{index}" / "tiny"
        self._process: subprocess.Popen[str] | None = None
        write_bundle(self.base)

    def create(self) -> None:
        """Create the namespace and connect it."""
        ip("netns", "add", self._name)
        ip("link", "add", self._name, "type", "veth", "peer", "name", "eth0", "netns", self._name)
        ip("addr", "add", f"{self._gateway}/30", "dev", self._name)
        ip("link", "set", self._name, "up")
        ip("-n", self._name, "addr", "add", f"{self.address}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", self._name, "link", "set", device, "up")

    def remove(self) -> None:
        """Kill the server, and remove the namespace with its cable."""
        self.kill()
        with contextlib.suppress(RuntimeError):
            ip("netns", "del", self._name)

    def start(self, seconds: float = 0.0) -> None:
        """Start the server, whose engine takes `seconds` for a batch; `wait` waits until it is ready."""
        program = str(ROOT / "tests/support/fixed_cost_server.py")
        flags = {
            "host": "0.0.0.0",  # noqa: S104 - of the namespace
            "port": GRPC_PORT,
            "rest_api_port": REST_PORT,
            "model_name": "tiny",
            "model_base_path": self.base,
            "file_system_poll_wait_seconds": 0.1,
            "monitoring_config_file": ROOT / "serving/deploy/monitoring.config",
        }
        command = ["ip", "netns", "exec", self._name, sys.executable, program, str(seconds)]
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        self._process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def wait(self) -> None:
        """Wait until the server is ready."""
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("bertbundle-serve: listening on "), "the server did not start"

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the server."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def terminate(self) -> None:
        """Stop the server as an operator does, and wait until it has ended."""
        assert self._process is not None
        self._process.terminate()
        self._process.communicate()
        self._process = None

    def cut_off(self) -> None:
        """Drop all packets from and to the host, without a word to either side."""
        self._run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")
        # The host has no way back, so it drops what it sends, and refuses what arrives (rp_filter).
        ip("-n", self._name, "route", "add", "blackhole", self._gateway)

    def reconnect(self) -> None:
        """Deliver packets again."""
        ip("-n", self._name, "route", "del", "blackhole", self._gateway)

    def has_netem(self) -> bool:
        """Return whether the kernel can delay packets."""
        try:
            self.delay_packets()
        except (RuntimeError, OSError):
            return False
        self.deliver_packets()
        return True

    def delay_packets(self) -> None:
        """Deliver what the host sends half a second later."""
        self._run("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "500ms")

    def deliver_packets(self) -> None:
        """Deliver packets at once again."""
        self._run("tc", "qdisc", "del", "dev", "eth0", "root")

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            ["ip", "netns", "exec", self._name, *command], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")

    def calls(self) -> int:
        """Return the number of Predict calls that the server has answered."""
        body = fetch(f"http://{self.address}:{REST_PORT}/monitoring/prometheus/metrics")[2]
        found = _CALLS.search(body)
        return int(float(found[1])) if found else 0


@contextlib.contextmanager
def running_hosts(count: int, directory: Path) -> Iterator[list[Host]]:
    """Run hosts with a server each; they are removed at the end of the context."""
    hosts = [Host(index, directory) for index in range(count)]
    try:
        for host in hosts:
            host.create()
            host.start()
        for host in hosts:
            host.wait()
        yield hosts
    finally:
        for host in hosts:
            host.remove()
