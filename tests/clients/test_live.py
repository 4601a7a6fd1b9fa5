"""The client with a `bertbundle-serve` process."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bertbundle import AsyncClient, Client, ModelNotFound, Retries, ServerError, TextTooLong
from bertbundle.cli.main import main
from bertbundle.transports.rest import RestTransport
from chaos import ChaosProxy

pytestmark = pytest.mark.slow

TEXTS = ["Wang lives in Berlin", "a", "王建国 在 北京 " * 7, "b c", "WA\u0301NG\r\n"]
EXPECTED = [["Wang", "Berlin"], [], ["王建国", "北京"] * 7, [], ["WA\u0301NG"]]


@pytest.fixture(scope="module")
def address(embedded: Callable[..., str]) -> str:
    """The address of a server process that serves the small model."""
    return embedded()


def texts_of(answers: Any) -> list[list[str]]:
    """Return the texts of each answer's entities."""
    return [[entity.text for entity in entities] for entities in answers]


def test_lists_windows_and_iterators(address: str) -> None:
    """A real server answers lists, long texts, iterators and lists of words."""
    with Client(address, "tiny", rows_per_call=7) as client:
        assert texts_of(client.entities(TEXTS * 40)) == EXPECTED * 40
        stream = client.entities(itertools.chain.from_iterable(itertools.repeat(TEXTS, 600)))
        assert texts_of(itertools.islice(stream, 3000)) == EXPECTED * 600
        assert texts_of(client.entities([["Wang", "lives"]], is_split_into_words=True)) == [["Wang"]]
        with pytest.raises(TextTooLong):
            client.entities(TEXTS, truncation="error")


def test_async_client(address: str) -> None:
    """A real server answers many concurrent calls of the async client."""

    async def ask() -> list[Any]:
        async with AsyncClient(address, "tiny") as client:
            return await asyncio.gather(*(client.entities(TEXTS) for _ in range(20)))

    assert [texts_of(answers) for answers in asyncio.run(ask())] == [EXPECTED] * 20


def test_compression_and_several_addresses(address: str, embedded: Callable[..., str]) -> None:
    """Compressed requests are distributed over two real servers."""
    with Client(f"{address},{embedded()}", "tiny", compression="gzip") as client:
        assert texts_of(client.entities(TEXTS * 20)) == EXPECTED * 20


def test_bulk_and_bench(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`bulk` and `bench` work with a real server."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 300), encoding="utf-8")
    flags = ["--server", address, "--model", "tiny"]
    assert main(["bulk", *flags, str(source), "--output", str(output)]) == 0
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [[entity["text"] for entity in row["entities"]] for row in rows] == EXPECTED * 300
    capsys.readouterr()
    assert main(["bench", *flags, "--seconds", "0.5", "--json", *TEXTS[:2]]) == 0
    assert json.loads(capsys.readouterr().out)["calls"] > 0


def test_rest(embedded: Callable[..., str]) -> None:
    """A real server returns the same entities and float32 scores over REST as over gRPC."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    grpc_address = embedded(f"--rest_api_port={port}")
    with (
        Client(grpc_address, "tiny") as grpc_client,
        Client("", "tiny", transport=RestTransport(f"http://127.0.0.1:{port}")) as client,
    ):
        assert client.entities(TEXTS) == grpc_client.entities(TEXTS)
        assert client.status() == grpc_client.status()
        with pytest.raises(ModelNotFound):
            Client("", "other", transport=client._runner._transport).entities("a")


@pytest.fixture
def proxy(address: str) -> Iterator[ChaosProxy]:
    """A fault-injecting proxy to the server process."""
    chaos_proxy = ChaosProxy(address)
    yield chaos_proxy
    chaos_proxy.close()


def test_unreliable_network(proxy: ChaosProxy) -> None:
    """With reset connections and truncated responses, every answer that is returned is correct."""
    answered = 0
    with Client(proxy.address, "tiny", timeout=5, retries=Retries(6, 0.01, 0.2, budget=1000)) as client:
        client.manifest()
        proxy.faults = ("pass",) * 12 + ("reset", "truncate", "delay")
        for _ in range(20):
            try:
                assert texts_of(client.entities(TEXTS)) == EXPECTED
            except ServerError:
                continue
            answered += 1
    assert answered
