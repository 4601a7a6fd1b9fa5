"""Real clients of other APIs, through the gateway in front of every server, and at the embedded server itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from huggingface_hub import InferenceClient

from bertbundle import Client
from bertbundle_serving.config.models import ModelConfig
from embedded_server import start_server
from gateways import running_gateway
from http_calls import fetch

pytestmark = pytest.mark.slow
GOLDEN = json.loads((Path(__file__).parent / "minilm_golden.json").read_text(encoding="utf-8"))
"""Embeddings by transformers; see make_minilm_golden.py."""
TEXT = "Alex Rivera lives in Springfield. 😀 Call Alex."
# Formats and servers differ by rounding.
TOLERANCE: dict[str, Any] = {"rtol": 0, "atol": 1e-4}

Open = Callable[[Path], Any]


@pytest.fixture(params=["gateway", "embedded"])
def open_api(request: pytest.FixtureRequest, serve: Callable[[Path], str], runtime: str) -> Iterator[Open]:
    """A function that returns the root URL of the text API over a model, and a client that asks its server directly."""
    import contextlib

    with contextlib.ExitStack() as stack:

        def start(version: Path) -> tuple[str, Client]:
            name = version.parent.name
            client = stack.enter_context(Client(serve(version), name, timeout=120))
            if request.param == "gateway":
                running = stack.enter_context(running_gateway(serve(version), {name: None}, rest_port=0))
                return f"http://127.0.0.1:{running.gateway.rest_port}", client
            kind = "onnx" if runtime == "tensorflow_model_server" else runtime
            configs = (ModelConfig(name, version.parent),)
            server = start_server(
                version.parent, models=configs, rest_port=0, text_api=True, runtime=kind, poll_seconds=0
            )
            stack.callback(server.stop)
            return f"http://127.0.0.1:{server.server.rest_port}", client

        yield start


def test_embeddings(open_api: Open, minilm: Path) -> None:
    """Each client of embeddings gets the vectors that transformers computes."""
    url, _ = open_api(minilm)
    sentences = GOLDEN["sentences"]
    expected = np.array(GOLDEN["embeddings"])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused") as client:
        answer = client.embeddings.create(model="minilm", input=sentences)
    vectors = {
        "openai": [item.embedding for item in answer.data],
        "huggingface_hub": InferenceClient(model=f"{url}/models/minilm").feature_extraction(sentences),
        "embed": json.loads(fetch(f"{url}/embed", json.dumps({"inputs": sentences}).encode())[2]),
    }
    for name, found in vectors.items():
        found = np.array(found)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        np.testing.assert_allclose(found, expected, err_msg=name, **TOLERANCE)
    scores = InferenceClient(model=f"{url}/models/minilm").sentence_similarity(sentences[0], sentences[1:])
    np.testing.assert_allclose(scores, expected[1:] @ expected[0], **TOLERANCE)


def test_entities(open_api: Open, rampart: Path) -> None:
    """Entities over REST are those of the Python client, and those of Hugging Face's client those of the pipeline."""
    url, client = open_api(rampart)
    body = json.dumps({"texts": [TEXT, ""], "offset_unit": "utf16"}).encode()
    status, _, answer = fetch(f"{url}/v1/models/rampart:entities", body)
    entities, failure = json.loads(answer)["results"]
    utf16 = TEXT.encode("utf-16-le")
    found = [
        (item["label"], utf16[2 * item["start"] : 2 * item["end"]].decode("utf-16-le")) for item in entities["entities"]
    ]
    assert (status, found) == (200, [(item.label, item.text) for item in client.entities(TEXT)])
    assert failure["error"]["reason"] == "EMPTY_TEXT"
    groups = InferenceClient(model=f"{url}/models/rampart").token_classification(TEXT)
    pipeline = client.pipeline("ner", aggregation_strategy="simple")(TEXT)
    assert [(item.entity_group, item.word, item.start, item.end) for item in groups] == [
        (item["entity_group"], item["word"], item["start"], item["end"]) for item in pipeline
    ]
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}
    answer = fetch(f"{url}/v2/models/rampart/infer", json.dumps({"inputs": [tensor]}).encode())[2]
    (data,) = json.loads(answer)["outputs"][0]["data"]
    assert [item["text"] for item in json.loads(data)] == [text for _, text in found]
