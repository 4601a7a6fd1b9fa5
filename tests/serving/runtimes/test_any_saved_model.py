"""The server serves any SavedModel, not only bundles: those of tf.Module, Keras and TensorFlow 1 code."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest

from embedded_server import start_server
from http_calls import fetch_json
from model_server import BINARY, free_port, model_server
from optional import skip_without
from saved_models import SAVERS

pytestmark = pytest.mark.slow  # imports TensorFlow
SECONDS = 30
_Code = grpc.StatusCode


class Endpoints(NamedTuple):
    """A gRPC channel to a server of all models, and the URL that its REST paths of models begin with."""

    channel: grpc.Channel
    url: str


@pytest.fixture(scope="module", params=["embedded", "tensorflow_model_server"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tensorflow: Any
) -> Iterator[Endpoints]:
    """A server with one model for each way of saving: the embedded server, and TensorFlow Serving if available."""
    real = request.param == "tensorflow_model_server"
    if real and not os.environ.get(BINARY):
        skip_without("a real TensorFlow Serving")
    base = tmp_path_factory.mktemp("saved")
    for name, save in SAVERS.items():
        (base / name).mkdir()
        save(tensorflow, base / name / "1")
    with _serve_real(base) if real else _serve_embedded(base) as endpoints:
        yield endpoints


@contextlib.contextmanager
def _serve_embedded(base: Path) -> Iterator[Endpoints]:
    from bertbundle_serving.config.models import ModelConfig

    models = tuple(ModelConfig(name, base / name) for name in SAVERS)
    started = start_server(base, models=models, rest_port=0, poll_seconds=0, batch_non_bundles=True)
    yield Endpoints(started.address.channel, f"http://127.0.0.1:{started.server.rest_port}/v1/models")
    started.stop()


@contextlib.contextmanager
def _serve_real(base: Path) -> Iterator[Endpoints]:
    models = "".join(f'config {{ name: "{n}" base_path: "{base / n}" model_platform: "tensorflow" }}' for n in SAVERS)
    config = base / "models.config"
    config.write_text(f"model_config_list {{ {models} }}", encoding="utf-8")
    port = free_port()
    with (
        model_server("module", model_config_file=config, rest_api_port=port) as address,
        grpc.insecure_channel(address) as channel,
    ):
        yield Endpoints(channel, f"http://127.0.0.1:{port}/v1/models")


@pytest.fixture
def channel(server: Endpoints) -> grpc.Channel:
    """A gRPC channel to the server."""
    return server.channel


@pytest.fixture
def url(server: Endpoints) -> str:
    """The URL that the server's REST paths of models begin with."""
    return server.url


def test_module(url: str) -> None:
    """A tf.Module's default signature accepts both formats; a single output is returned without its name."""
    assert fetch_json(f"{url}/module:predict", {"instances": [[1, 2]]}) == (200, {"predictions": [[2.0, 4.0]]})
    assert fetch_json(f"{url}/module:predict", {"inputs": [[1, 2]]}) == (200, {"outputs": [[2.0, 4.0]]})


def test_strings(url: str) -> None:
    """Input strings may be text or base64. Output strings are base64 if the output's name ends in _bytes, else text."""
    request = {"signature_name": "upper", "instances": ["a", {"b64": "Yg=="}]}
    rows = [{"raw_bytes": {"b64": "YQ=="}, "upper": "A"}, {"raw_bytes": {"b64": "Yg=="}, "upper": "B"}]
    assert fetch_json(f"{url}/module:predict", request) == (200, {"predictions": rows})


def test_default_value(apis: Any, tensorflow: Any, channel: grpc.Channel) -> None:
    """An input with a default value in the signature may be omitted."""
    request = apis.predict.PredictRequest()
    request.model_spec.name = "module"
    request.model_spec.signature_name = "scale"
    request.inputs["b"].CopyFrom(tensorflow.make_tensor_proto([[1.0, 2.0]]))
    stub = apis.prediction.PredictionServiceStub(channel)
    assert list(stub.Predict(request, timeout=SECONDS).outputs["scaled"].float_val) == [3.0, 6.0]
    request.inputs["a"].CopyFrom(tensorflow.make_tensor_proto(np.float32(5)))
    assert list(stub.Predict(request, timeout=SECONDS).outputs["scaled"].float_val) == [5.0, 10.0]
    del request.inputs["b"]
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request, timeout=SECONDS)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_keras_export(url: str) -> None:
    """A model written by Keras' `model.export()` is served."""
    status, answer = fetch_json(f"{url}/keras/metadata")
    (name,) = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
    assert (status, name) == (200, "features")
    assert fetch_json(f"{url}/keras:predict", {"instances": [[1, 2, 3]]}) == (200, {"predictions": [[6.0]]})


def example_input(apis: Any, *values: float) -> Any:
    """Return a ClassificationRequest with one example per value."""
    request = apis.classify.ClassificationRequest()
    request.model_spec.name = "examples"
    for value in values:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(value)
    return request


def test_classify(apis: Any, channel: grpc.Channel) -> None:
    """Classify returns the labels and scores of each example."""
    answer = apis.prediction.PredictionServiceStub(channel).Classify(example_input(apis, 0.25, 0.5), timeout=SECONDS)
    found = [[(c.label, c.score) for c in row.classes] for row in answer.result.classifications]
    assert found == [[("yes", 0.25), ("no", 0.75)], [("yes", 0.5), ("no", 0.5)]]
    assert (answer.model_spec.name, answer.model_spec.signature_name) == ("examples", "serving_default")


def test_classify_with_a_predict_signature(url: str) -> None:
    """Classify can call a signature with Predict's method name if it has the right input and outputs."""
    answer = {"results": [[["", 0.25], ["", 0.75]]]}
    assert fetch_json(f"{url}/native:classify", {"examples": [{"x": 0.25}]}) == (200, answer)


def test_regress_with_context(apis: Any, channel: grpc.Channel) -> None:
    """Regress returns a number per example; the context has the features that all examples share."""
    request = apis.regress.RegressionRequest()
    request.model_spec.name = "examples"
    request.model_spec.signature_name = "regress"
    listed = request.input.example_list_with_context
    listed.context.features.feature["x"].float_list.value.append(0.5)
    listed.examples.add()
    listed.examples.add()
    answer = apis.prediction.PredictionServiceStub(channel).Regress(request, timeout=SECONDS)
    assert [row.value for row in answer.result.regressions] == [5.0, 5.0]


def test_multi_inference(apis: Any, channel: grpc.Channel) -> None:
    """MultiInference calls several signatures with the same examples."""
    request = apis.inference.MultiInferenceRequest(input=example_input(apis, 0.25).input)
    for name, method in (("serving_default", "classify"), ("regress", "regress")):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = "examples"
        task.model_spec.signature_name = name
    stub = apis.prediction.PredictionServiceStub(channel)
    classified, regressed = stub.MultiInference(request, timeout=SECONDS).results
    assert classified.classification_result.classifications[0].classes[0].label == "yes"
    assert regressed.regression_result.regressions[0].value == 2.5


@pytest.mark.parametrize(
    ("second", "code", "text"),
    [
        pytest.param(None, _Code.INVALID_ARGUMENT, "ModelSpec has no name specified.", id="no-tasks"),
        pytest.param(
            ("", "regress", "regress"),
            _Code.INVALID_ARGUMENT,
            "Found ModelSpec with an empty model name.",
            id="no-name",
        ),
        pytest.param(
            ("module", "regress", "regress"),
            _Code.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
            id="models",
        ),
        pytest.param(
            ("examples", "", "regress"),
            _Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: serving_default",
            id="twice",
        ),
        pytest.param(
            ("examples", "nope", "regress"),
            _Code.INVALID_ARGUMENT,
            "Requested signature not found in model graph: nope",
            id="signature",
        ),
        pytest.param(
            ("examples", "predict", "predict"),
            _Code.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
            id="method",
        ),
    ],
)
def test_multi_inference_errors(
    apis: Any, channel: grpc.Channel, second: tuple[str, str, str] | None, code: grpc.StatusCode, text: str
) -> None:
    """Tasks that contradict each other get TensorFlow Serving's errors, in its order (multi_inference.cc)."""
    request = apis.inference.MultiInferenceRequest(input=example_input(apis, 0.25).input)
    for name, signature, method in () if second is None else (("examples", "", "classify"), second):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = name, signature
    with pytest.raises(grpc.RpcError) as caught:
        apis.prediction.PredictionServiceStub(channel).MultiInference(request, timeout=SECONDS)
    assert (caught.value.code(), caught.value.details()) == (code, text)


def test_rest_classify_and_regress(url: str) -> None:
    """Classify and Regress over REST, without and with a context."""
    request: dict[str, Any] = {"examples": [{"x": 0.25}, {"x": [0.5]}]}
    rows = [[["yes", 0.25], ["no", 0.75]], [["yes", 0.5], ["no", 0.5]]]
    assert fetch_json(f"{url}/examples:classify", request) == (200, {"results": rows})
    request = {"signature_name": "regress", "context": {"x": 0.5}, "examples": [{}]}
    assert fetch_json(f"{url}/examples:regress", request) == (200, {"results": [5.0]})


ELEMENT_ERROR = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "
REST_ERRORS: dict[str, tuple[str, dict[str, Any], str]] = {
    "example-no-object": ("examples:classify", {"examples": [1]}, "Example must be JSON object but got JSON Number"),
    "example-mixed": (
        "examples:classify",
        {"examples": [{"x": [1.5, "a"]}]},
        "Unexpected element type in feature: x expecting type: float",
    ),
    "example-null": (
        "examples:classify",
        {"examples": [{"x": None}]},
        "Feature: x has element with unexpected JSON type: Null",
    ),
    "example-large": (
        "examples:classify",
        {"examples": [{"x": 2**64 - 1}]},
        "Feature: x has uint64_t element. Only int64_t is supported.",
    ),
    "example-method": ("examples:regress", {"examples": [{"x": 1.5}]}, "Expected one output Tensor."),
    "example-signature": (
        "examples:classify",
        {"signature_name": "nope", "examples": [{"x": 1.5}]},
        "No signature was found with the name: nope",
    ),
    "base64": (
        "module:predict",
        {"signature_name": "upper", "instances": [{"b64": "?"}]},
        ELEMENT_ERROR.format(0) + "Unable to base64 decode",
    ),
    "base64-number": (
        "module:predict",
        {"signature_name": "upper", "inputs": [{"b64": 1}]},
        'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data',
    ),
    "shape": (
        "module:predict",
        {"instances": [[1, 2], [[1], [2]]]},
        ELEMENT_ERROR.format(1) + "Expecting shape [2] but got: [2,1]",
    ),
    "object-among-lists": (
        "module:predict",
        {"instances": [[1, 2], {"x": [1, 2]}]},
        "Expecting value/list but got object at item 1 of input list",
    ),
    "level-too-high": (
        "module:predict",
        {"inputs": [[1, 2], 3]},
        "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
    ),
    "level-too-deep": (
        "module:predict",
        {"inputs": [[1, 2], [[3], 4]]},
        "Encountered list at unexpected level: 2 expected < 2",
    ),
    "null": ("module:predict", {"inputs": [[None, 1]]}, "JSON Value: null Type: Null is not of expected type: float"),
    "true": ("module:predict", {"inputs": [[True, 1]]}, "JSON Value: true Type: True is not of expected type: float"),
}


@pytest.mark.parametrize(("path", "body", "text"), REST_ERRORS.values(), ids=REST_ERRORS)
def test_rest_errors(url: str, path: str, body: Any, text: str) -> None:
    """An invalid body gets TensorFlow Serving's message (tensorflow_serving/util/json_tensor.cc)."""
    assert fetch_json(f"{url}/{path}", body) == (400, {"error": text})
