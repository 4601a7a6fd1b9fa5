"""The command-line flags for the connection to a server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--ca", "none.pem"], "--ca none.pem cannot be read: No such file", id="ca-missing"),
        pytest.param(["--ca", "."], "--ca . cannot be read: Is a directory", id="ca-directory"),
        pytest.param(["--ca", __file__], "is not usable: root_certificates contain no PEM", id="ca-not-pem"),
        pytest.param(["--cert", __file__], "--cert and --key go together", id="cert-without-key"),
        pytest.param(["--token-file", "none"], "--token-file none cannot be read: No such", id="token"),
        pytest.param(["--timeout", "soon"], "expected a positive number of seconds, got 'soon'", id="timeout"),
        pytest.param(["--timeout", "-1"], "expected a positive number of seconds, got '-1'", id="negative"),
        pytest.param(["--timeout", "0"], "expected a positive number of seconds, got '0'", id="zero"),
        pytest.param(["--timeout", "inf"], "expected a positive number of seconds, got 'inf'", id="inf"),
        pytest.param(["--timeout", "nan"], "expected a positive number of seconds, got 'nan'", id="nan"),
    ],
)
def test_invalid_flags(fail: Run, ner: list[str], arguments: list[str], message: str) -> None:
    """An invalid flag or an unreadable file is reported in one line with exit code 2."""
    assert message in fail("predict", *ner, "wang", *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--model", "\udcff"], id="model"),
        pytest.param(["--model", "tiny", "--server", "\udcff:1"], id="server"),
    ],
)
def test_names_that_are_not_unicode(fail: Run, arguments: list[str]) -> None:
    """A model name or address that is not valid UTF-8 is reported in one line."""
    assert "is not valid Unicode" in fail("status", *arguments)


def test_token_that_is_not_ascii(fail: Run, ner: list[str], tmp_path: Path) -> None:
    """A token that no header can have is reported with its file."""
    (tmp_path / "token").write_text("é", encoding="utf-8")
    message = fail("predict", *ner, "wang", "--token-file", str(tmp_path / "token"))
    assert f"--token-file {tmp_path / 'token'} has characters that are not ASCII" in message


def test_address_without_a_port(fail: Run) -> None:
    """An address without a port is reported in one line, also by bulk, which opens its client elsewhere."""
    assert "HTTP is for Python only, with RestTransport" in fail("bulk", "--model", "a", "--server", "http://a:1")
    assert "expected host:port of a gRPC server, got 'a:b'" in fail("bulk", "--model", "a", "--server", "a:b")
    assert "expected host:port of a gRPC server, got 'localhost'" in fail(
        "info", "--model", "a", "--server", "localhost"
    )


def test_no_server(fail: Run) -> None:
    """If there is no server, the message has the address and the next step."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        message = fail("predict", "--server", address, "--model", "tiny", "wang")
    assert message.startswith(f"bertbundle: call to {address} failed with UNAVAILABLE: ")
    assert "Is a server running there" in message
