"""gRPC channels: addresses, names of several servers, and channel options."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator

import grpc
import pytest

from bertbundle import AsyncGrpcTransport, Client, GrpcTransport, Retries, ServerUnavailable, Tls
from bertbundle.transports import channels
from fake_dns import FakeDns
from fakes import FakeServer, ask_repeatedly, predict_method
from optional import skip_without
from waiting import wait_until

Replica = Callable[..., FakeServer]


# ---- addresses


@pytest.mark.parametrize(
    "address",
    [
        *("", "localhost", "http://localhost:8501", "a,b", "localhost:1,:", "localhost:1,x:y", "localhost:1,"),
        *("::1:8500", "localhost:99999", "localhost:0", "grpc://localhost:1", "a:1;b:1", "local host:1", "[::1]"),
    ],
)
def test_invalid_addresses(address: str) -> None:
    """An address without a port, or a URL, raises ValueError."""
    for transport in (GrpcTransport, AsyncGrpcTransport):
        with pytest.raises(ValueError, match="expected host:port"):
            transport(address)


@pytest.mark.parametrize("address", ["unix:/run/ner.sock", "dns:///ner", "xds:///ner", "ipv4:1.2.3.4:1,5.6.7.8:2"])
def test_grpc_names(address: str) -> None:
    """Addresses in gRPC's own name syntax are passed to gRPC unchanged."""
    assert channels.check_connection(address, "none") == [address]


def test_unknown_compression() -> None:
    """An unknown compression raises ValueError."""
    with pytest.raises(ValueError, match="compression must be one of none, gzip, deflate, got 'zip'"):
        GrpcTransport("localhost:1", compression="zip")


@pytest.fixture
def loopback6() -> str:
    """The IPv6 loopback address, in brackets."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        skip_without("the IPv6 loopback address")
    return "[::1]"


@pytest.mark.parametrize("target", ["{0}:{1}", "ipv6:%5B::1%5D:{1}", "localhost:{1}"], ids=["literal", "uri", "name"])
def test_ipv6(replica: Replica, loopback6: str, target: str) -> None:
    """A server that listens on IPv6 is reached by its address, by gRPC's URI and by a name."""
    server = replica("six", listen=f"{loopback6}:0")
    with Client(target.format(loopback6, server.port), "tiny") as client:
        ask_repeatedly(client, 3)


def test_ipv4_and_ipv6(replica: Replica, loopback6: str, calls: Counter[str]) -> None:
    """A list of addresses may contain both IPv4 and IPv6 addresses."""
    four, six = replica("four"), replica("six", listen=f"{loopback6}:0")
    with Client(f"{four.address},{six.address}", "tiny") as client:
        ask_repeatedly(client, 10)
    assert set(calls) == {"four", "six"}


# ---- connections


def test_repeated_address(start_server: Callable[..., FakeServer]) -> None:
    """An address that is listed twice gets two connections, for a load balancer with several servers behind it."""
    peers = set()
    answer = predict_method()

    def predict(data: bytes, context: grpc.ServicerContext) -> bytes:
        peers.add(context.peer())
        return answer(data, context)

    address = start_server(predict).address
    for server, connections in ((address, 1), (f"{address},{address}", 2)):
        peers.clear()
        with Client(server, "tiny") as client:
            ask_repeatedly(client, 6)
        assert len(peers) == connections


def test_each_address_proves_its_name(
    start_server: Callable[..., FakeServer], certificate: tuple[bytes, bytes]
) -> None:
    """With TLS, the certificate of each address in a list must have the host of that address."""
    server = start_server(predict_method(), credentials=grpc.ssl_server_credentials([certificate]))
    tls = Tls(certificate[1])
    with Client(f"localhost:{server.port},127.0.0.1:{server.port}", "tiny", tls=tls) as client:
        ask_repeatedly(client, 4)  # 127.0.0.1 is not in the certificate: localhost gets the calls
    with (
        pytest.raises(ServerUnavailable),
        Client(f"127.0.0.1:{server.port},{server.address}", "tiny", tls=tls, timeout=5) as client,
    ):
        client.status()


@pytest.fixture
def dns() -> Iterator[FakeDns]:
    """A DNS server with one name for 127.0.0.1 and 127.0.0.2."""
    server = FakeDns("127.0.0.1", "127.0.0.2")
    yield server
    server.close()


def test_name_is_resolved_again(
    replica: Replica, calls: Counter[str], dns: FakeDns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a server behind a name stops, the name is resolved again, and its replacement gets calls."""
    options = dict(channels._OPTIONS) | {"grpc.dns_min_time_between_resolutions_ms": 100}
    monkeypatch.setattr(channels, "_OPTIONS", tuple(options.items()))
    first = replica("first")
    replica("second", listen=f"127.0.0.2:{first.port}")
    with Client(dns.target(first.port), "tiny") as client:

        def has_called(name: str) -> bool:
            ask_repeatedly(client, 1)
            return calls[name] > 0

        wait_until(lambda: has_called("first"))  # only addresses that are connected already get calls
        wait_until(lambda: has_called("second"))
        replica("third", listen=f"127.0.0.3:{first.port}")
        first.stop()
        dns.addresses = ("127.0.0.2", "127.0.0.3")
        wait_until(lambda: has_called("third"))


def test_failing_server_is_not_called(
    start_server: Callable[..., FakeServer], replica: Replica, calls: Counter[str], dns: FakeDns
) -> None:
    """A server behind a name whose calls fail gets none for some time, and then calls again."""
    failing, failures = True, 0
    answer = predict_method()

    def predict(data: bytes, context: grpc.ServicerContext) -> bytes:
        nonlocal failures
        if failing:
            failures += 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "in trouble")
        calls["second"] += 1
        return answer(data, context)

    first = replica("first")
    start_server(predict, listen=f"127.0.0.2:{first.port}")
    retries = Retries(first_pause=0.001, budget=10_000)
    with Client(dns.target(first.port), "tiny", retries=retries) as client:

        def count_failures() -> int:
            before = failures
            ask_repeatedly(client, 10)
            return failures - before

        wait_until(lambda: count_failures() > 0)  # at first, it may not be connected yet
        wait_until(lambda: count_failures() == 0)
        failing = False
        wait_until(lambda: count_failures() == 0 and calls["second"] > 0)
