"""Classify, Regress and MultiInference: tf.Example in, classes or a number out.

Source of order and texts: tensorflow_serving/servables/tensorflow/{classifier,regressor,multi_inference,util}.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_serving.engine.batch import Outputs
from bertbundle_serving.errors import RequestError
from bertbundle_serving.protos import _api_pb2 as api
from bertbundle_serving.requests.call import Call, make_call
from bertbundle_serving.requests.signature_checks import DEFAULT_SIGNATURE
from bertbundle_serving.runtimes.base import PREDICT_METHOD, SignatureSpec

__all__ = ["CLASSIFY_METHOD", "REGRESS_METHOD", "classifications", "example_call", "multi_call", "regressions"]

# Source: tensorflow/cc/saved_model/signature_constants.h.
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
_INPUTS = "inputs"

_Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What makes a signature one of a method.

    Its own method name does not: TensorFlow 2 saves every signature as one for Predict, and TensorFlow Serving looks at
    the name only with ``--enable_signature_method_name_check``.

    Attributes:
        name: what messages call it.
        outputs: names, of which it has at least one.
        counts: how many outputs it has.
        wrong_count: what is said of another number of them.
        wrong_names: what is said of other names; ``{}`` is the signature's.
    """

    name: str
    outputs: frozenset[str]
    counts: tuple[int, ...]
    wrong_count: str
    wrong_names: str


_KINDS = {
    CLASSIFY_METHOD: _Kind(
        "classification",
        frozenset({"classes", "scores"}),
        (1, 2),
        "Expected one or two output Tensors, found {}",
        'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was: {}',
    ),
    REGRESS_METHOD: _Kind(
        "regression",
        frozenset({"outputs"}),
        (1,),
        "Expected one output Tensor.",
        "No regression outputs found in SignatureDef: {}",
    ),
}


def example_call(signatures: Mapping[str, SignatureSpec], name: str, method: str, examples: api.Input) -> Call:
    """Return the call that a Classify or Regress request stands for.

    Raises:
        RequestError: UNIMPLEMENTED, the model has no such signature; INVALID_ARGUMENT, this one is not, or no examples.
    """
    _check_any(signatures, method)
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise _invalid(f"No signature was found with the name: {name or DEFAULT_SIGNATURE}")
    _check_fit(signature, method)
    return make_call(signature, {_INPUTS: _serialized(examples)})


def multi_call(signatures: Mapping[str, SignatureSpec], request: api.MultiInferenceRequest) -> list[Call]:
    """Return a call for each task of a MultiInference request.

    Raises:
        RequestError: as `example_call`, or the tasks do not go together.
    """
    names = [task.model_spec.signature_name or DEFAULT_SIGNATURE for task in request.tasks]
    for index, (name, task) in enumerate(zip(names, request.tasks, strict=True)):
        if not task.model_spec.name:
            raise _invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise _invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if name in names[:index]:
            raise _invalid(f"Duplicate evaluation of signature: {name}")
        if name not in signatures:
            raise _invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name not in _KINDS:
            raise RequestError("UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name}")
        _check_any(signatures, task.method_name)
        _check_fit(signatures[name], task.method_name)
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
    if all(_misfit(spec, _KINDS[method]) for spec in signatures.values()):
        raise RequestError(
            "UNIMPLEMENTED",
            f"the model has no {_KINDS[method].name} signature ({method}); ask it by Predict ({PREDICT_METHOD})",
        )


def _check_fit(signature: SignatureSpec, method: str) -> None:
    misfit = _misfit(signature, _KINDS[method])
    if misfit:
        raise _invalid(misfit)


def _misfit(signature: SignatureSpec, kind: _Kind) -> str:
    """Return what keeps a signature from being one of a kind, "" for nothing."""
    if len(signature.inputs) != 1:
        return "Expected one input Tensor."
    if len(signature.outputs) not in kind.counts:
        return kind.wrong_count.format(len(signature.outputs))
    if _INPUTS not in signature.inputs:
        return f"No {kind.name} inputs found in SignatureDef: {signature.name}"
    if not kind.outputs & signature.outputs.keys():
        return kind.wrong_names.format(signature.name)
    return ""


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
