"""Compare the answers of two servers to a generated request: what must be equal, and what a server may say otherwise.

Some of TensorFlow Serving's texts differ from run to run, because they name the first thing in the order of a hash map
(inputs, outputs, the features of a tf.Example) or the first of several operations that failed. Others depend on its
version. Only what cannot be relied on is left out: codes and results are compared in full.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertbundle_serving.errors import RequestError
from bertbundle_serving.rest_api.json_parser import RepeatedKeys, parse_object
from generated_requests import MAX_NUMBER, GeneratedRequest, official
from many_signatures import SIGNATURES

__all__ = ["MAX_DIMENSIONS", "Answer", "comparable", "differs_on_purpose"]

MAX_DIMENSIONS = 32 if np.__version__.startswith("1.") else 64
"""Dimensions of numpy's arrays."""
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Answer:
    """What a server answers.

    Attributes:
        code: the name of the gRPC code, or the HTTP status.
        text: the details of an error, or the REST answer.
        message: the serialized response of gRPC.
    """

    code: str | int
    text: str = ""
    message: bytes = b""


# ---- what differs on purpose: docs/protocol.md lists each


def differs_on_purpose(request: GeneratedRequest, ours: Answer, theirs: Answer) -> bool:
    """Return whether docs/protocol.md lists the difference, or the server is an older one."""
    unsupported = "tensor parsing error" in ours.text and _is_beyond_numpy(request)
    repeated = request.method == "predict" and _has_repeated_key(request.data)  # values of instances are mixed
    not_text = _REPLACEMENT in ours.text + theirs.text or _REPLACEMENT.encode() in ours.message
    narrow = _NARROW.search(ours.text) is not None  # it wraps around
    older = "document root must not be followed by other values" in theirs.text
    return unsupported or repeated or not_text or narrow or older


_NARROW = re.compile(r"JSON Value: -?\d+ Type: Number is not of expected type: u?int(?:8|16)\b")


def _is_beyond_numpy(request: GeneratedRequest) -> bool:
    """Return whether a tensor has more dimensions than numpy, or a dtype that numpy does not have."""
    if request.is_rest:
        return b"[" * (MAX_DIMENSIONS - 1) in request.data
    tensors = official().Predict.FromString(request.data).inputs.values()
    return any(len(tensor.tensor_shape.dim) > MAX_DIMENSIONS or tensor.dtype > MAX_NUMBER for tensor in tensors)


def _has_repeated_key(data: bytes) -> bool:
    """Return whether an instance has a repeated key."""
    with contextlib.suppress(RequestError):
        instances = parse_object(data).get("instances")
        return isinstance(instances, list) and any(isinstance(item, RepeatedKeys) for item in instances)
    return False


# ---- what is compared


def comparable(request: GeneratedRequest, answer: Answer) -> Any:
    """Return what must be equal: results as values, and the parts of texts that a server always gives."""
    if answer.code == 200:
        return _rounded(json.loads(answer.text))
    if answer.code == "OK" and request.method == "Predict":
        outputs = official().PredictResponse.FromString(answer.message).outputs
        return {name: _value(tensor) for name, tensor in outputs.items()}
    if answer.code == "OK":
        return answer.message
    return _reliable(request, json.loads(answer.text)["error"] if request.is_rest else answer.text)


def _value(tensor: Any) -> tuple[int, tuple[int, ...], Any]:
    """Return the dtype, the shape and the content of a TensorProto."""
    from tensorflow import make_ndarray

    array = make_ndarray(tensor)
    return tensor.dtype, array.shape, array.tolist() if array.dtype == object else array.tobytes()


def _rounded(value: Any) -> Any:
    """Return an answer with its floats rounded to float32: how many digits are printed differs."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if not isinstance(value, float):
        return value
    with np.errstate(over="ignore"):
        rounded = np.float32(value)
    return repr(value if np.isinf(rounded) else rounded)  # beyond float32 it is a double


def _number(text: str) -> str:
    """Return a number of a text rounded to float32, if it is not an integer of 64 bits."""
    return text if text.lstrip("-").isdigit() and len(text) < len(str(2**63)) else _rounded(float(text))


# Parts of texts, and what is left of them.
_UNRELIABLE: list[tuple[str, Any]] = [
    # The function whose operation failed, if the runtime did not inline it.
    (r"\{\{function_node .*?\}\} ", ""),
    # Printed messages, of which the embedded server gives the name, and sets.
    (r"SignatureDef: .*|Signature was: .*|\{.*?\}", ""),
    # Which input is fed first is not known, nor which feature of a tf.Example is parsed first.
    (r"arg\[\d+\]", ""),
    (r"Name: <unknown>, (Key|Feature): .*", "Name: <unknown>"),
    # Which output comes first in the row form.
    (r"Tensor name: .*", "Tensor name: "),
    # Seen as nothing; json_tensor.cc as of 2024 prints them. How other numbers are printed depends on its version.
    (r"JSON Value: (NaN|-?Infinity) ", "JSON Value:  "),
    (r"(?<=JSON Value: )-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?= )", lambda match: _number(match[0])),
    # Newer versions of RapidJSON quote the bracket.
    (r"'([}\]])'", r"\1"),
]
# About one of several inputs.
_ABOUT_AN_INPUT = re.compile(
    r"tensor parsing error: |Signature input alias: |Expects  to be |Missing named input: |JSON Value: |"
    r"Encountered list at |Unable to base64 decode"
)


def _reliable(request: GeneratedRequest, text: str) -> str:
    text = text.partition("\n")[0]
    for pattern, kept in _UNRELIABLE:
        text = re.sub(pattern, kept, text)
    if len(SIGNATURES.get(request.signature, ())) > 1 and _ABOUT_AN_INPUT.match(text):
        return "about an input"
    return text
