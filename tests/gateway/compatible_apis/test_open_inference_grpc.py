"""The Open Inference Protocol over gRPC, and the four forms of its requests: the answers and errors are the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from bertbundle_gateway.compatible_apis import open_inference_grpc, open_inference_models
from inference_clients import ask_with_clients
from inference_forms import FORMS, Input, stub_of
from optional import require_package
from text_api import TextApi, text_api

pb: Any = require_package("open_inference.grpc.protocol")


@pytest.fixture(scope="module")
def stub(api: TextApi) -> Iterator[Any]:
    """The stub of the package open-inference-grpc, of the gateway."""
    with grpc.insecure_channel(api.address) as channel:
        yield stub_of(channel)


def texts(*values: str, name: str = "text") -> Input:
    """Return a tensor of texts."""
    return Input(name, "BYTES", [len(values)], [value.encode() for value in values])


def ids(name: str = "input_ids", datatype: str = "INT32", values: Any = (2, 4, 6, 3)) -> Input:
    """Return one row of a tensor of numbers."""
    return Input(name, datatype, [1, 4], values)


TENSORS = [ids(), ids("attention_mask", values=(1, 1, 1, 1)), ids("token_type_ids", values=(0, 0, 0, 0))]
ANSWERED: list[tuple[str, list[Input], dict[str, Any], dict[str, Any]]] = [
    ("embedder", [texts("wang", "in")], {}, {"embedding": [[4.0, 3.0], [6.0, 3.0]]}),
    ("classifier", [texts("in"), texts("wang", name="text_pair")], {"top_k": 1}, {"label": [b"no"]}),
    ("regressor", [Input("text", "BYTES", [2, 1], [b"wang", b"in"])], {}, {"value": [4.0, 6.0]}),
    (
        "reader",
        [texts("wang", name="question"), texts("lives in Berlin", name="context")],
        {"handle_impossible_answer": False},
        {"answer": [b"Berlin"], "start": [9], "end": [15]},
    ),
]

every_form = pytest.mark.parametrize("form", FORMS)


@every_form
@pytest.mark.parametrize(("model", "inputs", "parameters", "expected"), ANSWERED)
def test_answers(api: TextApi, form: str, model: str, inputs: Any, parameters: Any, expected: Any) -> None:
    """Each form has the same answers."""
    answer = FORMS[form](api, model, inputs, parameters)
    assert (answer.code, answer.message) == ("OK", "")
    assert {name: answer.outputs[name] for name in expected} == expected


REFUSED: list[tuple[str, list[Input], dict[str, Any], str, str]] = [
    ("nobody", [texts("wang")], {}, "NOT_FOUND", "There is no model 'nobody'. Check its name, version and label."),
    ("tagger", [Input("text", "BYTES", [3], [b"wang"])], {}, "INVALID_ARGUMENT", "inputs['text']: shape [3] has 3 ele"),
    ("tagger", [Input("text", "BYTES", [-1], [b"wang"])], {}, "INVALID_ARGUMENT", "inputs['text']: shape [-1] has a n"),
    ("tagger", [Input("text", "BYTES", [1] * 65, [b"a"])], {}, "INVALID_ARGUMENT", "inputs['text']: shape has 65 dim"),
    (
        "tagger",
        [Input("text", "BYTES", [1, 2], [b"a", b"b"])],
        {},
        "INVALID_ARGUMENT",
        "The input text must be BYTES of",
    ),
    (
        "tagger",
        [Input("text", "TEXT", [1], [b"wang"])],
        {},
        "INVALID_ARGUMENT",
        "inputs['text']: datatype is 'TEXT', e",
    ),
    ("tagger", [ids("text")], {}, "INVALID_ARGUMENT", "The input text must be BYTES of shape [n] or [n, 1]."),
    ("tagger", TENSORS, {"signature_name": "other"}, "INVALID_ARGUMENT", 'Serving signature key "other" not found.'),
    ("tagger", TENSORS, {"top_k": 1}, "INVALID_ARGUMENT", "The parameter top_k is not supported with tensors: only si"),
    ("tagger", [texts("wang"), texts("wang")], {}, "INVALID_ARGUMENT", "Two inputs have the same name."),
    ("tagger", [], {}, "INVALID_ARGUMENT", "The request has no inputs. Send text, or the tensors of a signature."),
    (
        "tagger",
        [texts(*["wang"] * 101)],
        {},
        "INVALID_ARGUMENT",
        "The request has 101 texts, at most 100 are accepted.",
    ),
    ("tagger", [texts("wang", "")], {}, "INVALID_ARGUMENT", "Text 1 is empty."),
    ("tagger", [texts("wang")], {"top_k": 1}, "INVALID_ARGUMENT", "The method entities has no option top_k."),
    ("tagger", [texts("wang")], {"truncation": "some"}, "INVALID_ARGUMENT", "The field parameters.truncation must be"),
    (
        "classifier",
        [texts("wang")],
        {"threshold": 1.5},
        "INVALID_ARGUMENT",
        "The field parameters.threshold must be le",
    ),
    ("tagger", [texts("wang")], {"colour": True}, "INVALID_ARGUMENT", "Unknown field parameters.colour."),
    (
        "tagger",
        [texts("wang", name="question")],
        {},
        "INVALID_ARGUMENT",
        "The inputs are question, the model takes text",
    ),
]


@pytest.mark.parametrize(("model", "inputs", "parameters", "code", "message"), REFUSED)
def test_refused(api: TextApi, model: str, inputs: Any, parameters: Any, code: str, message: str) -> None:
    """Each form has the same errors."""
    answers = [ask(api, model, inputs, parameters) for ask in FORMS.values()]
    assert {answer.code for answer in answers} == {code}
    assert answers[0].message.startswith(message)
    # JSON has no FP16, so the list of data types differs.
    assert {answer.message.partition(", expected one of")[0] for answer in answers} == {
        answers[0].message.partition(", expected one of")[0]
    }


@pytest.mark.parametrize("form", [form for form in FORMS if form != "json"])
def test_texts_that_are_not_utf8(api: TextApi, form: str) -> None:
    """Bytes that are not UTF-8 are refused by name; in JSON they cannot be sent."""
    answer = FORMS[form](api, "tagger", [Input("text", "BYTES", [2], [b"wang", b"\xff\xfe"])], {})
    assert (answer.code, answer.message) == ("INVALID_ARGUMENT", "The input text is not UTF-8.")


def test_health_and_metadata(api: TextApi, stub: Any) -> None:
    """Health and metadata are those of REST."""
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="tagger")).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="tagger", version="1")).ready
    assert not stub.ModelReady(pb.ModelReadyRequest(name="tagger", version="2")).ready  # it is loading
    server = stub.ServerMetadata(pb.ServerMetadataRequest())
    described = {"name": server.name, "version": server.version, "extensions": list(server.extensions)}
    assert described == api.get("/v2")[1]
    for model in ("reader", "embedder"):
        info = stub.ModelMetadata(pb.ModelMetadataRequest(name=model))
        tensors = [
            [{"name": item.name, "datatype": item.datatype, "shape": list(item.shape)} for item in items]
            for items in (info.inputs, info.outputs)
        ]
        fields = {"name": info.name, "versions": list(info.versions), "platform": info.platform}
        assert {**fields, "inputs": tensors[0], "outputs": tensors[1]} == api.get(f"/v2/models/{model}")[1]


def test_no_such_model_or_version(stub: Any) -> None:
    """What does not exist is NOT_FOUND, in every method that names a model."""
    for name, version in (("nobody", ""), ("tagger", "x"), ("tagger", "9" * 5000)):
        requests = [
            (stub.ModelMetadata, pb.ModelMetadataRequest(name=name, version=version)),
            (stub.ModelInfer, request("wang", model_name=name, model_version=version)),
        ]
        if version:
            requests.append((stub.ModelReady, pb.ModelReadyRequest(name=name, version=version)))
        for method, message in requests:
            with pytest.raises(grpc.RpcError) as caught:
                method(message, timeout=20)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def request(text: str, **fields: Any) -> Any:
    """Return a request with one text."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [text.encode()]}}
    return pb.ModelInferRequest(**{"model_name": "tagger", "inputs": [tensor], **fields})


def test_response(stub: Any) -> None:
    """The response repeats the id, and says which version answered; outputs may be selected."""
    response = stub.ModelInfer(request("Wang", id="42", model_version="1"), timeout=20)
    assert (response.id, response.model_name, response.model_version) == ("42", "tagger", "1")
    (data,) = response.outputs[0].contents.bytes_contents
    assert [item["text"] for item in json.loads(data)] == ["Wang"]
    fields = {"model_name": "classifier", "outputs": [{"name": "score"}]}
    response = stub.ModelInfer(request("wang", **fields), timeout=20)
    assert [(item.name, list(item.contents.fp64_contents)) for item in response.outputs] == [("score", [0.75])]


def refusal(stub: Any, message: Any) -> Any:
    """Return the error of a request that is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(message, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return caught.value


def test_contents(stub: Any) -> None:
    """Contents in two places, in the wrong field, of the wrong size, or for some inputs only, are refused."""
    both = request("wang", raw_input_contents=[b"\4\0\0\0wang"])
    assert "there are raw_input_contents and contents" in refusal(stub, both).details()
    fewer = request("wang", raw_input_contents=[b"", b""])
    assert refusal(stub, fewer).details() == "raw_input_contents has 2 tensors, inputs has 1. Send one for each."
    tensor = {"name": "a", "datatype": "INT32", "shape": [1], "contents": {"fp32_contents": [1]}}
    wrong = refusal(stub, pb.ModelInferRequest(model_name="tagger", inputs=[tensor])).details()
    assert wrong == "inputs['a']: a tensor of INT32 has contents.int_contents, not fp32_contents."
    half = {"name": "a", "datatype": "FP16", "shape": [1]}
    assert "Send it in raw_input_contents" in refusal(stub, request("", inputs=[half])).details()
    small = {"name": "a", "datatype": "INT8", "shape": [1], "contents": {"int_contents": [128]}}
    assert "out of the range of INT8" in refusal(stub, request("", inputs=[small])).details()
    message = request("", raw_input_contents=[b"\5\0\0\0wang"], inputs=[{**half, "datatype": "BYTES"}])
    assert "each after its length in four bytes" in refusal(stub, message).details()


def test_parameters_of_tensors(stub: Any) -> None:
    """Parameters that are not known are refused; the size that KServe's client sends must be right."""
    message = request("wang")
    message.inputs[0].parameters["content_type"].string_param = "str"
    assert len(stub.ModelInfer(message, timeout=20).outputs) == 1
    message.inputs[0].parameters["content_type"].string_param = "np"
    assert "The parameter content_type of text is not supported" in refusal(stub, message).details()
    message = request("wang")
    message.parameters["top_k"].SetInParent()
    assert refusal(stub, message).details() == "The parameter top_k has no value."


def test_large_messages(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tensors of large messages are converted in a thread, so that other calls are answered meanwhile."""
    threads: dict[str, list[str]] = {}

    def record(module: Any, name: str) -> None:
        function, seen = getattr(module, name), threads.setdefault(name, [])

        def called(*arguments: Any) -> Any:
            seen.append(threading.current_thread().name)
            return function(*arguments)

        monkeypatch.setattr(module, name, called)

    record(open_inference_grpc, "read_inference")
    record(open_inference_grpc, "write_response")
    record(open_inference_models, "_items")
    record(open_inference_models, "_as_bytes")
    rows = {"datatype": "INT32", "shape": [500, 12], "contents": {"int_contents": [2, *[4, 6] * 5, 3] * 500}}
    inputs = [{**rows, "name": tensor.name} for tensor in TENSORS]
    labels = stub.ModelInfer(request("", inputs=inputs, outputs=[{"name": "label_ids"}]), timeout=20).outputs[0]
    assert list(labels.contents.int_contents) == [0, *[1, 0] * 5, 0] * 500
    many = {"name": "text", "datatype": "BYTES", "shape": [3000], "contents": {"bytes_contents": [b"wang"] * 3000}}
    assert "The request has 3000 texts" in refusal(stub, request("", inputs=[many])).details()
    assert {name: len(seen) for name, seen in threads.items()} == {
        "read_inference": 2,
        "write_response": 1,
        "_items": 1,
        "_as_bytes": 1,
    }
    assert all(name.startswith("asyncio_") for seen in threads.values() for name in seen)  # asyncio.to_thread's
    assert len(stub.ModelInfer(request("wang"), timeout=20).outputs) == 1
    assert not threads["read_inference"][-1].startswith("asyncio_")  # a small one is not worth a thread


def test_details(stub: Any) -> None:
    """An error has the details of all gRPC methods: a reason, and the field."""
    error = refusal(stub, request("wang", parameters={"truncation": {"string_param": "some"}}))
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    details = rpc_status.from_call(error).details
    assert details[0].Unpack(info)
    assert details[1].Unpack(bad)
    assert (info.reason, bad.field_violations[0].field) == ("INVALID_FIELD", "parameters.truncation")


def test_not_ready() -> None:
    """Without its server the gateway lives, but neither it nor a model is ready; a request is UNAVAILABLE."""
    with text_api() as api, grpc.insecure_channel(api.address) as channel:
        api.server.stop()
        stub = stub_of(channel)
        assert stub.ServerLive(pb.ServerLiveRequest(), timeout=20).live
        assert not stub.ServerReady(pb.ServerReadyRequest(), timeout=20).ready
        assert not stub.ModelReady(pb.ModelReadyRequest(name="tagger"), timeout=20).ready
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request("wang"), timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_keys(tmp_path: Path) -> None:
    """Inference and metadata of a model need a key; health and the description of the server do not."""
    (tmp_path / "keys").write_text("secret\n", encoding="utf-8")
    with text_api(api_keys_file=tmp_path / "keys") as api, grpc.insecure_channel(api.address) as channel:
        stub = stub_of(channel)
        assert stub.ServerReady(pb.ServerReadyRequest(), timeout=20).ready
        assert stub.ModelReady(pb.ModelReadyRequest(name="tagger"), timeout=20).ready
        assert stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=20).name
        for method, message in (
            (stub.ModelInfer, request("wang")),
            (stub.ModelMetadata, pb.ModelMetadataRequest(name="tagger")),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                method(message, timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert method(message, metadata=(("x-api-key", "secret"),), timeout=20)


@pytest.mark.slow
def test_clients(api: TextApi) -> None:
    """The clients of KServe and Triton get the same answers in every form, with their defaults, and the same error."""
    inputs = {"question": ["wang", "in"], "context": ["lives in Berlin", "é in Berlin"]}
    answers = ask_with_clients(api.url, api.address, "reader", inputs)
    errors = {name: answers.pop(name) for name in [*answers] if name.endswith(" error")}
    status, expected = api.post(
        "/v2/models/reader/infer",
        {"inputs": [{"name": name, "shape": [2], "datatype": "BYTES", "data": data} for name, data in inputs.items()]},
    )
    assert status == 200
    assert len(answers) == 7
    for name, answer in answers.items():
        assert (name, answer) == (name, {output["name"]: output["data"] for output in expected["outputs"]})
    codes = {
        "triton grpc": "StatusCode.NOT_FOUND",
        "triton http": "404",
        "kserve grpc": "NOT_FOUND",
        "kserve rest": 404,
    }
    message = "There is no model 'nobody'. Check its name, version and label."
    assert errors == {f"{name} error": [code, message] for name, code in codes.items()}
