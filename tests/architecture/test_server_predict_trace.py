"""A Predict request crosses few files of the server, so that a reader can follow it."""

from __future__ import annotations

from pathlib import Path

import bertbundle
import bertbundle_serving
from embedded_server import PREDICT, start_server
from tiny_bundles import TinyBundles, predict_request
from tracing import Tracer
from waiting import wait_until

MAX_FILES = 12
MAX_MOVES = 30


def test_warm_predict(tmp_path: Path) -> None:
    """A warm Predict visits at most 12 files, in at most 30 moves, including those in the engine's thread."""
    base = tmp_path / "tiny"
    base.mkdir()
    TinyBundles(base).write(1)
    request = predict_request().SerializeToString()
    with Tracer(bertbundle, bertbundle_serving) as tracer:
        server = start_server(base, runtime="onnx", poll_seconds=0)
        try:
            for _ in range(3):
                server.address.send(PREDICT, request)
            wait_until(lambda: not server.server.engine._queues)  # the engine released the version
            with tracer.recording() as trace:
                server.address.send(PREDICT, request)
                wait_until(lambda: not server.server.engine._queues)
        finally:
            server.stop()
    assert len(trace.files) <= MAX_FILES, str(trace)
    assert trace.moves <= MAX_MOVES, str(trace)
