"""Any SavedModel is served, not only bundles: what tf.Module, Keras and old TensorFlow 1 code export."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from http_calls import fetch_json

if TYPE_CHECKING:
    from tests.serving.conftest import Address, InProcess, Serve

pytestmark = pytest.mark.slow  # imports TensorFlow
SECONDS = 30
_SHAPES: dict[str, list[int | None] | None] = {"x": [None, 2], "a": [], "b": None}


def save_module(tf: Any, path: Path) -> None:
    """Save a tf.Module of several signatures: numbers, strings, a scalar input, an unknown rank."""
    specs = {name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in _SHAPES.items()}
    text = tf.TensorSpec([None], tf.string, name="text")
    functions = {
        "serving_default": tf.function(lambda x: {"y": x * 2}, input_signature=[specs["x"]]),
        "upper": tf.function(lambda text: {"upper": tf.strings.upper(text), "raw_bytes": text}, input_signature=[text]),
        "scale": tf.function(lambda a, b: {"scaled": a * b}, input_signature=[specs["a"], specs["b"]]),
    }
    module = tf.Module()
    module.functions = functions
    tf.saved_model.save(module, str(path), signatures=functions)
    add_default(path)


def add_default(path: Path) -> None:
    """Give the input a of the signature scale the default value 3."""
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import tensor_util

    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    scale = saved.meta_graphs[0].signature_def["scale"]
    scale.defaults["a"].CopyFrom(tensor_util.make_tensor_proto(np.float32(3)))
    (path / "saved_model.pb").write_bytes(saved.SerializeToString())


def save_keras(tf: Any, path: Path) -> None:
    """Export a Keras model by its own `export`."""
    import keras

    layers = [keras.Input((3,), name="features"), keras.layers.Dense(1, kernel_initializer="ones", use_bias=False)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras.Sequential(layers).export(str(path), verbose=False)
    del tf


def save_examples(tf: Any, path: Path) -> None:
    """Save classify and regress signatures over tf.Examples with the feature x, as TensorFlow 1 code does."""
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], name="examples")
        x = v1.io.parse_example(examples, {"x": v1.io.FixedLenFeature([], tf.float32)})["x"]
        scores = tf.stack([x, 1 - x], axis=1)
        classes = tf.tile([["yes", "no"]], [tf.shape(x)[0], 1])
        made = v1.saved_model.signature_def_utils
        signatures = {
            "serving_default": made.classification_signature_def(examples, classes, scores),
            "regress": made.regression_signature_def(examples, x * 10),
            "predict": made.predict_signature_def({"examples": examples}, {"x": x}),
        }
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            builder.save()


def save_native(tf: Any, path: Path) -> None:
    """Save a classification as TensorFlow 2 does: its method name is that of Predict."""

    def classify(inputs: Any) -> Any:
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]
        return {"scores": tf.stack([x, 1 - x], axis=1)}

    module = tf.Module()
    module.classify = tf.function(classify, input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.classify})


SAVERS = {"module": save_module, "keras": save_keras, "examples": save_examples, "native": save_native}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any, in_process: Serve) -> Iterator[InProcess]:
    """One server with a model per way of saving."""
    from bertbundle_serving.config import ModelConfig

    base = tmp_path_factory.mktemp("saved")
    for name, save in SAVERS.items():
        (base / name).mkdir()
        save(tensorflow, base / name / "1")
    models = tuple(ModelConfig(name, base / name) for name in SAVERS)
    started = in_process(base, models=models, rest_port=0, poll_seconds=0, batch_any=True)
    yield started
    started.stop()


@pytest.fixture
def address(server: InProcess) -> Address:
    """Where it answers gRPC."""
    return server.address


@pytest.fixture
def url(server: InProcess) -> str:
    """Where it answers REST."""
    return f"http://127.0.0.1:{server.server.rest_port}/v1/models"


def test_module(url: str) -> None:
    """A tf.Module's default signature answers both forms; one output is answered without its name."""
    assert fetch_json(f"{url}/module:predict", {"instances": [[1, 2]]}) == (200, {"predictions": [[2.0, 4.0]]})
    assert fetch_json(f"{url}/module:predict", {"inputs": [[1, 2]]}) == (200, {"outputs": [[2.0, 4.0]]})


def test_strings(url: str) -> None:
    """Strings go in as text or base64, and come out as text, or base64 where the name ends in _bytes."""
    asked = {"signature_name": "upper", "instances": ["a", {"b64": "Yg=="}]}
    rows = [{"raw_bytes": {"b64": "YQ=="}, "upper": "A"}, {"raw_bytes": {"b64": "Yg=="}, "upper": "B"}]
    assert fetch_json(f"{url}/module:predict", asked) == (200, {"predictions": rows})


def test_default_value(apis: Any, tensorflow: Any, address: Address) -> None:
    """An input that has a default in the signature may be left out."""
    request = apis.predict.PredictRequest()
    request.model_spec.name = "module"
    request.model_spec.signature_name = "scale"
    request.inputs["b"].CopyFrom(tensorflow.make_tensor_proto([[1.0, 2.0]]))
    stub = apis.prediction.PredictionServiceStub(address.channel)
    assert list(stub.Predict(request, timeout=SECONDS).outputs["scaled"].float_val) == [3.0, 6.0]
    request.inputs["a"].CopyFrom(tensorflow.make_tensor_proto(np.float32(5)))
    assert list(stub.Predict(request, timeout=SECONDS).outputs["scaled"].float_val) == [5.0, 10.0]
    del request.inputs["b"]
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request, timeout=SECONDS)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_keras_export(url: str) -> None:
    """What `model.export()` writes is served."""
    status, answer = fetch_json(f"{url}/keras/metadata")
    (name,) = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
    assert (status, name) == (200, "features")
    assert fetch_json(f"{url}/keras:predict", {"instances": [[1, 2, 3]]}) == (200, {"predictions": [[6.0]]})


def example_input(apis: Any, *values: float) -> Any:
    """Return an Input of examples."""
    request = apis.classify.ClassificationRequest()
    request.model_spec.name = "examples"
    for value in values:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(value)
    return request


def test_classify(apis: Any, address: Address) -> None:
    """Classify answers labels and scores per example."""
    answer = apis.prediction.PredictionServiceStub(address.channel).Classify(
        example_input(apis, 0.25, 0.5), timeout=SECONDS
    )
    found = [[(c.label, c.score) for c in row.classes] for row in answer.result.classifications]
    assert found == [[("yes", 0.25), ("no", 0.75)], [("yes", 0.5), ("no", 0.5)]]
    assert (answer.model_spec.name, answer.model_spec.signature_name) == ("examples", "serving_default")


def test_classify_by_what_the_signature_has(url: str) -> None:
    """A signature that TensorFlow 2 saved for Predict is classified with, as its input and outputs say."""
    answer = {"results": [[["", 0.25], ["", 0.75]]]}
    assert fetch_json(f"{url}/native:classify", {"examples": [{"x": 0.25}]}) == (200, answer)


def test_regress_with_context(apis: Any, address: Address) -> None:
    """Regress answers a number per example; a context holds what the examples have in common."""
    request = apis.regress.RegressionRequest()
    request.model_spec.name = "examples"
    request.model_spec.signature_name = "regress"
    listed = request.input.example_list_with_context
    listed.context.features.feature["x"].float_list.value.append(0.5)
    listed.examples.add()
    listed.examples.add()
    answer = apis.prediction.PredictionServiceStub(address.channel).Regress(request, timeout=SECONDS)
    assert [row.value for row in answer.result.regressions] == [5.0, 5.0]


def test_multi_inference(apis: Any, address: Address) -> None:
    """MultiInference answers several signatures on the same examples."""
    request = apis.inference.MultiInferenceRequest(input=example_input(apis, 0.25).input)
    for name, method in (("serving_default", "classify"), ("regress", "regress")):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = "examples"
        task.model_spec.signature_name = name
    stub = apis.prediction.PredictionServiceStub(address.channel)
    classified, regressed = stub.MultiInference(request, timeout=SECONDS).results
    assert classified.classification_result.classifications[0].classes[0].label == "yes"
    assert regressed.regression_result.regressions[0].value == 2.5
    request.tasks[1].model_spec.signature_name = "serving_default"
    with pytest.raises(grpc.RpcError) as caught:
        stub.MultiInference(request, timeout=SECONDS)
    assert caught.value.details() == "Duplicate evaluation of signature: serving_default"


def test_rest_classify_and_regress(url: str) -> None:
    """The REST forms of both, with a context or without."""
    asked: dict[str, Any] = {"examples": [{"x": 0.25}, {"x": [0.5]}]}
    rows = [[["yes", 0.25], ["no", 0.75]], [["yes", 0.5], ["no", 0.5]]]
    assert fetch_json(f"{url}/examples:classify", asked) == (200, {"results": rows})
    asked = {"signature_name": "regress", "context": {"x": 0.5}, "examples": [{}]}
    assert fetch_json(f"{url}/examples:regress", asked) == (200, {"results": [5.0]})


@pytest.mark.parametrize(
    ("method", "asked", "text"),
    [
        pytest.param("classify", {"examples": [1]}, "Example must be JSON object but got JSON Number", id="no-object"),
        pytest.param(
            "classify",
            {"examples": [{"x": [1.5, "a"]}]},
            "Unexpected element type in feature: x expecting type: float",
            id="mixed",
        ),
        pytest.param(
            "classify",
            {"examples": [{"x": None}]},
            "Feature: x has element with unexpected JSON type: Null",
            id="null",
        ),
        pytest.param(
            "regress",
            {"examples": [{"x": 1.5}]},
            "Expected one output Tensor.",
            id="method",
        ),
        pytest.param(
            "classify",
            {"signature_name": "nope", "examples": [{"x": 1.5}]},
            "No signature was found with the name: nope",
            id="signature",
        ),
    ],
)
def test_rest_examples_refused(url: str, method: str, asked: Any, text: str) -> None:
    """Examples that do not fit get TensorFlow Serving's text."""
    assert fetch_json(f"{url}/examples:{method}", asked) == (400, {"error": text})
