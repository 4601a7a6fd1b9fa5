"""Three servers on hosts of their own, behind Envoy and behind a name with three addresses: what goes wrong there."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from bertbundle import Retries
from envoy_proxy import CONFIG, envoy_path, running_envoy
from fake_dns import FakeDns
from fakes import LABELS, write_bundle
from hosts import GRPC_PORT, Host, require_namespaces, running_hosts
from optional import skip_without
from steady_load import SteadyLoad
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

RATE = 25.0
HEDGE_AFTER, CALL_TIMEOUT, TIMEOUT = 0.3, 1.0, 20.0
# A host that hangs gets a third of the calls until it is ejected, after up to two seconds: each takes a retry or two.
SETTINGS: Mapping[str, Any] = {
    "timeout": TIMEOUT,
    "call_timeout": CALL_TIMEOUT,
    "hedge_after": HEDGE_AFTER,
    "retries": Retries(budget=200),
    "concurrency": 256,
}
FAULT_SECONDS, RECOVERY_SECONDS = 6.0, 10.0
BALANCE_CALLS = 900
"""The shares of three hosts that are chosen at random then have a standard deviation of 5 %."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong on a host, and how it ends."""

    begin: Callable[[Host], None]
    end: Callable[[Host], None]
    needs_netem: bool = False


def restart(host: Host, seconds: float = 0.0) -> None:
    """Start the server of a host again, whose engine takes `seconds` for a batch."""
    host.kill()
    host.start(seconds)
    host.wait()


FAULTS = {
    "killed": Fault(Host.kill, restart),
    "cut off": Fault(Host.cut_off, Host.reconnect),
    "hanging": Fault(lambda host: host.send_signal(signal.SIGSTOP), lambda host: host.send_signal(signal.SIGCONT)),
    "slow engine": Fault(lambda host: restart(host, 3.0), restart),
    "slow network": Fault(Host.delay_packets, Host.deliver_packets, needs_netem=True),
}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Host]]:
    """Three hosts with a server each."""
    require_namespaces()
    with running_hosts(3, tmp_path_factory.mktemp("hosts")) as running:
        yield running


@pytest.fixture(scope="module", params=["name", "envoy"])
def address(request: pytest.FixtureRequest, hosts: list[Host]) -> Iterator[str]:
    """What a client connects to: the name of the hosts, or Envoy."""
    with contextlib.closing(FakeDns(*(host.address for host in hosts))) as dns:
        if request.param == "name":
            yield dns.target(GRPC_PORT)
        else:
            with running_envoy(GRPC_PORT, dns.port) as envoy:
                yield envoy


def calls_of(hosts: list[Host], load: SteadyLoad, number: int) -> list[int]:
    """Return how many calls each host answers, until `number` further calls have ended."""
    before, end = [host.calls() for host in hosts], len(load.calls) + number
    wait_until(lambda: len(load.calls) >= end, 10 * number / RATE)
    return [host.calls() - count for host, count in zip(hosts, before, strict=True)]


def is_balanced(counts: list[int], tolerance: float) -> bool:
    """Return whether no count differs from the average by more than a share of it."""
    mean = sum(counts) / len(counts)
    return all(abs(count - mean) <= tolerance * mean for count in counts)


def test_balance(hosts: list[Host], address: str) -> None:
    """The hosts get the same number of calls, within 20 %."""
    with SteadyLoad(address, 2 * RATE, **SETTINGS) as load:
        wait_until(lambda: len(load.calls) > 0)
        counts = calls_of(hosts, load, BALANCE_CALLS)
    assert load.errors == []
    assert is_balanced(counts, 0.2), counts


@pytest.mark.parametrize("name", FAULTS)
def test_fault(hosts: list[Host], address: str, name: str) -> None:
    """While a host is in trouble no call fails or waits long; afterwards it gets its calls again, within 10 seconds."""
    fault, host = FAULTS[name], hosts[1]
    if fault.needs_netem and not host.has_netem():
        skip_without("a kernel with netem")
    with SteadyLoad(address, RATE, **SETTINGS) as load:
        wait_until(lambda: len(load.calls) > 2 * RATE)
        undisturbed = load.percentile(99)
        fault.begin(host)
        try:
            time.sleep(FAULT_SECONDS)
        finally:
            fault.end(host)
        wait_until(lambda: is_balanced(calls_of(hosts, load, round(2 * RATE)), 0.5), RECOVERY_SECONDS)
    assert load.errors == []
    # At worst a call and its hedge both get no answer, and the next attempt is hedged.
    slowest = load.percentile(99)
    assert slowest <= 2 * undisturbed + CALL_TIMEOUT + 2 * HEDGE_AFTER, f"p99 {undisturbed:.2f} s, then {slowest:.2f} s"


def test_rolling_update(hosts: list[Host], address: str) -> None:
    """Hosts get a new version and are restarted, one by one: no call fails, and the last have the new version."""
    numbers = {int(path.name) for path in hosts[0].base.iterdir()}
    new = max(numbers) + 1
    label = f"V{new}"
    labels = tuple(text.replace("PER", label) for text in LABELS)
    with SteadyLoad(address, RATE, **SETTINGS) as load:
        wait_until(lambda: len(load.calls) > 0)
        for host in hosts:
            write_bundle(host.base, new, labels=labels)
            time.sleep(1.0)  # versions are looked for every 0.1 s
            host.terminate()
            host.start()
            host.wait()
        wait_until(lambda: is_balanced(calls_of(hosts, load, round(2 * RATE)), 0.5), RECOVERY_SECONDS)
        last = len(load.calls)
        calls_of(hosts, load, round(2 * RATE))
    assert load.errors == []
    found = [call.result[0].label for call in load.calls]
    assert set(found[last:]) == {label}
    assert found[0] != label


def test_envoy_accepts_the_configuration() -> None:
    """Envoy itself accepts the configuration in serving/deploy/."""
    done = subprocess.run(
        [envoy_path(), "--mode", "validate", "-c", str(CONFIG)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
