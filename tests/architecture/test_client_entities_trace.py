"""A warm `client.entities(text)` crosses few files of the client, so that a reader can follow it."""

from __future__ import annotations

import bertbundle
from bertbundle import Client
from fakes import FakeServer, predict_method
from tracing import Tracer

MAX_FILES = 12
MAX_MOVES = 30


def test_a_warm_call_stays_in_few_files() -> None:
    """One warm `client.entities(text)` through gRPC visits at most 12 files, in at most 30 moves."""
    server = FakeServer(predict_method())
    with Tracer(bertbundle) as tracer, Client(server.address, "tiny") as client:
        client.entities("Wang lives in Berlin")
        with tracer.recording() as trace:
            entities = client.entities("Wang lives in Berlin")
    server.stop()
    assert [entity.text for entity in entities] == ["Wang", "Berlin"]
    assert len(trace.files) <= MAX_FILES, str(trace)
    assert trace.moves <= MAX_MOVES, str(trace)
