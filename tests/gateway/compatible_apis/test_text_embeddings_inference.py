"""text-embeddings-inference's API. There is no client package of its own: `huggingface_hub` and HTTP are used."""

from __future__ import annotations

from typing import Any

import pytest

from gateways import running_gateway
from http_calls import fetch
from text_api import TextApi, text_api


def test_embed(api: TextApi) -> None:
    """Embeddings are normalized unless the request says otherwise, as in text-embeddings-inference."""
    assert api.post("/embed", {"inputs": "wang"}) == (200, [pytest.approx([0.8, 0.6])])
    body = {"inputs": ["wang", "in"], "normalize": False}
    assert api.post("/models/embedder/embed", body) == (200, [[4, 3], [6, 3]])
    assert api.post("/embed", {"inputs": "wang " * 50, "truncate": True, "normalize": False}) == (200, [[4, 12]])


PREDICTIONS = [{"label": "perhaps", "score": 0.75}, {"label": "yes", "score": 0.5}, {"label": "no", "score": 0.25}]


@pytest.mark.parametrize("inputs", ["wang", ["wang"], ["wang", "in"]])
def test_predict(api: TextApi, inputs: Any) -> None:
    """A text, or a list of two, which is a pair, has the scores of its labels, best first."""
    assert api.post("/predict", {"inputs": inputs}) == (200, PREDICTIONS)


def test_predict_batch(api: TextApi) -> None:
    """A list of lists is a batch of texts and pairs."""
    status, answer = api.post("/models/classifier/predict", {"inputs": [["wang"], ["in", "wang"]]})
    assert (status, answer[0], answer[1][0]["label"]) == (200, PREDICTIONS, "no")


def test_raw_scores() -> None:
    """Raw scores are the logits."""
    import numpy as np

    logits = {"logits": lambda inputs: np.tile(np.array([0.5, 1, -2], np.float32), (len(inputs["input_ids"]), 1))}
    with text_api(logits) as api:
        answer = api.post("/predict", {"inputs": "wang", "raw_scores": True})[1]
    assert answer == [{"label": "perhaps", "score": 1}, {"label": "no", "score": 0.5}, {"label": "yes", "score": -2}]


def test_info(api: TextApi) -> None:
    """The description of a model has the fields of text-embeddings-inference."""
    status, info = api.get("/models/classifier/info")
    labels = {"0": "no", "1": "perhaps", "2": "yes"}
    assert (status, info["model_id"], info["max_input_length"], info["max_client_batch_size"]) == (
        200,
        "classifier",
        12,
        100,
    )
    assert info["model_type"] == {
        "classifier": {"id2label": labels, "label2id": {name: int(index) for index, name in labels.items()}}
    }
    assert info["auto_truncate"] is False
    assert api.get("/models/embedder/info")[1]["model_type"] == {"embedding": {"pooling": "none"}}


def test_paths_without_a_model(api: TextApi) -> None:
    """Without a name in the path, the only model answers; with several, the error says how to name one."""
    status, answer = api.get("/info")
    assert (status, answer["error_type"]) == (404, "Validation")
    assert "Name the model in the URL: /models/MODEL" in answer["error"]
    with running_gateway(api.server.address, {"embedder": None}, rest_port=0) as running:
        one = TextApi(f"http://127.0.0.1:{running.gateway.rest_port}", api.server)
        assert one.get("/info")[1]["model_id"] == "embedder"
        status, answer = one.post("/predict", {"inputs": "wang"})
    assert (status, answer["error_type"]) == (424, "Backend")
    assert "is for feature-extraction" in answer["error"]


REFUSED = [
    ("/embed", {"inputs": ""}, 400, "Empty"),
    ("/embed", {"inputs": []}, 400, "Empty"),
    ("/embed", {"inputs": "wang " * 50}, 413, "Validation"),
    ("/embed", {"inputs": ["x"] * 101}, 413, "Validation"),
    ("/embed", {"inputs": [[1, 2]]}, 422, "Validation"),
    ("/embed", {"inputs": "x", "prompt_name": "query"}, 422, "Validation"),
    ("/embed", {"inputs": "x", "truncation_direction": "Left"}, 422, "Validation"),
    ("/embed", {"inputs": "x", "dimensions": 7}, 422, "Validation"),
    ("/embed", {"inputs": "x", "colour": 1}, 422, "Validation"),
    ("/predict", {"inputs": ["a", "b", "c"]}, 422, "Validation"),
    ("/models/tagger/embed", {"inputs": "x"}, 424, "Backend"),
    ("/models/nobody/embed", {"inputs": "x"}, 404, "Validation"),
]


@pytest.mark.parametrize(("path", "body", "status", "error_type"), REFUSED)
def test_refused(api: TextApi, path: str, body: Any, status: int, error_type: str) -> None:
    """Errors have the status and the type of text-embeddings-inference."""
    answer = api.post(path, body)
    assert (answer[0], answer[1]["error_type"]) == (status, error_type)
    assert answer[1]["error"]


def test_normalized_models_are_refused_without() -> None:
    """A model that normalizes its embeddings itself cannot return others."""
    from fakes import FakeServer, Model, make_manifest, predict_method, status_method

    model = Model(make_manifest("feature-extraction", normalized=True))
    server = FakeServer(predict_method(model), status_method)
    with running_gateway(server.address, {"tiny": None}, rest_port=0) as running:
        api = TextApi(f"http://127.0.0.1:{running.gateway.rest_port}", server)
        status, answer = api.post("/embed", {"inputs": "wang", "normalize": False})
    server.stop()
    assert (status, answer["error_type"]) == (422, "Validation")
    assert "the model itself normalizes its embeddings" in answer["error"]


def test_health() -> None:
    """The health is that of the servers behind the gateway."""
    with text_api() as api:
        assert [fetch(f"{api.url}{path}")[0] for path in ("/health", "/models/tagger/health")] == [200, 200]
        api.server.stop()
        assert "not available: " in api.get("/health")[1]["error"]
        assert [fetch(f"{api.url}{path}")[0] for path in ("/health", "/models/tagger/health")] == [503, 503]
