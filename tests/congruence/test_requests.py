"""The same requests, from the official client library, to every server get the same responses, codes and messages.

The messages are those of a real tensorflow_model_server; if our server's message says more, the case has what both say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest

pytestmark = pytest.mark.slow
SECONDS = 60


def features(rows: int = 2, length: int = 16) -> dict[str, np.ndarray[Any, Any]]:
    """Return valid inputs for any BERT vocabulary."""
    ids = np.full((rows, length), 2003, np.int32)
    ids[:, :1] = 101
    ids[:, -1:] = 102
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


@pytest.fixture
def request_for(apis: Any, tensorflow: Any) -> Callable[..., Any]:
    """Build an official PredictRequest."""

    def build(
        inputs: dict[str, np.ndarray[Any, Any]] | None = None, *, signature: str = "length_16", model: str = "minilm"
    ) -> Any:
        request = apis.predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = signature
        for name, value in (features() if inputs is None else inputs).items():
            request.inputs[name].CopyFrom(tensorflow.make_tensor_proto(value))
        return request

    return build


@dataclass(frozen=True)
class Case:
    """An invalid request: a change to a valid one, and the expected error; `text` is a regular expression."""

    id: str
    change: Callable[[Any, Any], object]
    code: grpc.StatusCode
    text: str


def _without(name: str) -> Callable[[Any, Any], object]:
    return lambda request, _: request.inputs.pop(name)


def _put(name: str, make: Callable[[], Any]) -> Callable[[Any, Any], object]:
    return lambda request, tf: request.inputs[name].CopyFrom(tf.make_tensor_proto(make()))


def _rename(request: Any, tf: Any) -> None:
    del tf
    request.inputs["bogus"].CopyFrom(request.inputs["token_type_ids"])
    request.inputs.pop("token_type_ids")


def _spec(**fields: Any) -> Callable[[Any, Any], object]:
    def change(request: Any, tf: Any) -> None:
        del tf
        for name, value in fields.items():
            if name == "version":
                request.model_spec.version.value = value
            else:
                setattr(request.model_spec, name, value)

    return change


def _filter(*names: str) -> Callable[[Any, Any], object]:
    return lambda request, _: request.output_filter.extend(names)


def _break_content(request: Any, tf: Any) -> None:
    del tf
    request.inputs["input_ids"].tensor_content = b"abc"


_Code = grpc.StatusCode
_SIZES = (
    r"input size does not match signature: {}!=3 len\(\{{{}\}}\) != "
    r"len\(\{{attention_mask,input_ids,token_type_ids\}}\)"
)
CASES = [
    Case(
        "no_model_spec",
        lambda request, _: request.ClearField("model_spec"),
        _Code.INVALID_ARGUMENT,
        "Missing ModelSpec",
    ),
    Case("empty_name", _spec(name=""), _Code.INVALID_ARGUMENT, r"ModelSpec has no name specified\."),
    Case(
        "unknown_label",
        _spec(version_label="stable"),
        _Code.INVALID_ARGUMENT,
        "Unrecognized servable version label: stable",
    ),
    Case(
        "unknown_model",
        _spec(name="nomodel"),
        _Code.NOT_FOUND,
        r"Servable not found for request: Latest\(nomodel\)",
    ),
    Case(
        "unknown_version",
        _spec(version=99),
        _Code.NOT_FOUND,
        r"Servable not found for request: Specific\(minilm, 99\)",
    ),
    Case(
        "unknown_signature",
        _spec(signature_name="nope"),
        _Code.FAILED_PRECONDITION,
        r'Serving signature key "nope" not found\.',
    ),
    Case(
        "missing_input",
        _without("token_type_ids"),
        _Code.INVALID_ARGUMENT,
        _SIZES.format(2, "attention_mask,input_ids")
        + r"\. Sent extra: \{\}\. Missing but required: \{token_type_ids\}\.",
    ),
    Case(
        "extra_input",
        _put("bogus", lambda: np.zeros((2, 16), np.int32)),
        _Code.INVALID_ARGUMENT,
        _SIZES.format(4, "attention_mask,bogus,input_ids,token_type_ids")
        + r"\. Sent extra: \{bogus\}\. Missing but required: \{\}\.",
    ),
    Case(
        "renamed_input",
        _rename,
        _Code.INVALID_ARGUMENT,
        r"Signature input alias: token_type_ids\(feed name: .*\) not found in request and no default value provided\. "
        r"Inputs expected to be in the request \{.*\}, or default input alias set: .*",
    ),
    Case("malformed_tensor", _break_content, _Code.INVALID_ARGUMENT, "tensor parsing error: input_ids"),
    Case(
        "wrong_dtype",
        _put("input_ids", lambda: features()["input_ids"].astype(np.int64)),
        _Code.INVALID_ARGUMENT,
        r"Expects arg\[\d\] to be int32 but int64 is provided",
    ),
    Case(
        "unknown_output",
        _filter("nope"),
        _Code.INVALID_ARGUMENT,
        r"output tensor alias not found in signature: nope Outputs expected to be in the set "
        r"\{last_hidden_state,pooler_output,sentence_embedding\}\.",
    ),
    Case(
        "output_twice",
        _filter("pooler_output", "pooler_output"),
        _Code.INVALID_ARGUMENT,
        "duplicate output tensor alias: pooler_output",
    ),
    # TensorFlow Serving does not check shapes, but the bundle's graph does, with its own message; ours names the input.
    Case(
        "wrong_length",
        lambda request, tf: [
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value)) for name, value in features(2, 17).items()
        ],
        _Code.INVALID_ARGUMENT,
        r"(?s).*\b17\b.*\b16\b.*",
    ),
    Case(
        "wrong_rank",
        _put("input_ids", lambda: np.full(16, 101, np.int32)),
        _Code.INVALID_ARGUMENT,
        r"(?s).*\b16\b.*",
    ),
    Case(
        "no_inputs",
        lambda request, _: request.inputs.clear(),
        _Code.INVALID_ARGUMENT,
        _SIZES.format(0, "")
        + r"\. Sent extra: \{\}\. Missing but required: \{attention_mask,input_ids,token_type_ids\}\.",
    ),
    Case(
        "negative_version",
        _spec(version=-1),
        _Code.NOT_FOUND,
        r"Servable not found for request: Specific\(minilm, -1\)",
    ),
    Case(
        "label_of_unknown_model",
        _spec(name="nomodel", version_label="blessed"),
        _Code.INVALID_ARGUMENT,
        "Unrecognized servable version label: blessed",
    ),
    Case(
        "model_before_signature",
        _spec(name="nomodel", signature_name="nope"),
        _Code.NOT_FOUND,
        r"Servable not found for request: Latest\(nomodel\)",
    ),
    Case(
        "no_dtype",
        lambda request, _: setattr(request.inputs["input_ids"], "dtype", 0),
        _Code.INVALID_ARGUMENT,
        "tensor parsing error: input_ids",
    ),
    Case(
        "negative_size",
        lambda request, _: setattr(request.inputs["input_ids"].tensor_shape.dim[0], "size", -5),
        _Code.INVALID_ARGUMENT,
        "tensor parsing error: input_ids",
    ),
    Case(
        "float_for_ids",
        _put("input_ids", lambda: features()["input_ids"].astype(np.float32)),
        _Code.INVALID_ARGUMENT,
        r"Expects arg\[\d\] to be int32 but float is provided",
    ),
    Case(
        "strings_for_ids",
        _put("input_ids", lambda: features()["input_ids"].astype("S")),
        _Code.INVALID_ARGUMENT,
        r"Expects arg\[\d\] to be int32 but string is provided",
    ),
    Case(
        "second_output_unknown",
        _filter("pooler_output", "nope"),
        _Code.INVALID_ARGUMENT,
        r"output tensor alias not found in signature: nope Outputs expected to be in the set \{.*\}\.",
    ),
    Case(
        "long_text_is_truncated",
        _spec(name="n" * 2000),
        _Code.NOT_FOUND,
        r"Servable not found for request: Latest\(n{985}\.\.\.TRUNCATED",
    ),
    Case(
        "id_outside_the_vocabulary",
        _put("input_ids", lambda: np.full((2, 16), 30522, np.int32)),
        _Code.INVALID_ARGUMENT,
        r"(?s).*\b30522\b.*",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_invalid_request(
    channel: grpc.Channel, apis: Any, tensorflow: Any, request_for: Callable[..., Any], case: Case
) -> None:
    """An invalid request gets TensorFlow Serving's code and message."""
    request = request_for()
    case.change(request, tensorflow)
    stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request, timeout=SECONDS)
    assert caught.value.code() is case.code
    assert re.fullmatch(case.text, caught.value.details()), caught.value.details()


def test_label(channel: grpc.Channel, apis: Any, request_for: Callable[..., Any]) -> None:
    """A label selects its version, and the response has the version instead of the label."""
    request = request_for()
    request.model_spec.version_label = "blessed"
    answer = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=SECONDS)
    assert answer.model_spec.version.value == 1
    assert not answer.model_spec.version_label


def test_deadline(channel: grpc.Channel, apis: Any, request_for: Callable[..., Any]) -> None:
    """A call whose deadline passes ends with DEADLINE_EXCEEDED."""
    stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request_for(features(64)), timeout=0.002)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_too_many_rows(batching_channel: grpc.Channel, apis: Any, request_for: Callable[..., Any]) -> None:
    """With batching, a request with more rows than max_batch_size is refused."""
    stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(batching_channel)
    assert len(stub.Predict(request_for(features(8)), timeout=SECONDS).outputs["pooler_output"].float_val) == 8 * 384
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request_for(features(9)), timeout=SECONDS)
    text = "Task size 9 is larger than maximum input batch size 8"
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, text)


def test_unequal_rows(
    batching_channel: grpc.Channel, apis: Any, tensorflow: Any, request_for: Callable[..., Any]
) -> None:
    """With batching, inputs with different numbers of rows are an error; our server's message adds the numbers."""
    request = request_for()
    request.inputs["input_ids"].CopyFrom(tensorflow.make_tensor_proto(features(1)["input_ids"]))
    with pytest.raises(grpc.RpcError) as caught:
        apis.prediction_service_pb2_grpc.PredictionServiceStub(batching_channel).Predict(request, timeout=SECONDS)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("Batching Run() input tensors must have equal 0th-dimension size")


def test_full_queue(batching_channel: grpc.Channel, apis: Any, request_for: Callable[..., Any]) -> None:
    """With batching, requests beyond the queue's capacity get UNAVAILABLE and TensorFlow Serving's message."""
    predict = apis.prediction_service_pb2_grpc.PredictionServiceStub(batching_channel).Predict
    calls = [predict.future(request_for(features(8, 64), signature=""), timeout=SECONDS) for _ in range(40)]
    seen = {(call.code(), call.details()) for call in calls}
    text = (
        "The batch scheduling queue to which this task was submitted is full; "
        "currently 4 batches enqueued and max_enqueued_batches is 4"
    )
    assert (grpc.StatusCode.UNAVAILABLE, text) in seen
    assert seen <= {(grpc.StatusCode.OK, ""), (grpc.StatusCode.UNAVAILABLE, text)}


def test_response_has_model_version_and_signature(
    channel: grpc.Channel, apis: Any, request_for: Callable[..., Any]
) -> None:
    """A response has the model's name, the resolved version and the resolved signature, by default serving_default."""
    stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel)
    answer = stub.Predict(request_for(features(1, 64), signature=""), timeout=SECONDS)
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("minilm", 1, "serving_default")


def test_response_has_every_output_with_its_dtype_and_shape(
    channel: grpc.Channel, apis: Any, tensorflow: Any, request_for: Callable[..., Any]
) -> None:
    """Without a filter, all outputs are returned."""
    stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel)
    answer = stub.Predict(request_for(), timeout=SECONDS)
    outputs = {name: tensorflow.make_ndarray(value) for name, value in answer.outputs.items()}
    assert {name: (value.shape, value.dtype.name) for name, value in outputs.items()} == {
        "last_hidden_state": ((2, 16, 384), "float32"),
        "pooler_output": ((2, 384), "float32"),
        "sentence_embedding": ((2, 384), "float32"),
    }


def test_values_are_in_the_val_fields(channel: grpc.Channel, apis: Any, request_for: Callable[..., Any]) -> None:
    """By default numbers are returned in the ``*_val`` fields, not in tensor_content."""
    stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel)
    tensor = stub.Predict(request_for(), timeout=SECONDS).outputs["pooler_output"]
    assert len(tensor.float_val) == 2 * 384
    assert not tensor.tensor_content


def test_output_filter(channel: grpc.Channel, apis: Any, request_for: Callable[..., Any]) -> None:
    """With a filter, only the named outputs are returned."""
    request = request_for()
    request.output_filter.append("pooler_output")
    stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel)
    assert set(stub.Predict(request, timeout=SECONDS).outputs) == {"pooler_output"}


def test_empty_batch(channel: grpc.Channel, apis: Any, request_for: Callable[..., Any]) -> None:
    """A batch of 0 rows gets outputs of 0 rows."""
    stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel)
    answer = stub.Predict(request_for(features(0)), timeout=SECONDS)
    assert [dim.size for dim in answer.outputs["pooler_output"].tensor_shape.dim] == [0, 384]


def test_outputs_equal_the_source_model(
    channel: grpc.Channel, apis: Any, tensorflow: Any, request_for: Callable[..., Any]
) -> None:
    """Every server's outputs equal those of the Keras model, to 1e-4."""
    from bertbundle_export.checkpoints import LoadOptions, load_checkpoint
    from bertbundle_export.source.model import run_source
    from real_weights import fetch

    source = load_checkpoint(fetch("all-MiniLM-L6-v2"), "minilm", LoadOptions())
    expected = run_source(source, features())
    stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel)
    answer = stub.Predict(request_for(), timeout=SECONDS)
    for name, value in expected.items():
        np.testing.assert_allclose(tensorflow.make_ndarray(answer.outputs[name]), value, rtol=0, atol=1e-4)
