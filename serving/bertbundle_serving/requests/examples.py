"""Classify, Regress and MultiInference: tf.Examples as inputs, classes or numbers as results.

Source of the order of checks and the error messages:
tensorflow_serving/servables/tensorflow/{classifier,regressor,multi_inference,util}.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_serving.errors import RequestError, invalid_argument
from bertbundle_serving.protos import _api_pb2 as api
from bertbundle_serving.requests.call import DEFAULT_SIGNATURE, SignatureCall, dtype_text, make_call
from bertbundle_serving.runtimes.base import PREDICT_METHOD, Outputs, SignatureSpec

__all__ = [
    "CLASSIFY_METHOD",
    "REGRESS_METHOD",
    "count_examples",
    "read_example_call",
    "read_multi_inference_calls",
    "to_classifications",
    "to_regressions",
]

# Source: tensorflow/cc/saved_model/signature_constants.h.
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
_INPUTS = "inputs"

_Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _ExampleMethod:
    """The requirements that a signature must meet so that Classify or Regress can call it.

    The method name that the SavedModel has for the signature does not matter: TensorFlow 2 saves every signature with
    Predict's, and TensorFlow Serving checks the name only with ``--enable_signature_method_name_check``.

    Attributes:
        name: name of the method's result in messages.
        output_names: the signature must have at least one of these outputs.
        output_counts: allowed numbers of outputs.
        wrong_count: error message for a wrong number of outputs; ``{}`` is the number.
        wrong_names: error message for wrong outputs; ``{}`` is the signature's name.
    """

    name: str
    output_names: frozenset[str]
    output_counts: tuple[int, ...]
    wrong_count: str
    wrong_names: str


_EXAMPLE_METHODS = {
    CLASSIFY_METHOD: _ExampleMethod(
        "classification",
        frozenset({"classes", "scores"}),
        (1, 2),
        "Expected one or two output Tensors, found {}",
        'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was: {}',
    ),
    REGRESS_METHOD: _ExampleMethod(
        "regression",
        frozenset({"outputs"}),
        (1,),
        "Expected one output Tensor.",
        "No regression outputs found in SignatureDef: {}",
    ),
}


def read_example_call(
    signatures: Mapping[str, SignatureSpec], name: str, method: str, examples: api.Input
) -> SignatureCall:
    """Return the signature call for a Classify or Regress request.

    Args:
        signatures: the model's signatures.
        name: the signature that the request names; empty for the default signature.
        method: `CLASSIFY_METHOD` or `REGRESS_METHOD`.
        examples: the request's examples.

    Raises:
        RequestError: UNIMPLEMENTED, no signature of the model fits the method; INVALID_ARGUMENT, this signature does
            not fit the method, or there are no examples.
    """
    _check_any_signature_fits(signatures, method)
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {name or DEFAULT_SIGNATURE}")
    _check_signature_fits(signature, method)
    return _make_example_call(signature, method, _serialized_examples(examples))


def read_multi_inference_calls(
    signatures: Mapping[str, SignatureSpec], request: api.MultiInferenceRequest
) -> list[SignatureCall]:
    """Return a signature call for each task of a MultiInference request.

    Raises:
        RequestError: as for `read_example_call`; also INVALID_ARGUMENT, the tasks name different models or the same
            signature twice.
    """
    names = [task.model_spec.signature_name or DEFAULT_SIGNATURE for task in request.tasks]
    for index, (name, task) in enumerate(zip(names, request.tasks, strict=True)):
        if not task.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if name in names[:index]:
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        if name not in signatures:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        if task.method_name not in _EXAMPLE_METHODS:
            raise RequestError("UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name}")
        _check_any_signature_fits(signatures, task.method_name)
        _check_signature_fits(signatures[name], task.method_name)
    examples = _serialized_examples(request.input)
    return [
        _make_example_call(signatures[name], task.method_name, examples)
        for name, task in zip(names, request.tasks, strict=True)
    ]


def count_examples(examples: api.Input) -> int:
    """Return the number of examples in the input of a request that was checked."""
    return len(getattr(examples, str(examples.WhichOneof("kind"))).examples)


def to_classifications(outputs: Outputs, rows: int) -> api.ClassificationResult:
    """Return the classes and scores of each example.

    Raises:
        RequestError: INVALID_ARGUMENT, the outputs have a wrong number of rows, a wrong dtype or a wrong rank.
    """
    classes = _check_matrix(outputs, "classes", "string", rows)
    scores = _check_matrix(outputs, "scores", "float", rows)
    table = next(array for array in (classes, scores) if array is not None)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
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


def to_regressions(outputs: Outputs, rows: int) -> api.RegressionResult:
    """Return the value of each example.

    Raises:
        RequestError: INVALID_ARGUMENT, the output does not have one value per example.
    """
    values = outputs["outputs"]
    if not (values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)):
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape_text(values)}"
        )
    if len(values) != rows:
        raise invalid_argument(f"Input batch size did not match output batch size: {rows} vs. {len(values)}")
    if values.dtype != np.float32:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {_enum_name(values)}")
    return api.RegressionResult(regressions=[api.Regression(value=float(value)) for value in values.reshape(-1)])


def _make_example_call(signature: SignatureSpec, method: str, examples: _Array) -> SignatureCall:
    outputs = sorted(_EXAMPLE_METHODS[method].output_names & signature.outputs.keys())
    return make_call(signature, {_INPUTS: examples}, outputs)


def _check_any_signature_fits(signatures: Mapping[str, SignatureSpec], method: str) -> None:
    if all(_find_mismatch(spec, _EXAMPLE_METHODS[method]) for spec in signatures.values()):
        raise RequestError(
            "UNIMPLEMENTED",
            f"the model has no {_EXAMPLE_METHODS[method].name} signature ({method}); call Predict instead "
            f"({PREDICT_METHOD})",
        )


def _check_signature_fits(signature: SignatureSpec, method: str) -> None:
    mismatch = _find_mismatch(signature, _EXAMPLE_METHODS[method])
    if mismatch is not None:
        raise mismatch


def _find_mismatch(signature: SignatureSpec, method: _ExampleMethod) -> RequestError | None:
    """Return why a method cannot call a signature; None if it can."""
    if len(signature.inputs) != 1:
        return invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in method.output_counts:
        return invalid_argument(method.wrong_count.format(len(signature.outputs)))
    if _INPUTS not in signature.inputs:
        return invalid_argument(f"No {method.name} inputs found in SignatureDef: {signature.name}")
    if not method.output_names & signature.outputs.keys():
        return invalid_argument(method.wrong_names.format(signature.name))
    return None


def _serialized_examples(examples: api.Input) -> _Array:
    """Return each example as bytes, after the context if there is one: concatenated messages are merged by parsers."""
    kind = examples.WhichOneof("kind")
    context = examples.example_list_with_context.context if kind == "example_list_with_context" else b""
    serialized = [context + example for example in getattr(examples, kind).examples] if kind else []
    if not serialized:
        raise invalid_argument("Input is empty.")
    values: _Array = np.empty(len(serialized), object)
    values[:] = serialized
    return values


def _check_matrix(outputs: Outputs, name: str, dtype: str, rows: int) -> _Array | None:
    array = outputs.get(name)
    if array is None:
        return None
    if array.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape_text(array)}")
    if dtype_text(array.dtype) != dtype:
        raise invalid_argument(f"Expected {name} Tensor of DT_{dtype.upper()}. Got: {_enum_name(array)}")
    if len(array) != rows:
        raise invalid_argument(f"Expected {name} output batch size of {rows}. Got: {len(array)}")
    return array


def _shape_text(array: _Array) -> str:
    """Return the shape as TensorFlow's TensorShape prints it."""
    return f"[{','.join(map(str, array.shape))}]"


def _enum_name(array: _Array) -> str:
    """Return the name of the dtype in types.proto."""
    return f"DT_{dtype_text(array.dtype).upper()}"


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
