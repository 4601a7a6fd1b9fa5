"""`/healthz` and `/readyz` of the REST port, and the list of models."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest

from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.errors import ServeError
from bertbundle_serving.options import ServerOptions
from bertbundle_serving.server import Server
from embedded_server import InProcessServer, Serve
from fakes import write_bundle
from http_calls import fetch, fetch_json
from tiny_bundles import TinyBundles, rest_instances
from waiting import SECONDS, wait_until

READY = (200, {"ready": True})


def root(server: InProcessServer) -> str:
    """Return the root URL of a server."""
    return f"http://127.0.0.1:{server.server.rest_port}"


def test_ready(bundles: TinyBundles, serve: Serve) -> None:
    """A server is ready when all of its models are available; the reason names those that are not."""
    bundles.write(1)
    other = bundles.base.parent / "other"
    other.mkdir()
    models = (ModelConfig("tiny", bundles.base), ModelConfig("other", other))
    server = serve(bundles.base, models=models, rest_port=0)
    assert fetch_json(f"{root(server)}/healthz") == (200, {"alive": True})
    assert fetch_json(f"{root(server)}/readyz") == (
        503,
        {
            "ready": False,
            "reason": "not available: other",
            "models": {"other": "There is no version of model 'other' yet."},
        },
    )
    TinyBundles(other).write(1)
    wait_until(lambda: fetch_json(f"{root(server)}/readyz") == READY)


def test_broken_new_version(bundles: TinyBundles, serve: Serve) -> None:
    """A server stays ready when a new version does not load: the old one answers."""
    bundles.write(1)
    server = serve(bundles.base, rest_port=0)
    (bundles.base / "2").mkdir()
    (bundles.base / "2" / "model.onnx").write_bytes(b"no model")
    states = server.server.repository.models["tiny"].statuses
    wait_until(lambda: any(status.version == 2 and status.code != "OK" for status in states()))
    assert fetch_json(f"{root(server)}/readyz") == READY


def test_keys(bundles: TinyBundles, serve: Serve, tmp_path: Path) -> None:
    """With API keys, the health needs none, the list of models does."""
    bundles.write(1)
    (tmp_path / "keys").write_text("secret\n")
    server = serve(bundles.base, rest_port=0, api_keys_file=tmp_path / "keys")
    found = [fetch(f"{root(server)}{path}")[0] for path in ("/healthz", "/readyz", "/v1/models")]
    assert found == [200, 200, 401]


def test_while_loading(bundles: TinyBundles, engine_gate: threading.Event) -> None:
    """While a model is loaded, the health is answered, and other requests wait until it is available."""

    async def fetch_later(server: Server, path: str, document: Any = None) -> Any:
        return await asyncio.to_thread(fetch_json, f"http://127.0.0.1:{server.rest_port}{path}", document)

    async def run() -> None:
        server = Server(ServerOptions(models=(ModelConfig("tiny", bundles.base),), port=0, rest_port=0))
        starting = asyncio.ensure_future(server.start())
        while server.rest_port is None:
            await asyncio.sleep(0.01)
        assert (await fetch_later(server, "/healthz"))[0] == 200
        status, answer = await fetch_later(server, "/readyz")
        assert (status, answer["reason"]) == (503, "not available: tiny")
        body = {"instances": rest_instances()}
        waiting = asyncio.ensure_future(fetch_later(server, "/v1/models/tiny:predict", body))
        assert (await fetch_later(server, "/readyz"))[0] == 503
        assert not waiting.done()
        engine_gate.set()
        await starting
        assert (await waiting)[0] == 200
        assert await fetch_later(server, "/readyz") == READY
        await server.stop(1.0)

    bundles.write(1)  # its warmup waits for the gate
    engine_gate.clear()
    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_failed_start(bundles: TinyBundles) -> None:
    """A server that cannot start does not wait for its callers to go elsewhere before it says why."""

    async def run() -> None:
        models = (ModelConfig("tiny", bundles.base),)
        server = Server(ServerOptions(models=models, port=0, rest_port=0, lame_duck_seconds=10 * SECONDS))
        with pytest.raises(ServeError, match="tiny"):
            await server.start()
        await server.stop(1.0)

    bundles.break_file(1)
    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_while_stopping(bundles: TinyBundles) -> None:
    """A server that stops lives but is not ready, while it still answers."""

    async def run() -> None:
        options = ServerOptions(
            models=(ModelConfig("tiny", bundles.base),), port=0, rest_port=0, lame_duck_seconds=SECONDS
        )
        server = Server(options)
        await server.start()
        stopping = asyncio.ensure_future(server.stop(1.0))
        await asyncio.sleep(0)
        url = f"http://127.0.0.1:{server.rest_port}"
        assert (await asyncio.to_thread(fetch_json, f"{url}/healthz"))[0] == 200
        status, answer = await asyncio.to_thread(fetch_json, f"{url}/readyz")
        assert (status, answer["reason"]) == (503, "the server is shutting down")
        assert (await asyncio.to_thread(fetch_json, f"{url}/v1/models/tiny"))[0] == 200
        stopping.cancel()
        server._options = dataclasses.replace(options, lame_duck_seconds=0)
        await server.stop(1.0)

    bundles.write(1)
    asyncio.run(asyncio.wait_for(run(), SECONDS))


def test_models_are_listed(tmp_path: Path, serve: Serve) -> None:
    """The list of models is the same with and without the text API."""
    base = tmp_path / "tiny"
    write_bundle(base)
    found = [fetch_json(f"{root(serve(base, rest_port=0, text_api=text_api))}/v1/models") for text_api in (False, True)]
    assert found[0] == found[1]
    status, answer = found[0]
    assert (status, [(model["id"], model["task"], model["versions"]) for model in answer["data"]]) == (
        200,
        [("tiny", "token-classification", [{"version": 1, "state": "AVAILABLE"}])],
    )
