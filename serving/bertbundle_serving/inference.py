"""Classify, Regress and MultiInference: tf.Example in, classes or a number out.

Source of order and texts: tensorflow_serving/servables/tensorflow/{classifier,regressor,multi_inference,util}.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_serving import _api_pb2 as api
from bertbundle_serving.batch import Outputs
from bertbundle_serving.calls import Call, make_call
from bertbundle_serving.checks import DEFAULT_SIGNATURE
from bertbundle_serving.errors import RequestError
from bertbundle_serving.runtimes.base import PREDICT_METHOD, SignatureSpec

__all__ = ["CLASSIFY_METHOD", "REGRESS_METHOD", "classifications", "example_call", "multi_call", "regressions"]

# Source: tensorflow/cc/saved_model/signature_constants.h.
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
_INPUTS = "inputs"
_KINDS = {CLASSIFY_METHOD: "classification", REGRESS_METHOD: "regression"}

_Array = npt.NDArray[Any]


def example_call(signatures: Mapping[str, SignatureSpec], name: str, method: str, examples: api.Input) -> Call:
    """Return the call that a Classify or Regress request stands for.

    Raises:
        RequestError: UNIMPLEMENTED, the model has no such signature; INVALID_ARGUMENT, this one is not, or no examples.
    """
    _check_any(signatures, method)
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise _invalid(f"No signature was found with the name: {name or DEFAULT_SIGNATURE}")
    _check_method(signature, method)
    return make_call(signature, {_INPUTS: _serialized(examples)})


def multi_call(signatures: Mapping[str, SignatureSpec], request: api.MultiInferenceRequest) -> list[Call]:
    """Return a call for each task of a MultiInference request.

    Raises:
        RequestError: as `example_call`, or the tasks do not go together.
    """
    names = [task.model_spec.signature_name or DEFAULT_SIGNATURE for task in request.tasks]
    for index, (name, task) in enumerate(zip(names, request.tasks, strict=True)):
        if name in names[:index]:
            raise _invalid(f"Duplicate evaluation of signature: {name}")
        if task.method_name not in _KINDS:
            raise RequestError("UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name}")
        _check_any(signatures, task.method_name)
        if name not in signatures:
            raise _invalid(f"Requested signature not found in model graph: {name}")
        _check_method(signatures[name], task.method_name)
    if len({signatures[name].inputs[_INPUTS].feed for name in names}) > 1:
        raise _invalid("Input tensor must be the same for all Signatures.")
    examples = _serialized(request.input)
    return [make_call(signatures[name], {_INPUTS: examples}) for name in names]


def classifications(outputs: Outputs, rows: int) -> api.ClassificationResult:
    """Return the classes and scores of each example."""
    classes, scores = (_matrix(outputs, name, kind, rows) for name, kind in (("classes", "O"), ("scores", "f")))
    table = next(array for array in (classes, scores) if array is not None)
    return api.ClassificationResult(
        classifications=[
            api.Classifications(
                classes=[
                    api.Class(
                        label="" if classes is None else _text(classes[row, column]),
                        score=0.0 if scores is None else float(scores[row, column]),
                    )
                    for column in range(table.shape[1])
                ]
            )
            for row in range(rows)
        ]
    )


def regressions(outputs: Outputs, rows: int) -> api.RegressionResult:
    """Return the value of each example."""
    values = outputs["outputs"]
    if not (values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)):
        raise _invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            + str(list(values.shape))
        )
    if len(values) != rows:
        raise _invalid(f"Input batch size did not match output batch size: {rows} vs. {len(values)}")
    return api.RegressionResult(regressions=[api.Regression(value=float(value)) for value in values.reshape(-1)])


def _check_any(signatures: Mapping[str, SignatureSpec], method: str) -> None:
    if not any(spec.method == method for spec in signatures.values()):
        raise RequestError(
            "UNIMPLEMENTED",
            f"the model has no {_KINDS[method]} signature ({method}); ask it by Predict ({PREDICT_METHOD})",
        )


def _check_method(signature: SignatureSpec, method: str) -> None:
    if signature.method != method:
        raise _invalid(f"Expected {_KINDS[method]} signature method_name to be {method}. Was: {signature.method}")
    if len(signature.inputs) != 1:
        raise _invalid("Expected one input Tensor.")
    if _INPUTS not in signature.inputs:
        raise RequestError("FAILED_PRECONDITION", f"No {_KINDS[method]} inputs found in SignatureDef: {signature.name}")
    _OUTPUT_CHECKS[method](signature)


def _check_class_outputs(signature: SignatureSpec) -> None:
    if len(signature.outputs) not in (1, 2):
        raise _invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if not {"classes", "scores"} & signature.outputs.keys():
        raise RequestError(
            "FAILED_PRECONDITION",
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature.name}",
        )


def _check_regression_output(signature: SignatureSpec) -> None:
    if len(signature.outputs) != 1:
        raise _invalid("Expected one output Tensor.")
    if "outputs" not in signature.outputs:
        raise RequestError("FAILED_PRECONDITION", f"No regression outputs found in SignatureDef: {signature.name}")


_OUTPUT_CHECKS: Mapping[str, Callable[[SignatureSpec], None]] = {
    CLASSIFY_METHOD: _check_class_outputs,
    REGRESS_METHOD: _check_regression_output,
}


def _serialized(examples: api.Input) -> _Array:
    """Return the serialized examples; a context is in front of each: concatenated messages are merged messages."""
    kind = examples.WhichOneof("kind")
    context = examples.example_list_with_context.context if kind == "example_list_with_context" else b""
    found = list(getattr(examples, kind).examples) if kind else []
    if not found:
        raise _invalid("Input is empty.")
    values: _Array = np.empty(len(found), object)
    values[:] = [context + example for example in found]
    return values


def _matrix(outputs: Outputs, name: str, kind: str, rows: int) -> _Array | None:
    array = outputs.get(name)
    if array is None:
        return None
    if array.ndim != 2:
        raise _invalid(f"Expected Tensor shape: [batch_size num_classes] but got {list(array.shape)}")
    if array.dtype.kind != kind:
        expected = {"O": "DT_STRING", "f": "DT_FLOAT"}[kind]
        raise _invalid(f"Expected {name} Tensor of {expected}. Got: {array.dtype}")
    if len(array) != rows:
        raise _invalid(f"Expected {name} output batch size of {rows}. Got: {len(array)}")
    return array


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _invalid(message: str) -> RequestError:
    return RequestError("INVALID_ARGUMENT", message)
