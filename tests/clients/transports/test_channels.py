"""Several servers behind one client: addresses, names, replicas that come and go, and the second chance of a call."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from bertbundle import (
    AsyncClient,
    AsyncGrpcTransport,
    Client,
    GrpcTransport,
    InvalidRequest,
    Overloaded,
    PredictCall,
    ServerUnavailable,
    Tls,
)
from bertbundle.transports import channels
from fake_dns import FakeDns
from optional import skip_without

if TYPE_CHECKING:
    from fakes import FakeServer

Replica = Callable[..., "FakeServer"]


@pytest.fixture
def calls() -> Counter[str]:
    """Give the number of calls that each replica got, by its name."""
    return Counter()


@pytest.fixture
def replica(fakes: Any, start: Callable[..., FakeServer], calls: Counter[str]) -> Replica:
    """Start servers of the small model that count their calls; with a status code they answer nothing else."""

    def start_one(name: str, code: grpc.StatusCode | None = None, **options: Any) -> FakeServer:
        answers = fakes.answers_of(fakes.Model())

        def predict(data: bytes, context: grpc.ServicerContext) -> Any:
            calls[name] += 1
            if code is not None:
                context.abort(code, "told to")
            return answers(data, context)

        return start(predict, **options)

    return start_one


def ask(client: Client, times: int) -> None:
    """Ask a few times, and get the right answer each time."""
    for _ in range(times):
        assert [entity.text for entity in client.entities("wang")] == ["wang"]


def test_in_turn(replica: Replica, calls: Counter[str]) -> None:
    """Calls go round all addresses, and past one that is away, without an attempt that counts."""
    first, second = replica("first"), replica("second")
    with Client(f"localhost:{first.port}, {second.address}", "tiny") as client:
        ask(client, 20)
        assert min(calls["first"], calls["second"]) >= 10
        first.stop()
        ask(client, 50)  # with a budget of 20 retries this would fail, if they counted
        assert client._runner._policy.budget._remaining == 20


def test_in_turn_awaited(replica: Replica, calls: Counter[str]) -> None:
    """The awaiting client goes round, and past one that is away, alike."""
    first, second = replica("first"), replica("second")

    async def main() -> None:
        async with AsyncClient(f"{first.address},{second.address}", "tiny") as client:
            for _ in range(10):
                await client.entities("wang")
            assert min(calls["first"], calls["second"]) >= 5
            first.stop()
            for _ in range(10):
                assert await client.entities("wang")

    asyncio.run(main())


def test_the_one_with_less_to_do(fakes: Any, start: Callable[..., FakeServer], replica: Replica) -> None:
    """While one server is busy with a call, calls go to the other."""
    busy, let_go = threading.Event(), threading.Event()

    def predict(data: bytes, context: grpc.ServicerContext) -> Any:
        busy.set()
        let_go.wait(20)
        return fakes.answers_of(fakes.Model())(data, context)

    transport = GrpcTransport(f"{start(predict).address},{replica('idle').address}")
    with Client("", "tiny", transport=transport) as client, ThreadPoolExecutor(9) as pool:
        asked = []
        while not busy.is_set():
            asked.append(pool.submit(ask, client, 1))
            busy.wait(0.05)
        ask(client, 20)
        let_go.set()
        for each in asked:
            each.result()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        pytest.param(grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest, id="wrong"),
        pytest.param(grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded, id="overloaded"),
    ],
)
def test_only_absence_is_passed_over(
    replica: Replica, calls: Counter[str], code: grpc.StatusCode, error: type[Exception]
) -> None:
    """What a server answers is the answer: another one is asked only where nobody is there."""
    first, second = replica("first", code), replica("second", code)
    transport = GrpcTransport(f"{first.address},{second.address}")
    with pytest.raises(error):
        transport.predict(PredictCall("tiny", "length_4", {}), timeout=9)
    assert calls.total() == 1
    transport.close()


def test_nobody_anywhere() -> None:
    """When nobody is there at any of the addresses, it is ServerUnavailable."""
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))  # bound, not listening
        addresses = ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in (one, two))
        with pytest.raises(ServerUnavailable, match="Is a server running there"), Client(addresses, "tiny") as client:
            client.status()


def test_an_unknown_name_among_others(replica: Replica) -> None:
    """A name of a list that nobody knows is passed over as one where nobody is there."""
    with Client(f"no-such-host.invalid:1,{replica('known').address}", "tiny") as client:
        ask(client, 4)


@pytest.mark.parametrize(
    "address",
    [
        *("", "localhost", "http://localhost:8501", "a,b", "localhost:1,:", "localhost:1,x:y", "localhost:1,"),
        *("::1:8500", "localhost:99999", "localhost:0", "grpc://localhost:1", "a:1;b:1", "local host:1", "[::1]"),
    ],
)
def test_addresses_must_have_ports(address: str) -> None:
    """Each address needs a port, and is none of a web page."""
    for kind in (GrpcTransport, AsyncGrpcTransport):
        with pytest.raises(ValueError, match="expected host:port"):
            kind(address)


@pytest.mark.parametrize("address", ["unix:/run/ner.sock", "dns:///ner", "xds:///ner", "ipv4:1.2.3.4:1,5.6.7.8:2"])
def test_names_of_grpc(address: str) -> None:
    """What gRPC has names of its own for is left to it."""
    assert channels.check_connection(address, "none") == [address]


@pytest.fixture
def loopback6() -> str:
    """The IPv6 loopback address, in brackets, or a skip."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        skip_without("the IPv6 loopback address")
    return "[::1]"


@pytest.mark.parametrize("target", ["{0}:{1}", "ipv6:%5B::1%5D:{1}", "localhost:{1}"], ids=["literal", "uri", "name"])
def test_ipv6(replica: Replica, loopback6: str, target: str) -> None:
    """An IPv6 address is answered: as a literal, as gRPC's URI, and as one of those of a name."""
    server = replica("six", listen=f"{loopback6}:0")
    with Client(target.format(loopback6, server.port), "tiny") as client:
        ask(client, 3)


def test_both_families(replica: Replica, loopback6: str, calls: Counter[str]) -> None:
    """Addresses of both families may stand in one list."""
    four, six = replica("four"), replica("six", listen=f"{loopback6}:0")
    with Client(f"{four.address},{six.address}", "tiny") as client:
        ask(client, 10)
    assert set(calls) == {"four", "six"}


@pytest.fixture
def dns() -> Iterator[FakeDns]:
    """A name server that knows 127.0.0.1 and 127.0.0.2 as one name."""
    server = FakeDns("127.0.0.1", "127.0.0.2")
    yield server
    server.close()


def test_replicas_come_and_go(
    replica: Replica, calls: Counter[str], dns: FakeDns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is looked up again when one of its servers is gone: the one that takes its place is asked, too."""
    often = dict(channels._OPTIONS) | {"grpc.dns_min_time_between_resolutions_ms": 100}
    monkeypatch.setattr(channels, "_OPTIONS", tuple(often.items()))
    first = replica("first")
    replica("second", listen=f"127.0.0.2:{first.port}")
    with Client(dns.target(first.port), "tiny") as client:
        ask(client, 10)
        assert set(calls) == {"first", "second"}
        replica("third", listen=f"127.0.0.3:{first.port}")
        first.stop()
        dns.addresses = ("127.0.0.2", "127.0.0.3")
        end = time.monotonic() + 20
        while not calls["third"] and time.monotonic() < end:
            ask(client, 1)
            time.sleep(0.02)
        assert calls["third"]


def test_an_address_twice_is_two_connections(fakes: Any, start: Callable[..., FakeServer]) -> None:
    """An address that is given twice has two connections: behind one address a balancer may have many servers."""
    peers = set()
    answers = fakes.answers_of(fakes.Model())

    def predict(data: bytes, context: grpc.ServicerContext) -> Any:
        peers.add(context.peer())
        return answers(data, context)

    address = start(predict).address
    for server, connections in ((address, 1), (f"{address},{address}", 2)):
        peers.clear()
        with Client(server, "tiny") as client:
            ask(client, 6)
        assert len(peers) == connections


def test_each_name_is_checked(fakes: Any, start: Callable[..., FakeServer], certificate: tuple[bytes, bytes]) -> None:
    """Under TLS each address of a list has to prove its own name."""
    server = start(fakes.answers_of(fakes.Model()), credentials=grpc.ssl_server_credentials([certificate]))
    with Client(f"localhost:{server.port},127.0.0.1:{server.port}", "tiny", tls=Tls(certificate[1])) as client:
        ask(client, 4)  # 127.0.0.1 is not in the certificate: passed over
    with (
        pytest.raises(ServerUnavailable),
        Client(f"127.0.0.1:{server.port},{server.address}", "tiny", tls=Tls(certificate[1]), timeout=5) as client,
    ):
        client.status()
