"""Malformed requests: each gets a result or a documented error, never INTERNAL, and never no response.

The handlers are called in this process, as gRPC and the ASGI server call them, to test only this project's code.
BERTBUNDLE_FUZZ_CASES is the number of requests; the requests are the same in every run.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import encode_tensors
from bertbundle_serving.protos import _api_pb2 as api
from bertbundle_serving.server import Server
from tiny_bundles import TinyBundles

pytestmark = pytest.mark.slow
CASES = int(os.environ.get("BERTBUNDLE_FUZZ_CASES") or 20_000)
SECONDS = 10.0
# The codes that a malformed request may get, in addition to OK.
GRPC_CODES = {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED", "OUT_OF_RANGE"}
REST_CODES = {200, 400, 404, 429, 501}
PREDICTION, MODELS = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"


class Aborted(Exception):
    """Raised by `Context.abort`."""


class Context:
    """A fake of the context that gRPC passes to a handler."""

    def time_remaining(self) -> float:
        """Return the deadline."""
        return SECONDS

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        """End the call."""
        assert details
        assert len(details) <= 1024 + len("...TRUNCATED")
        raise Aborted(code.name)


def seeds(features: dict[str, np.ndarray[Any, Any]]) -> list[tuple[str, bytes]]:
    """Return a valid request of each kind, with its path."""
    spec = wire.ModelSpec(name="tiny")
    tensors = encode_tensors(features)
    task = api.InferenceTask(model_spec=spec, method_name="tensorflow/serving/classify")
    examples = api.Input(example_list=api.ExampleList(examples=[b"\x0a\x00"]))
    messages: list[tuple[str, Any]] = [
        (PREDICTION + "Predict", wire.PredictRequest(model_spec=spec, inputs=tensors)),
        (
            PREDICTION + "Predict",
            wire.PredictRequest(model_spec=spec, inputs=encode_tensors(features, as_content=False)),
        ),
        (
            PREDICTION + "Predict",
            wire.PredictRequest(
                model_spec=wire.ModelSpec(name="tiny", signature_name="bundle_info"),
                inputs=encode_tensors({"row": np.zeros(2, np.int32)}),
                output_filter=["manifest"],
            ),
        ),
        (PREDICTION + "Classify", api.ClassificationRequest(model_spec=spec, input=examples)),
        (PREDICTION + "Regress", api.RegressionRequest(model_spec=spec, input=examples)),
        (PREDICTION + "MultiInference", api.MultiInferenceRequest(tasks=[task], input=examples)),
        (
            PREDICTION + "GetModelMetadata",
            wire.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"]),
        ),
        (MODELS + "GetModelStatus", wire.GetModelStatusRequest(model_spec=spec)),
    ]
    return [(path, message.SerializeToString()) for path, message in messages]


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Change some bytes: flip a bit, insert, delete, repeat, truncate, or insert a token of protobuf or JSON."""
    mutated = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        index = rng.randrange(len(mutated) + 1)
        kind = rng.choice((0, 0, 0, 1, 2, 3, 4, 5))
        if kind == 0 and index < len(mutated):
            mutated[index] ^= 1 << rng.randrange(8)
        elif kind == 1:
            mutated[index:index] = rng.randbytes(rng.randint(1, 8))
        elif kind == 2:
            del mutated[index : index + rng.randint(1, 16)]
        elif kind == 3:
            mutated[index:index] = mutated[max(0, index - rng.randint(1, 32)) : index]
        elif kind == 4:
            del mutated[index:]
        else:
            mutated[index:index] = rng.choice(TOKENS)
    return bytes(mutated)


TOKENS = [
    b"\xff" * 9 + b"\x01",
    b"\x80" * 11,
    b"\x08\x07",
    b"\x12\x0b\x12\x09\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x00\x00\xc0\x7f",
    b"tiny",
    b"\x1a\x00",
    b"[[",
    b"]]",
    b"{}",
    b"null",
    b"1e999",
    b'{"b64":"/w=="}',
    b"-1",
    b"NaN",
    b'"\\ud800"',
    b"99999999999999999999",
]


def run(bundles: TinyBundles, work: Callable[[Server], Awaitable[None]]) -> None:
    """Run `work` with a server of the tiny bundle."""
    from bertbundle_serving.config.models import ModelConfig
    from bertbundle_serving.options import ServerOptions

    bundles.write(1)

    async def run_with_server() -> None:
        server = Server(ServerOptions(models=(ModelConfig("tiny", bundles.base),), port=0, poll_seconds=0))
        await server.start()
        try:
            await work(server)
        finally:
            await server.stop(1)

    asyncio.run(run_with_server())


def test_grpc_bytes(bundles: TinyBundles) -> None:
    """Mutated and random messages to every method get a result or a client error."""

    async def work(server: Server) -> None:
        handlers = _handlers(server)
        rng = random.Random(20261122)  # noqa: S311  # not for secrets
        valid = seeds(bundles.features())
        codes: collections.Counter[str] = collections.Counter()
        for index in range(CASES):
            path, data = rng.choice(valid)
            sent = rng.randbytes(rng.randrange(200)) if index % 20 == 0 else mutate(rng, data)
            code = await _call(handlers[path], sent)
            assert code in GRPC_CODES | {"OK"}, (path, sent)
            codes[code] += 1
        assert codes["OK"] > CASES / 100, f"too few requests are valid enough to be computed: {codes}"
        assert codes["INVALID_ARGUMENT"] > CASES / 10, codes

    run(bundles, work)


def _handlers(server: Server) -> dict[str, Any]:
    found = {}
    for handler in server.servicer.handlers():
        found.update({path: handler._method_handlers[path].unary_unary for path in handler._method_handlers})
    return found


async def _call(handler: Any, data: bytes) -> str:
    try:
        await asyncio.wait_for(handler(data, Context()), 2 * SECONDS)
    except Aborted as aborted:
        return str(aborted)
    return "OK"


def test_rest_bytes(bundles: TinyBundles) -> None:
    """Mutated REST bodies and paths get a JSON response with a documented status."""

    async def work(server: Server) -> None:
        application = server.make_rest_application()
        rng = random.Random(20261122)  # noqa: S311  # not for secrets
        ids = [list(range(8))] * 2
        columns = {"input_ids": ids, "attention_mask": ids[:1] * 2, "token_type_ids": [[0] * 8] * 2}
        rows = [{name: values[0] for name, values in columns.items()}]
        bodies = [
            json.dumps(body).encode()
            for body in (
                {"inputs": columns},
                {"instances": rows},
                {"signature_name": "bundle_info", "instances": [1]},
                {"examples": [{"x": [1.5, 2], "y": {"b64": "/w=="}}], "context": {"z": "a"}},
            )
        ]
        paths = [f"/v1/models/tiny{end}" for end in (":predict", ":classify", ":regress", "/versions/1:predict")]
        for _ in range(CASES // 5):
            path = rng.choice(paths).encode()
            path = mutate(rng, path) if rng.random() < 0.1 else path
            status, answer = await _post(application, path, mutate(rng, rng.choice(bodies)))
            assert status in REST_CODES, (path, answer)
            json.loads(answer)

    run(bundles, work)


async def _post(application: Any, path: bytes, body: bytes) -> tuple[int, bytes]:
    """Call an ASGI application as a server does (https://asgi.readthedocs.io/en/latest/specs/www.html)."""
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()  # the client stays connected
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "root_path": "",
    }
    await application(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])
