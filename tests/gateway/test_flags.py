"""The flags of bertbundle-gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertbundle import InputError
from bertbundle_gateway.core.limits import Limits
from bertbundle_gateway.core.servers import Servers
from bertbundle_gateway.flags import parse_arguments, to_options
from bertbundle_gateway.options import GatewayOptions


def options(*flags: str) -> GatewayOptions:
    """Return the options for flags."""
    return to_options(parse_arguments(list(flags)))


@pytest.mark.parametrize(
    ("flags", "servers"),
    [
        (["--server=a:1,b:2"], Servers("a:1,b:2", {})),
        (["--model=ner=a:1", "--model", "qa=b:2,c:3"], Servers(None, {"ner": "a:1", "qa": "b:2,c:3"})),
        (["--server=a:1", "--model=ner"], Servers("a:1", {"ner": None})),
    ],
)
def test_servers(flags: list[str], servers: Servers) -> None:
    """Models are at the default address, or at their own."""
    assert options(*flags).servers == servers


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "no server is given"),
        (["--model=ner"], "needs a name and an address"),
        (["--model==a:1"], "needs a name and an address"),
        (["--model=ner=a:1", "--model=ner=b:1"], "given twice"),
        (["--server=a"], "host:port"),
        (["--server=a:1", "--server_cert=x"], "go together"),
        (["--server=a:1", "--server_ca=none"], "--server_ca none cannot be read"),
        (["--server=a:1", "--server_token_file=none"], "--server_token_file none cannot be read"),
        (["--server=a:1", "--tls_cert=none"], "--tls_cert and --tls_key go together"),
    ],
)
def test_mistakes(flags: list[str], message: str) -> None:
    """A mistake is one message with the flag."""
    with pytest.raises(InputError, match=message):
        options(*flags)


@pytest.mark.parametrize(
    "flag", ["--max_texts=2049", "--max_texts=0", "--port=x", "--timeout=0", "--modell=x", "--mod=x"]
)
def test_malformed(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A malformed or unknown flag is refused."""
    with pytest.raises(SystemExit):
        options("--server=a:1", flag)
    assert flag.split("=")[0] in capsys.readouterr().err


def test_every_flag(tmp_path: Path) -> None:
    """Every flag reaches its option."""
    (tmp_path / "token").write_text("secret\n", encoding="ascii")
    made = options(
        "--server=a:1",
        "--server_tls",
        f"--server_token_file={tmp_path / 'token'}",
        "--timeout=5",
        "--call_timeout=2",
        "--hedge_after=1",
        "--max_attempts=7",
        "--batches_in_flight=0",
        "--host=::1",
        "--port=1",
        "--rest_api_port=2",
        "--rest_api_timeout_in_ms=3000",
        "--rest_api_enable_cors_support",
        f"--api_keys_file={tmp_path / 'keys'}",
        "--max_texts=4",
        "--max_characters=5",
        "--max_requests=6",
        "--max_message_bytes=7",
        "--log_requests",
    )
    clients = made.clients
    assert (clients.timeout, clients.call_timeout, clients.hedge_after, clients.retries.attempts) == (5, 2, 1, 7)
    assert made.server_token is not None
    assert made.server_token() == "secret"
    assert made.server_tls is not None
    expected: dict[str, Any] = {
        "batches_in_flight": None,
        "host": "::1",
        "port": 1,
        "rest_port": 2,
        "rest_timeout_seconds": 3.0,
        "cors": True,
        "tls": None,
        "api_keys_file": tmp_path / "keys",
        "limits": Limits(4, 5, 6),
        "message_bytes": 7,
        "log_requests": True,
    }
    assert {name: getattr(made, name) for name in expected} == expected
    assert made.address(1) == "[::1]:1"


def test_defaults() -> None:
    """The defaults of the flags are those of the options."""
    assert options("--server=a:1") == GatewayOptions(servers=Servers("a:1", {}))
