"""The gateway in front of every server answers as the Python client that asks the server directly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from bertbundle import Client
from bertbundle.text.v1 import text_service_pb2 as pb
from bertbundle_gateway.core.models import ClientSettings
from gateways import RunningGateway, running_gateway

pytestmark = pytest.mark.slow
TEXTS = ["Alex Rivera lives in Springfield. 😀 Call Alex.", "Nobody.", "Ann Lee met Bo in Paris. " * 10, "A" * 200]
# Rows of several callers share a call, and a product of more rows may add in another order.
PATIENT = ClientSettings(timeout=120)
RTOL, ATOL = 1e-3, 1e-4


@pytest.fixture
def ner(serve: Callable[[Path], str], rampart: Path) -> Iterator[tuple[str, RunningGateway]]:
    """The address of a server of the tagger, and a gateway in front of it."""
    address = serve(rampart)
    with running_gateway(address, clients=PATIENT) as running:
        yield address, running


def call(running: RunningGateway, name: str, request: Any) -> Any:
    """Call a method of TextService."""
    method = running.channel.unary_unary(
        f"/bertbundle.text.v1.TextService/{name}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=getattr(pb, f"{name}Response").FromString,
    )
    return method(request, timeout=120)


def test_entities(ner: tuple[str, RunningGateway]) -> None:
    """Entities of short and long texts, also when many callers ask at the same time."""
    address, running = ner
    with Client(address, "rampart", timeout=120) as client:
        expected = client.entities(TEXTS)
    request = pb.FindEntitiesRequest(model=pb.ModelSelector(name="rampart"), texts=TEXTS)
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: call(running, "FindEntities", request), range(8)))
    for response in responses:
        for result, entities in zip(response.results, expected, strict=True):
            found = [(item.label, item.text, item.span.start, item.span.end) for item in result.entities.entities]
            assert found == [(item.label, item.text, item.start, item.end) for item in entities]
            scores = [item.score for item in result.entities.entities]
            np.testing.assert_allclose(scores, [item.score for item in entities], rtol=RTOL, atol=ATOL)
    assert len(expected[0]) > 1


def test_embeddings(serve: Callable[[Path], str], minilm: Path) -> None:
    """Vectors of texts of different lengths."""
    address, model = serve(minilm), pb.ModelSelector(name="minilm")
    texts = TEXTS[:2]
    with running_gateway(address, clients=PATIENT) as running, Client(address, "minilm", timeout=120) as client:
        response = call(running, "Embed", pb.EmbedRequest(model=model, texts=texts))
        vectors = np.array([result.embedding.values for result in response.results])
        np.testing.assert_allclose(vectors, client.embed(texts), rtol=RTOL, atol=ATOL)


def test_models(ner: tuple[str, RunningGateway]) -> None:
    """Versions and labels are those of the server; what does not exist is NOT_FOUND."""
    _, running = ner
    for model in (
        pb.ModelSelector(name="rampart", version=1),
        pb.ModelSelector(name="rampart", label="blessed"),
        pb.ModelSelector(name="rampart"),
    ):
        response = call(running, "FindEntities", pb.FindEntitiesRequest(model=model, texts=TEXTS[:1]))
        assert response.model_version == 1
    info = call(running, "GetModel", pb.GetModelRequest(model=pb.ModelSelector(name="rampart"))).model
    assert (info.method, [item.state for item in info.versions]) == ("FindEntities", [pb.VERSION_STATE_AVAILABLE])
    for model in (
        pb.ModelSelector(name="rampart", version=99),
        pb.ModelSelector(name="rampart", label="none"),
        pb.ModelSelector(name="none"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(running, "FindEntities", pb.FindEntitiesRequest(model=model, texts=["a"]))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
