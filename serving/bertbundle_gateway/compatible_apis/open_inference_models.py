"""What the Open Inference Protocol asks of a model: texts or the tensors of a signature in, tensors out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from bertbundle import Classification, Manifest, PredictCall
from bertbundle_gateway.compatible_apis.items import require_results
from bertbundle_gateway.compatible_apis.open_inference_tensors import convert, utf8_values
from bertbundle_gateway.core.errors import RequestError, invalid_request
from bertbundle_gateway.core.methods import MAX_ANSWER_LEN, METHOD_OF_TASK, Options
from bertbundle_gateway.core.models import ModelRef
from bertbundle_gateway.core.service import ModelInfo, TextService
from bertbundle_gateway.web.json_documents import dump_json
from bertbundle_gateway.web.validation import Body, validation_error

__all__ = [
    "EXTENSIONS",
    "PLATFORM",
    "SERVER_NAME",
    "Inference",
    "Tensors",
    "available_versions",
    "check_parameters",
    "infer",
    "model_ref",
    "model_tensors",
    "named_tensors",
    "total_size",
]

SERVER_NAME = PLATFORM = "bertbundle"
EXTENSIONS = ("binary_tensor_data",)
"""The extensions of the protocol: open_inference_binary.py."""
_MAX_DIGITS = 19
Tensors = Mapping[str, npt.NDArray[Any]]
_HINT = 'Split it, or send the parameter "truncation": "window" or "truncate".'


@dataclass(frozen=True, slots=True)
class Inference:
    """A request.

    Attributes:
        ref: the model.
        inputs: the input tensors.
        parameters: parameters of the request.
        outputs: names of the outputs to return; none for all.
        timeout: seconds that it may take.
    """

    ref: ModelRef
    inputs: Tensors
    parameters: Mapping[str, Any]
    outputs: Sequence[str]
    timeout: float


def model_ref(model: str, version: str | None) -> ModelRef:
    """Return a model, and a version by its number in decimal; None for the newest one.

    Raises:
        RequestError: the version is not a number.
    """
    # Python refuses to convert very long numbers.
    if version is not None and not (version.isascii() and version.isdigit() and len(version) <= _MAX_DIGITS):
        raise RequestError("NOT_FOUND", "MODEL_NOT_FOUND", "The version is not a number.", field="version")
    return ModelRef(model, None if version is None else int(version))


def check_parameters(name: str, parameters: Mapping[str, Any] | None, accepted: Mapping[str, Any]) -> None:
    """Check the parameters of a tensor.

    Raises:
        RequestError: there is another one than those accepted, or one of another value.
    """
    unknown = [key for key, value in (parameters or {}).items() if accepted.get(key) != value or key not in accepted]
    if unknown:
        known = f", only {dict(accepted)} is" if accepted else ""
        message = f"The parameter {unknown[0]:.40} of {name:.40} is not supported{known}."
        raise invalid_request("UNKNOWN_OPTION", message, field="parameters")


def named_tensors(tensors: Sequence[tuple[str, npt.NDArray[Any]]]) -> Tensors:
    """Return input tensors by their names.

    Raises:
        RequestError: two have the same name.
    """
    inputs = dict(tensors)
    if len(inputs) < len(tensors):
        raise invalid_request("INVALID_INPUTS", "Two inputs have the same name.", field="inputs")
    return inputs


def total_size(tensors: Tensors) -> int:
    """Return the number of bytes of tensors; a string counts 8."""
    return sum(array.nbytes for array in tensors.values())


_TEXT, _PAIR, _QUESTION = ("text",), ("text", "text_pair"), ("question", "context")
_INPUTS: Mapping[str, tuple[str, ...]] = {"answer": _QUESTION, "classify": _PAIR, "regress": _PAIR, "heads": _PAIR}


async def infer(service: TextService, request: Inference) -> tuple[Tensors, int]:
    """Return the outputs of a request, and the version of the model that computed them.

    Raises:
        RequestError: the request failed.
    """
    names = {name for inputs in (_PAIR, _QUESTION) for name in inputs}
    if not request.inputs.keys() & names:
        return await _infer_tensors(service, request)
    manifest = await service.manifest(request.ref, timeout=request.timeout)
    method = _method(manifest)
    options = _options(request.parameters)
    items = await convert(total_size(request.inputs), _items, request.inputs, method)
    results = await service.annotate(request.ref, method, items, options, timeout=request.timeout)
    answers = require_results(results, "inputs", _HINT)
    return _selected(_OUTPUTS[method](answers), request.outputs), results.version


def _method(manifest: Manifest) -> str:
    """Return the method for the task of a model.

    Raises:
        RequestError: this version of bertbundle has none.
    """
    if manifest.task not in METHOD_OF_TASK:
        message = f"The model is for {manifest.task:.40}, which is not known here. Upgrade bertbundle, or send tensors."
        raise RequestError("FAILED_PRECONDITION", "UNSUPPORTED_BUNDLE", message)
    return METHOD_OF_TASK[manifest.task]


async def _infer_tensors(service: TextService, request: Inference) -> tuple[Tensors, int]:
    unknown = request.parameters.keys() - {"signature_name"}
    signature = request.parameters.get("signature_name", "serving_default")
    if unknown or not isinstance(signature, str):
        name = min(unknown, default="signature_name")
        raise invalid_request(
            "UNKNOWN_OPTION", f"The parameter {name:.40} is not supported with tensors: only signature_name is."
        )
    if not request.inputs:
        raise invalid_request("NO_INPUTS", "The request has no inputs. Send text, or the tensors of a signature.")
    ref = request.ref
    inputs = await convert(total_size(request.inputs), _as_bytes, request.inputs)
    call = PredictCall(ref.name, signature, inputs, tuple(request.outputs), ref.choice)
    prediction = await service.predict(call, timeout=request.timeout)
    return prediction.outputs, prediction.version


def _as_bytes(inputs: Tensors) -> Tensors:
    """Return tensors with strings as bytes, which they are in TensorFlow."""
    return {
        name: _column(utf8_values(array)).reshape(array.shape) if array.dtype.kind == "O" else array
        for name, array in inputs.items()
    }


class TextParameters(Body):
    """The parameters of a request with texts; see `core.methods.Options`."""

    truncation: Literal["window", "truncate", "error"] | None = None
    stride: int | None = Field(None, ge=0)
    head: str | None = None
    top_k: int | None = Field(None, ge=1)
    threshold: float | None = Field(None, ge=0, le=1)
    max_answer_len: int | None = Field(None, ge=1, le=MAX_ANSWER_LEN)
    handle_impossible_answer: bool = False


def _options(parameters: Mapping[str, Any]) -> Options:
    try:
        return Options(**TextParameters.model_validate(parameters).model_dump())
    except ValidationError as error:
        errors = [{**item, "loc": ("body", "parameters", *item["loc"])} for item in error.errors(include_url=False)]
        raise validation_error(errors) from None


def _items(inputs: Tensors, method: str) -> list[Any]:
    """Return the texts or pairs in the input tensors."""
    accepted = _INPUTS.get(method, _TEXT)
    needed = accepted if method == "answer" else accepted[:1]
    if not set(needed) <= inputs.keys() <= set(accepted):
        given = ", ".join(f"{name:.40}" for name in inputs)
        message = f"The inputs are {given}, the model takes {' and '.join(needed)}"
        more = f", and optionally {accepted[1]}" if len(accepted) > len(needed) else ""
        raise invalid_request("INVALID_INPUTS", f"{message}{more}.", field="inputs")
    columns = [_texts(name, inputs[name]) for name in accepted if name in inputs]
    if len({len(column) for column in columns}) > 1:
        raise invalid_request("INVALID_INPUTS", f"{' and '.join(inputs)} have different numbers of texts.")
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def _texts(name: str, array: npt.NDArray[Any]) -> list[str]:
    is_column = array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)
    if array.dtype.kind != "O" or not is_column:
        raise invalid_request("INVALID_TENSOR", f"The input {name} must be BYTES of shape [n] or [n, 1].", field=name)
    try:
        return [value.decode() if isinstance(value, bytes) else value for value in array.ravel()]
    except UnicodeDecodeError as error:
        raise invalid_request("INVALID_UNICODE", f"The input {name} is not UTF-8.", field=name) from error


def _selected(outputs: Tensors, names: Sequence[str]) -> Tensors:
    unknown = [name for name in names if name not in outputs]
    if unknown:
        message = f"The model has no output {unknown[0]!r:.40}, its outputs are {', '.join(outputs)}."
        raise invalid_request("INVALID_OUTPUTS", message, field="outputs")
    return {name: outputs[name] for name in names} if names else outputs


def _json_column(results: Sequence[Any]) -> npt.NDArray[Any]:
    return _column([dump_json(result).decode() for result in results])


def _column(values: Sequence[Any], dtype: Any = np.object_) -> npt.NDArray[Any]:
    column = np.empty(len(values), dtype)
    column[:] = values
    return column


def _entities(results: Sequence[Any]) -> Tensors:
    return {"entities": _json_column([[entity.to_dict() for entity in entities] for entities in results])}


def _classes(results: Sequence[Any]) -> Tensors:
    return {
        "label": _column([result.label for result in results]),
        "score": _column([result.score for result in results], np.float64),
        "labels": _json_column([list(result.labels) for result in results]),
        "scores": _json_column([dict(result.scores) for result in results]),
    }


def _answers(results: Sequence[Any]) -> Tensors:
    return {
        "answer": _column([result.text for result in results]),
        "start": _column([result.start for result in results], np.int32),
        "end": _column([result.end for result in results], np.int32),
        "score": _column([result.score for result in results], np.float64),
        "null_score": _column([result.null_score for result in results], np.float64),
    }


_OUTPUTS: Mapping[str, Callable[[Sequence[Any]], Tensors]] = {
    "entities": _entities,
    "classify": _classes,
    "regress": lambda results: {"value": _column(results, np.float64)},
    "embed": lambda results: {"embedding": np.stack(results)},
    "answer": _answers,
    "fill_mask": lambda results: {
        "fills": _json_column([[[fill.to_dict() for fill in fills] for fills in masks] for masks in results])
    },
    "heads": lambda results: {
        "heads": _json_column([{name: _plain(part) for name, part in result.items()} for result in results])
    },
}
"""The outputs of each method. What has no fixed size for each text is JSON."""


def _plain(result: Any) -> Any:
    """Return the result of a head as JSON values."""
    if isinstance(result, list):
        return [entity.to_dict() for entity in result]
    return result.to_dict() if isinstance(result, Classification) else result


_DATA_TYPES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "entities": (("entities", "BYTES"),),
    "classify": (("label", "BYTES"), ("score", "FP64"), ("labels", "BYTES"), ("scores", "BYTES")),
    "regress": (("value", "FP64"),),
    "answer": (("answer", "BYTES"), ("start", "INT32"), ("end", "INT32"), ("score", "FP64"), ("null_score", "FP64")),
    "fill_mask": (("fills", "BYTES"),),
    "heads": (("heads", "BYTES"),),
}


def model_tensors(manifest: Manifest) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the inputs and the outputs of a model for texts, as the protocol describes tensors."""
    method = _method(manifest)
    required = _QUESTION if method == "answer" else _TEXT
    inputs = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in required]
    if method == "embed":
        return inputs, [{"name": "embedding", "datatype": "FP32", "shape": [-1, -1]}]
    outputs = [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in _DATA_TYPES[method]]
    return inputs, outputs


def available_versions(info: ModelInfo) -> list[str]:
    """Return the versions of a model that answer."""
    return [str(status.version) for status in info.versions if status.state == "AVAILABLE"]
