"""The embedded server, called with the official stubs, answers like tensorflow_model_server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from embedded_server import InProcessServer, ServerAddress, start_server
from tiny_bundles import TinyBundles

pytestmark = pytest.mark.slow  # the official stubs import TensorFlow


@dataclass(frozen=True)
class Target:
    """A running server and the official stubs of its services."""

    runtime: str
    apis: Any
    tf: Any
    address: ServerAddress
    features: dict[str, np.ndarray[Any, Any]]

    def request(self, **inputs: np.ndarray[Any, Any] | None) -> Any:
        """Return a valid PredictRequest; an input of None is omitted, others are replaced or added."""
        request = self.apis.predict.PredictRequest()
        request.model_spec.name = "tiny"
        for name, value in (self.features | inputs).items():
            if value is not None:
                request.inputs[name].CopyFrom(self.tf.make_tensor_proto(value))
        return request

    def predict(self, request: Any) -> Any:
        """Call Predict."""
        return self.apis.prediction.PredictionServiceStub(self.address.channel).Predict(request, timeout=20)

    def metadata(self, request: Any) -> Any:
        """Call GetModelMetadata."""
        return self.apis.prediction.PredictionServiceStub(self.address.channel).GetModelMetadata(request, timeout=20)

    def status(self, request: Any) -> Any:
        """Call GetModelStatus."""
        return self.apis.models.ModelServiceStub(self.address.channel).GetModelStatus(request, timeout=20)


@pytest.fixture(scope="module", params=["onnx", "saved_model"])
def target(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    save_model: Any,
    apis: Any,
    tensorflow: Any,
) -> Iterator[Target]:
    """One server per runtime, with the tiny bundle as version 1 and the label stable."""
    base: Path = tmp_path_factory.mktemp("models") / "tiny"
    base.mkdir()
    bundles = TinyBundles(base)
    save_model(bundles.write(1))
    server: InProcessServer = start_server(base, runtime=request.param, poll_seconds=0, labels={"stable": 1})
    yield Target(request.param, apis, tensorflow, server.address, bundles.features())
    server.stop()


def error_of(call: Any, request: Any) -> tuple[str, str]:
    """Return the code and the message of the error of a call."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return caught.value.code().name, caught.value.details()


def test_predict_answers(target: Target) -> None:
    """A valid request gets the outputs in the *_val fields, and the model version that computed them."""
    response = target.predict(target.request())
    assert set(response.outputs) == {"logits", "label_ids"}
    logits = response.outputs["logits"]
    assert not logits.tensor_content
    assert target.tf.make_ndarray(logits).tolist() == target.features["input_ids"].tolist()
    assert target.tf.make_ndarray(response.outputs["label_ids"]).dtype == np.int32
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("tiny", 1, "serving_default")


def test_predict_accepts_version_label_and_signature(target: Target) -> None:
    """A request may name a version or a label, and a signature; the response has the resolved names."""
    request = target.request(**{name: array[:, :4] for name, array in target.features.items()})
    request.model_spec.signature_name = "length_4"
    request.model_spec.version_label = "stable"
    by_label = target.predict(request)
    request.model_spec.version.value = 1
    assert target.predict(request) == by_label
    assert (by_label.model_spec.version.value, by_label.model_spec.signature_name) == (1, "length_4")


def test_predict_accepts_no_rows(target: Target) -> None:
    """A batch of 0 rows gets outputs of 0 rows."""
    response = target.predict(target.request(**{name: array[:0] for name, array in target.features.items()}))
    assert {name: target.tf.make_ndarray(t).shape for name, t in response.outputs.items()} == {
        "logits": (0, 8),
        "label_ids": (0, 8),
    }


def test_predict_accepts_every_encoding(target: Target) -> None:
    """Inputs may be in int_val, whose last value is repeated if there are too few."""
    request = target.request()
    expected = target.predict(request)
    for name, value in target.features.items():
        request.inputs[name].tensor_content = b""
        request.inputs[name].int_val.extend(value.reshape(-1).tolist())
    del request.inputs["attention_mask"].int_val[1:]
    assert target.predict(request) == expected


def test_output_filter(target: Target) -> None:
    """Only the requested outputs are returned."""
    request = target.request()
    request.output_filter.append("label_ids")
    assert set(target.predict(request).outputs) == {"label_ids"}


def test_bundle_info(target: Target) -> None:
    """The signature bundle_info returns the manifest and the tokenizer, once per row."""
    request = target.apis.predict.PredictRequest()
    request.model_spec.name = "tiny"
    request.model_spec.signature_name = "bundle_info"
    request.inputs["row"].CopyFrom(target.tf.make_tensor_proto(np.zeros(2, np.int32)))
    outputs = target.predict(request).outputs
    assert target.tf.make_ndarray(outputs["tokenizer"]).tolist() == [b'{"fake": "tokenizer"}'] * 2
    assert b'"name": "tiny"' in outputs["manifest"].string_val[0]


def without_spec(target: Target) -> Any:
    """Return a request without a model_spec."""
    return target.apis.predict.PredictRequest()


def with_spec(target: Target, **fields: Any) -> Any:
    """Return a valid request whose model_spec has other fields."""
    request = target.request()
    version = fields.pop("version", None)
    if version is not None:
        request.model_spec.version.value = version
    for name, value in fields.items():
        setattr(request.model_spec, name, value)
    return request


def malformed(target: Target) -> Any:
    """Return a request with a tensor that has fewer bytes than its shape needs."""
    request = target.request()
    request.inputs["input_ids"].tensor_content = b"abc"
    return request


def filtered(target: Target, *names: str) -> Any:
    """Return a valid request for some outputs."""
    request = target.request()
    request.output_filter.extend(names)
    return request


def changed(target: Target, name: str, change: Any) -> Any:
    """Return a valid request with one input changed."""
    return target.request(**{name: change(target.features[name])})


SENT = "{attention_mask,input_ids,token_type_ids}"
INVALID = "INVALID_ARGUMENT"
PREDICT_ROWS = [
    ("no-model-spec", without_spec, INVALID, "Missing ModelSpec"),
    ("empty-name", lambda t: with_spec(t, name=""), INVALID, "ModelSpec has no name specified."),
    (
        "unknown-label",
        lambda t: with_spec(t, version_label="canary"),
        INVALID,
        "Unrecognized servable version label: canary",
    ),
    (
        "unknown-model",
        lambda t: with_spec(t, name="nomodel"),
        "NOT_FOUND",
        "Servable not found for request: Latest(nomodel)",
    ),
    (
        "unknown-version",
        lambda t: with_spec(t, version=99),
        "NOT_FOUND",
        "Servable not found for request: Specific(tiny, 99)",
    ),
    (
        "unknown-signature",
        lambda t: with_spec(t, signature_name="nope"),
        "FAILED_PRECONDITION",
        'Serving signature key "nope" not found.',
    ),
    (
        "missing-input",
        lambda t: t.request(token_type_ids=None),
        INVALID,
        (
            f"input size does not match signature: 2!=3 len({{attention_mask,input_ids}}) != len({SENT}). "
            "Sent extra: {}. Missing but required: {token_type_ids}."
        ),
    ),
    (
        "extra-input",
        lambda t: t.request(bogus=np.zeros(1)),
        INVALID,
        (
            "input size does not match signature: 4!=3 len({attention_mask,bogus,input_ids,token_type_ids}) != "
            f"len({SENT}). Sent extra: {{bogus}}. Missing but required: {{}}."
        ),
    ),
    (
        "wrong-name",
        lambda t: t.request(token_type_ids=None, segment_ids=t.features["token_type_ids"]),
        INVALID,
        (
            "Signature input alias: token_type_ids(feed name: serving_default_token_type_ids:0) not found in request "
            "and no default value provided. Inputs expected to be in the request "
            "{attention_mask,input_ids,segment_ids}, or "
            "default input alias set: "
        ),
    ),
    ("malformed-tensor", malformed, INVALID, "tensor parsing error: input_ids"),
    (
        "wrong-dtype",
        lambda t: changed(t, "input_ids", np.int64),
        INVALID,
        "Expects arg[1] to be int32 but int64 is provided",
    ),
    (
        "string-for-numbers",
        lambda t: changed(t, "attention_mask", lambda a: a.astype("S")),
        INVALID,
        "Expects arg[0] to be int32 but string is provided",
    ),
    (
        "unknown-output",
        lambda t: filtered(t, "logits", "nope"),
        INVALID,
        "output tensor alias not found in signature: nope Outputs expected to be in the set {label_ids,logits}.",
    ),
    (
        "output-twice",
        lambda t: filtered(t, "logits", "logits"),
        INVALID,
        "duplicate output tensor alias: logits",
    ),
    (
        "wrong-length",
        lambda t: changed(t, "input_ids", lambda a: a[:, :5]),
        INVALID,
        "input_ids has shape [2, 5], expected [batch, 8]",
    ),
    (
        "wrong-rank",
        lambda t: changed(t, "input_ids", lambda a: a[0]),
        INVALID,
        "input_ids has shape [8], expected [batch, 8]",
    ),
    (
        "unequal-batch",
        lambda t: changed(t, "input_ids", lambda a: a[:1]),
        INVALID,
        (
            "Batching Run() input tensors must have equal 0th-dimension size: "
            "attention_mask has 2, input_ids has 1, token_type_ids has 2"
        ),
    ),
    (
        "long-name-is-truncated",
        lambda t: with_spec(t, name="n" * 2000),
        "NOT_FOUND",
        ("Servable not found for request: Latest(" + "n" * 2000)[:1024] + "...TRUNCATED",
    ),
]


@pytest.mark.parametrize(("make", "code", "text"), [pytest.param(*row[1:], id=row[0]) for row in PREDICT_ROWS])
def test_predict_errors(target: Target, make: Any, code: str, text: str) -> None:
    """An invalid request gets TensorFlow Serving's code and message."""
    assert error_of(target.predict, make(target)) == (code, text)


@pytest.mark.parametrize("value", [pytest.param(-1, id="negative"), pytest.param(100, id="too-large")])
def test_predict_rejects_ids_outside_the_vocabulary(target: Target, value: int) -> None:
    """An id outside the vocabulary is an error, even if the runtime would accept it."""
    ids = target.features["input_ids"].copy()
    ids[0, 3] = value
    text = f"input_ids has {value} at [0, 3], expected values in [0, 100)"
    assert error_of(target.predict, target.request(input_ids=ids)) == ("INVALID_ARGUMENT", text)


def test_status(target: Target) -> None:
    """The status has all versions of a model, or the requested version."""
    request = target.apis.status.GetModelStatusRequest()
    request.model_spec.name = "tiny"
    (status,) = target.status(request).model_version_status
    assert (status.version, status.State.Name(status.state), status.status.error_code) == (1, "AVAILABLE", 0)
    request.model_spec.version.value = 1
    assert list(target.status(request).model_version_status) == [status]


@pytest.mark.parametrize(
    ("name", "version", "code", "text"),
    [
        pytest.param(None, None, INVALID, "Missing ModelSpec", id="no-model-spec"),
        pytest.param("nomodel", None, "NOT_FOUND", "Could not find any versions of model nomodel", id="model"),
        pytest.param("tiny", 99, "NOT_FOUND", "Could not find version 99 of model tiny", id="version"),
    ],
)
def test_status_errors(target: Target, name: str | None, version: int | None, code: str, text: str) -> None:
    """A status request for an unknown model or version gets TensorFlow Serving's code and message."""
    request = target.apis.status.GetModelStatusRequest()
    if name is not None:
        request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    assert error_of(target.status, request) == (code, text)


def test_metadata_describes_signatures(target: Target) -> None:
    """The metadata have every signature, in a packed SignatureDefMap that the official class can unpack."""
    request = target.apis.metadata.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "tiny"
    response = target.metadata(request)
    signatures = target.apis.metadata.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {"serving_default", "length_4", "bundle_info"}
    length_4 = signatures.signature_def["length_4"]
    assert length_4.method_name == "tensorflow/serving/predict"
    assert [dim.size for dim in length_4.inputs["input_ids"].tensor_shape.dim] == [-1, 4]
    assert length_4.inputs["input_ids"].name == "length_4_input_ids:0"
    assert length_4.outputs["logits"].dtype == target.tf.float32.as_datatype_enum
    assert (response.model_spec.name, response.model_spec.version.value) == ("tiny", 1)


@pytest.mark.parametrize(
    ("name", "fields", "code", "text"),
    [
        pytest.param(None, ["signature_def"], INVALID, "Missing ModelSpec", id="no-model-spec"),
        pytest.param(
            "tiny",
            [],
            INVALID,
            "GetModelMetadataRequest must specify at least one metadata_field",
            id="no-field",
        ),
        pytest.param("nomodel", ["foo"], INVALID, "Metadata field foo is not supported", id="field-before-model"),
        pytest.param(
            "nomodel",
            ["signature_def"],
            "NOT_FOUND",
            "Servable not found for request: Latest(nomodel)",
            id="unknown-model",
        ),
    ],
)
def test_metadata_errors(target: Target, name: str | None, fields: list[str], code: str, text: str) -> None:
    """An invalid metadata request gets TensorFlow Serving's code and message."""
    request = target.apis.metadata.GetModelMetadataRequest(metadata_field=fields)
    if name is not None:
        request.model_spec.name = name
    assert error_of(target.metadata, request) == (code, text)


def examples(kind: Any) -> Any:
    """Return a Classify or Regress request of one empty example."""
    request = kind()
    request.model_spec.name = "tiny"
    request.input.example_list.examples.add()
    return request


@pytest.mark.parametrize(
    ("method", "module", "message", "kind"),
    [
        pytest.param("Classify", "classify", "ClassificationRequest", "classification", id="classify"),
        pytest.param("Regress", "regress", "RegressionRequest", "regression", id="regress"),
    ],
)
def test_bundles_have_no_example_signatures(target: Target, method: str, module: str, message: str, kind: str) -> None:
    """A bundle accepts no tf.Examples; the message says which method to call instead."""
    call = getattr(target.apis.prediction.PredictionServiceStub(target.address.channel), method)
    path = f"tensorflow/serving/{method.lower()}"
    text = f"the model has no {kind} signature ({path}); call Predict instead (tensorflow/serving/predict)"
    assert error_of(call, examples(getattr(getattr(target.apis, module), message))) == ("UNIMPLEMENTED", text)
