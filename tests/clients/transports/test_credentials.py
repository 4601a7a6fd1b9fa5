"""TLS settings, and tokens and metadata of calls."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from bertbundle import Client, ServerUnavailable, Tls
from bertbundle.transports.credentials import make_metadata
from fakes import FakeServer, predict_method

StartServer = Callable[..., FakeServer]


# ---- TLS


def test_tls(start_server: StartServer, certificate: tuple[bytes, bytes]) -> None:
    """With the server's authority and name, the client connects."""
    server = start_server(predict_method(), credentials=grpc.ssl_server_credentials([certificate]))
    with Client(server.address, "tiny", tls=Tls(certificate[1], server_name="localhost")) as client:
        assert [entity.text for entity in client.entities("wang")] == ["wang"]


def test_mutual_tls(start_server: StartServer, certificate: tuple[bytes, bytes]) -> None:
    """A server that requires a client certificate accepts a client with one and rejects a client without one."""
    credentials = grpc.ssl_server_credentials([certificate], certificate[1], require_client_auth=True)
    server = start_server(predict_method(), credentials=credentials)
    key, cert = certificate
    with Client(server.address, "tiny", tls=Tls(cert, key, cert, server_name="localhost")) as client:
        assert client.manifest().name == "tiny"
    with (
        pytest.raises(ServerUnavailable),
        Client(server.address, "tiny", tls=Tls(cert, server_name="localhost"), timeout=5) as client,
    ):
        client.manifest()


@pytest.mark.parametrize("server_name", [pytest.param(None, id="address"), pytest.param("elsewhere", id="name")])
def test_certificate_for_another_name(
    start_server: StartServer, certificate: tuple[bytes, bytes], server_name: str | None
) -> None:
    """A certificate for another name is rejected, and the error says so."""
    server = start_server(predict_method(), credentials=grpc.ssl_server_credentials([certificate]))
    with (
        pytest.raises(ServerUnavailable, match="certificate is for another name"),
        Client(server.address, "tiny", tls=Tls(certificate[1], server_name=server_name), timeout=5) as client,
    ):
        client.manifest()


def test_plain_text_to_tls_port(start_server: StartServer, certificate: tuple[bytes, bytes]) -> None:
    """A client without TLS at a TLS port gets an error that suggests the cause, instead of waiting forever."""
    server = start_server(predict_method(), credentials=grpc.ssl_server_credentials([certificate]))
    with (
        pytest.raises(ServerUnavailable, match="do both sides agree on TLS"),
        Client(server.address, "tiny", timeout=5) as client,
    ):
        client.manifest()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"private_key": b"x"}, "private_key and certificate_chain go together", id="key-alone"),
        pytest.param({"certificate_chain": b"x"}, "private_key and certificate_chain go together", id="chain-alone"),
        pytest.param({"root_certificates": b""}, "root_certificates contain no PEM certificate", id="empty"),
        pytest.param({"root_certificates": b"no PEM"}, "root_certificates contain no PEM certificate", id="text"),
        pytest.param({"root_certificates": b"\xff\x00"}, "root_certificates contain no PEM certificate", id="binary"),
        pytest.param(
            {"root_certificates": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
            "root_certificates contain no PEM certificate",
            id="not-a-certificate",
        ),
    ],
)
def test_invalid_tls(fields: dict[str, bytes], message: str) -> None:
    """Invalid certificates and keys raise ValueError when `Tls` is created."""
    with pytest.raises(ValueError, match=message):
        Tls(**fields)  # type: ignore[arg-type]


def test_key_and_certificate_must_match(certificate: tuple[bytes, bytes]) -> None:
    """A certificate in place of the key, or a key in place of the certificate, raises ValueError."""
    key, chain = certificate
    with pytest.raises(ValueError, match="the private key is not a PEM key"):
        Tls(private_key=chain, certificate_chain=chain)
    with pytest.raises(ValueError, match="the certificates contain no PEM certificate"):
        Tls(private_key=key, certificate_chain=key)


# ---- tokens and metadata


def test_metadata_has_the_current_token() -> None:
    """A token that is a callable is called for each call; names of metadata are in lower case."""
    tokens = iter(["a", "b"])
    metadata = make_metadata(lambda: next(tokens), {"X-Team": "search"})
    assert metadata() == (("x-team", "search"), ("authorization", "Bearer a"))
    assert metadata() == (("x-team", "search"), ("authorization", "Bearer b"))
    assert make_metadata("c", None)() == (("authorization", "Bearer c"),)
    assert make_metadata(None, None)() == ()


@pytest.mark.parametrize("metadata", [pytest.param({"a b": "c"}, id="name"), pytest.param({"a": "ü"}, id="value")])
def test_invalid_metadata(metadata: dict[str, str]) -> None:
    """Names and values that gRPC does not accept raise ValueError at once."""
    with pytest.raises(ValueError, match="metadata must have names of a-z 0-9"):
        make_metadata(None, metadata)
