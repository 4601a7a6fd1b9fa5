"""The Open Inference Protocol over REST."""

from __future__ import annotations

import functools
import json
import threading
from typing import Any

import pytest

from bertbundle_gateway.compatible_apis import open_inference
from bertbundle_gateway.compatible_apis.open_inference_tensors import array_from_values
from http_calls import fetch
from text_api import TextApi, text_api


def texts(*values: str, name: str = "text", shape: list[int] | None = None) -> dict[str, Any]:
    """Return an input tensor with texts."""
    return {"name": name, "shape": shape or [len(values)], "datatype": "BYTES", "data": list(values)}


def infer(api: TextApi, model: str, *inputs: Any, **fields: Any) -> tuple[int, Any]:
    """Send a request."""
    return api.post(f"/v2/models/{model}/infer", {"inputs": inputs, **fields})


def outputs(answer: Any) -> dict[str, Any]:
    """Return the data of each output by its name."""
    return {tensor["name"]: tensor["data"] for tensor in answer["outputs"]}


def test_texts(api: TextApi) -> None:
    """A tensor of texts has a tensor of results; what has no fixed size is JSON."""
    status, answer = infer(api, "tagger", texts("Wang lives", "in Berlin"), id="42")
    assert (status, answer["id"], answer["model_name"], answer["model_version"]) == (200, "42", "tagger", "1")
    (tensor,) = answer["outputs"]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("entities", "BYTES", [2])
    assert [[item["text"] for item in json.loads(found)] for found in tensor["data"]] == [["Wang"], ["Berlin"]]
    # A batch dimension is accepted, as is nested data.
    status, answer = infer(api, "embedder", {**texts("wang", "in", shape=[2, 1]), "data": [["wang"], ["in"]]})
    (tensor,) = answer["outputs"]
    assert (status, tensor["datatype"], tensor["shape"], tensor["data"]) == (200, "FP32", [2, 2], [4, 3, 6, 3])


EXPECTED: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("classifier", [texts("wang")], {"label": ["perhaps"], "score": [0.75], "labels": ['["perhaps"]']}),
    ("classifier", [texts("in"), texts("wang", name="text_pair")], {"label": ["no"]}),
    ("regressor", [texts("wang", "in")], {"value": [4, 6]}),
    (
        "reader",
        [texts("wang", name="question"), texts("lives in Berlin", name="context")],
        {"answer": ["Berlin"], "start": [9], "end": [15]},
    ),
]


@pytest.mark.parametrize(("model", "inputs", "expected"), EXPECTED)
def test_tasks(api: TextApi, model: str, inputs: Any, expected: dict[str, Any]) -> None:
    """Each task has its outputs."""
    status, answer = infer(api, model, *inputs)
    found = outputs(answer)
    assert (status, {name: found[name] for name in expected}) == (200, expected)


def test_other_tasks(api: TextApi) -> None:
    """Masks and heads are JSON."""
    fills = json.loads(outputs(infer(api, "filler", texts("[MASK] lives"), parameters={"top_k": 1})[1])["fills"][0])
    assert [[fill["token"] for fill in mask] for mask in fills] == [["wang"]]
    heads = json.loads(outputs(infer(api, "joint", texts("wang"))[1])["heads"][0])
    assert (heads["intent"]["label"], heads["slots"][0]["text"]) == ("perhaps", "wang")


def test_selected_outputs(api: TextApi) -> None:
    """A request may select outputs."""
    answer = infer(api, "classifier", texts("wang"), outputs=[{"name": "score"}])[1]
    assert outputs(answer) == {"score": [0.75]}


def test_tensors(api: TextApi) -> None:
    """The tensors of a signature are passed to the server as they are."""
    ids = {"name": "input_ids", "shape": [1, 4], "datatype": "INT32", "data": [[2, 4, 6, 3]]}
    others = [{**ids, "name": name, "data": [1, 1, 1, 1]} for name in ("attention_mask", "token_type_ids")]
    fields = {"parameters": {"signature_name": "length_4"}, "outputs": [{"name": "label_ids"}]}
    status, answer = infer(api, "tagger", ids, *others, **fields)
    assert (status, answer["outputs"]) == (
        200,
        [{"name": "label_ids", "datatype": "INT32", "shape": [1, 4], "data": [0, 1, 0, 0]}],
    )
    status, answer = infer(api, "tagger", ids, *others, parameters={"signature_name": "length_5"})
    assert (status, answer) == (400, {"error": 'Serving signature key "length_5" not found.'})


def test_large_tensors(api: TextApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tensors of a large body are converted in a thread, so that other requests are answered meanwhile."""
    threads: list[str] = []

    def convert(*arguments: Any) -> Any:
        threads.append(threading.current_thread().name)
        return array_from_values(*arguments)

    monkeypatch.setattr(open_inference, "array_from_values", convert)
    rows = [[2, *[4, 6] * 5, 3]] * 500
    ids = {"name": "input_ids", "shape": [500, 12], "datatype": "INT32", "data": rows}
    others = [{**ids, "name": name, "data": [[1] * 12] * 500} for name in ("attention_mask", "token_type_ids")]
    status, answer = infer(api, "tagger", ids, *others, outputs=[{"name": "label_ids"}])
    assert (status, outputs(answer)["label_ids"]) == (200, [0, *[1, 0] * 5, 0] * 500)
    assert len(threads) == 3
    assert all(name.startswith("asyncio_") for name in threads)  # asyncio.to_thread's


def deeper(data: list[Any], _: int) -> list[Any]:
    """Return data in a further list."""
    return [data]


REFUSED = [
    ([texts("wang", shape=[3])], {}, "inputs['text']: shape [3] has 3 elements, data has 1."),
    ([texts("")], {}, "Text 0 is empty. Leave it out, or pass a non-empty text."),
    ([texts("wang")], {"parameters": {"colour": 1}}, "Unknown field parameters.colour."),
    ([texts("wang")], {"parameters": {"truncation": "some"}}, "The field parameters.truncation must be 'window'"),
    ([texts("wang")], {"outputs": [{"name": "scores"}]}, "The model has no output 'scores', its outputs are entities."),
    (
        [texts("wang")],
        {"outputs": [{"name": "entities", "parameters": {"classification": 3}}]},
        "The parameter classification of entities is not supported.",
    ),
    ([{**texts("wang"), "datatype": "TEXT"}], {}, "inputs['text']: datatype is 'TEXT', expected one of BOOL"),
    ([{**texts("wang"), "datatype": "INT32", "data": [1]}], {}, "The input text must be BYTES of shape [n] or [n, 1]."),
    ([{**texts("wang"), "data": [1]}], {}, "inputs['text']: data has values that are not BYTES."),
    ([texts("wang"), texts("wang")], {}, "Two inputs have the same name."),
    ([texts("wang", name="question")], {}, "The inputs are question, the model takes text."),
    ([], {}, "The request has no inputs."),
    (
        [{**texts("x", name="a"), "datatype": "INT8", "data": [1000]}],
        {},
        "inputs['a']: data has values that are out of",
    ),
    ([texts("in " * 40)], {"parameters": {"truncation": "error"}}, "Text 0 has 42 tokens"),
    (
        [{**texts("x", name="a"), "datatype": "FP32", "data": [1e300]}],
        {},
        "inputs['a']: data has values that are out of",
    ),
    (
        [{**texts(name="a"), "datatype": "INT32", "shape": [2, 3], "data": [[1, 2], [3, 4], [5, 6]]}],
        {},
        "inputs['a']: data is not nested as shape [2, 3]",
    ),
    (
        [{**texts(name="a"), "datatype": "INT32", "shape": [2], "data": functools.reduce(deeper, range(900), [1, 2])}],
        {},
        "inputs['a']: data is not nested as shape [2]",
    ),
]


@pytest.mark.parametrize(("inputs", "fields", "message"), REFUSED)
def test_refused(api: TextApi, inputs: Any, fields: Any, message: str) -> None:
    """Wrong tensors, parameters and outputs are refused in the protocol's form."""
    status, answer = infer(api, "tagger", *inputs, **fields)
    assert (status, list(answer)) == (400, ["error"])
    assert answer["error"].startswith(message)


def test_model_name(api: TextApi) -> None:
    """A request may repeat the model of its path, as KServe's client does, but not name another one."""
    assert infer(api, "tagger", texts("wang"), model_name="tagger")[0] == 200
    status, answer = infer(api, "tagger", texts("wang"), model_name="embedder")
    assert (status, answer["error"]) == (
        400,
        "The path names the model 'tagger', model_name another one. Leave it out.",
    )


def test_metadata_and_health(api: TextApi) -> None:
    """The server and the models are described, and say whether they are ready."""
    assert api.get("/v2")[1]["name"] == "bertbundle"
    assert api.get("/v2/health/live") == (200, {"live": True})
    assert api.get("/v2/health/ready") == (200, {"ready": True})
    assert api.get("/v2/models/tagger/ready") == (200, {"name": "tagger", "ready": True})
    assert api.get("/v2/models/tagger/versions/1/ready")[0] == 200
    assert [api.get(f"/v2/models/tagger/versions/{version}/ready")[0] for version in (0, 2)] == [
        503,
        503,
    ]  # END, LOADING
    assert [api.get(f"/v2/models/tagger/versions/{version}/ready")[0] for version in ("x", 3, "9" * 5000)] == [404] * 3
    assert api.get("/v2/models/nobody") == (
        404,
        {"error": "There is no model 'nobody'. Check its name, version and label."},
    )
    status, metadata = api.get("/v2/models/reader")
    assert (status, metadata["versions"], [tensor["name"] for tensor in metadata["inputs"]]) == (
        200,
        ["1"],
        ["question", "context"],
    )
    described = {tensor["name"]: tensor["datatype"] for tensor in metadata["outputs"]}
    answer = infer(api, "reader", texts("wang", name="question"), texts("in Berlin", name="context"))[1]
    assert {tensor["name"]: tensor["datatype"] for tensor in answer["outputs"]} == described


def test_not_ready() -> None:
    """Without its server the gateway lives, but is not ready."""
    with text_api() as api:
        api.server.stop()
        assert api.get("/v2/health/ready") == (503, {"ready": False})
        assert fetch(f"{api.url}/v2/health/live")[0] == 200
