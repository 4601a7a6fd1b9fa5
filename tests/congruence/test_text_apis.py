"""Real clients of other APIs, through the gateway in front of every server, and at the embedded server itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openai
import pytest
from huggingface_hub import InferenceClient

from bertbundle import Client
from bertbundle_serving.config.models import ModelConfig
from embedded_server import start_server
from gateways import running_gateway
from http_calls import fetch
from inference_clients import ask_with_clients, inference_python
from inference_forms import FORMS, Input

pytestmark = pytest.mark.slow
GOLDEN = json.loads((Path(__file__).parent / "minilm_golden.json").read_text(encoding="utf-8"))
"""Embeddings by transformers; see make_minilm_golden.py."""
TEXT = "Alex Rivera lives in Springfield. 😀 Call Alex."
# Formats and servers differ by rounding.
TOLERANCE: dict[str, Any] = {"rtol": 0, "atol": 1e-4}

Open = Callable[[Path], "Api"]


class Api(NamedTuple):
    """A text API over a model.

    Attributes:
        url: the root URL of its REST API.
        address: ``host:port`` of its gRPC API.
        client: a client that asks the server of the model directly.
    """

    url: str
    address: str
    client: Client


@pytest.fixture(params=["gateway", "embedded"])
def open_api(request: pytest.FixtureRequest, serve: Callable[[Path], str], runtime: str) -> Iterator[Open]:
    """A function that returns the text API over a model."""
    import contextlib

    with contextlib.ExitStack() as stack:

        def start(version: Path) -> Api:
            name = version.parent.name
            client = stack.enter_context(Client(serve(version), name, timeout=120))
            if request.param == "gateway":
                running = stack.enter_context(running_gateway(serve(version), {name: None}, rest_port=0))
                return Api(f"http://127.0.0.1:{running.gateway.rest_port}", running.address, client)
            kind = "onnx" if runtime == "tensorflow_model_server" else runtime
            configs = (ModelConfig(name, version.parent),)
            server = start_server(
                version.parent, models=configs, rest_port=0, text_api=True, runtime=kind, poll_seconds=0
            )
            stack.callback(server.stop)
            url = f"http://127.0.0.1:{server.server.rest_port}"
            return Api(url, f"127.0.0.1:{server.server.port}", client)

        yield start


def test_embeddings(open_api: Open, minilm: Path) -> None:
    """Each client of embeddings gets the vectors that transformers computes."""
    api = open_api(minilm)
    url = api.url
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
    for form, ask in FORMS.items():
        found = np.array(ask(api, "minilm", [texts(*sentences)], {}).outputs["embedding"])
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        np.testing.assert_allclose(found, expected, err_msg=form, **TOLERANCE)
    scores = InferenceClient(model=f"{url}/models/minilm").sentence_similarity(sentences[0], sentences[1:])
    np.testing.assert_allclose(scores, expected[1:] @ expected[0], **TOLERANCE)


def test_entities(open_api: Open, rampart: Path) -> None:
    """Entities over REST are those of the Python client, and those of Hugging Face's client those of the pipeline."""
    api = open_api(rampart)
    url, client = api.url, api.client
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
    for form, ask in FORMS.items():
        (data,) = ask(api, "rampart", [texts(TEXT)], {}).outputs["entities"]
        spans = [(item["label"], item["start"], item["end"]) for item in json.loads(data)]
        assert (form, spans) == (form, [(item.label, item.start, item.end) for item in client.entities(TEXT)])


def texts(*values: str) -> Input:
    """Return a tensor of texts of the Open Inference Protocol."""
    return Input("text", "BYTES", [len(values)], [value.encode() for value in values])


def test_tensors(open_api: Open, minilm: Path) -> None:
    """The tensors of a signature have the outputs that the server computes for them, in each form of the protocol."""
    api = open_api(minilm)
    arrays = {name: np.ones((2, 16), np.int32) for name in ("input_ids", "attention_mask")}
    arrays["token_type_ids"] = np.zeros((2, 16), np.int32)
    inputs = [Input(name, "INT32", array.shape, array.ravel().tolist()) for name, array in arrays.items()]
    answers = {form: ask(api, "minilm", inputs, {"signature_name": "length_16"}) for form, ask in FORMS.items()}
    assert {answer.message for answer in answers.values()} == {""}
    expected = answers.pop("json").outputs
    assert np.shape(expected["sentence_embedding"]) == (2, 384)
    for form, answer in answers.items():
        np.testing.assert_array_equal(
            answer.outputs["sentence_embedding"], expected["sentence_embedding"], err_msg=form
        )
    wrong = Input("input_ids", "FP32", [2, 16], [1.0] * 32)
    refused = {
        (answer.code, answer.message)
        for answer in (
            ask(api, "minilm", [wrong, *inputs[1:]], {"signature_name": "length_16"}) for ask in FORMS.values()
        )
    }
    assert len(refused) == 1
    assert refused.pop()[0] == "INVALID_ARGUMENT"


def test_inference_clients(open_api: Open, rampart: Path) -> None:
    """The clients of KServe and Triton get the entities of the Python client, over REST and gRPC."""
    inference_python()
    api = open_api(rampart)
    answers = ask_with_clients(api.url, api.address, "rampart", {"text": [TEXT, "Nobody."]})
    expected = [[(item.text, item.start) for item in entities] for entities in api.client.entities([TEXT, "Nobody."])]
    assert len(expected[0]) > 1
    entities = {name: answer["entities"] for name, answer in answers.items() if not name.endswith(" error")}
    assert len(entities) == 7
    for name, column in entities.items():
        found = [[(item["text"], item["start"]) for item in json.loads(data)] for data in column]
        assert (name, found) == (name, expected)
