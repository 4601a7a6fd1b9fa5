"""The examples of docs/clients.md, except those of each task, which tests/clients/test_docs.py runs."""

from __future__ import annotations

import asyncio
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import AsyncClient, Client, PredictCall, Prediction
from documents import read_blocks
from fakes import FakeAsyncTransport, FakeTransport, make_tokenizer, write_bundle

BLOCKS = [block.text for block in read_blocks("docs/clients.md") if block.language == "python"]


def block_with(code: str) -> str:
    """Return the only block of the page that contains `code`."""
    (found,) = [block for block in BLOCKS if code in block]
    return found


def run(block: str, **variables: Any) -> dict[str, Any]:
    """Run a block with some variables defined; return all variables that are defined afterwards."""
    exec(block, variables)  # noqa: S102
    return variables


def test_every_example_is_run() -> None:
    """Each block is either an example of a task or run by a test below."""
    others = (
        "async with",
        "line.strip() for line",
        "client.pipeline(",
        "RestTransport(",
        'foreign_manifest("token',
        "foreign_manifest(\n",
    )
    assert {*BLOCKS} == {block_with(code) for code in others} | {b for b in BLOCKS if "\nwith Client(" in f"\n{b}"}


def test_async_client() -> None:
    """The asyncio example awaits two calls at the same time."""
    body = block_with("async with").replace("from bertbundle import AsyncClient\n", "")
    code = f"async def example():\n{textwrap.indent(body, '    ')}    return first, second\n"

    def connect(_: str, model: str) -> AsyncClient:
        return AsyncClient("", model, transport=FakeAsyncTransport())

    example = run(code, AsyncClient=connect, asyncio=asyncio)["example"]
    first, second = asyncio.run(example())
    assert (len(first), len(second)) == (0, 2)


def test_iterator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example that reads a file answers each of its lines."""
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("Wang\nin Berlin\n", encoding="utf-8")
    seen: list[Any] = []
    block = block_with("line.strip() for line").replace("...", "seen.append(entities)")
    with Client("", "ner", transport=FakeTransport()) as client, Path("texts.txt").open(encoding="utf-8") as lines:
        run(block, client=client, open=lambda _: lines, seen=seen)  # the file that the example leaves open
    assert [[entity.text for entity in entities] for entities in seen] == [["Wang"], ["Berlin"]]


def test_pipeline() -> None:
    """The pipeline example returns entities with the keys that the page shows."""
    block = block_with("client.pipeline(").replace("Alex Rivera", "Wang")
    *code, shown = block.strip().splitlines()
    with Client("", "ner", transport=FakeTransport()) as client:
        variables = run("\n".join(code).replace("\npipe(", "\nresult = pipe("), client=client)
    keys = {*run(f"shown = {shown}")["shown"][0]}
    assert {*variables["result"][0]} == keys


def test_other_transports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client over REST and a client of a bundle in this process are created as shown."""
    write_bundle(tmp_path / "models/ner")
    monkeypatch.chdir(tmp_path)
    run(block_with("RestTransport("), Client=Client)


def test_external_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of a model that is not a bundle is created as shown."""
    monkeypatch.chdir(tmp_path)
    make_tokenizer().save("tokenizer.json")
    variables = run(block_with('foreign_manifest("token'), LABELS=["O", "B-PER", "I-PER"])
    with variables["client"] as client:
        assert client.manifest().labels == ("O", "B-PER", "I-PER")


def test_kashgari_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of Kashgari is asked as shown: with its own names, without a mask, with floats."""
    monkeypatch.chdir(tmp_path)
    make_tokenizer().save("tokenizer.json")
    calls: list[PredictCall] = []

    class Kashgari(FakeTransport):
        def predict(self, call: PredictCall, **_: Any) -> Prediction:
            calls.append(call)
            return Prediction({"activation": np.array([[0.25, 0.75]], np.float32)}, 1)

    def connect(server: str, model: str, **settings: Any) -> Client:
        assert (server, model) == ("localhost:8500", "kashgari")
        return Client("", model, transport=Kashgari(), **settings)

    bertbundle = "from bertbundle import foreign_manifest\n"
    run(bertbundle + block_with("foreign_manifest(\n"), LABELS=["a", "b"], Client=connect)
    ((inputs, outputs),) = [(call.inputs, call.outputs) for call in calls]
    assert {name: array.dtype for name, array in inputs.items()} == {
        "Input-Token": np.dtype(np.float32),
        "Input-Segment": np.dtype(np.float32),
    }
    assert outputs == ("activation",)
