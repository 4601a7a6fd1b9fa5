"""Requests to the model of `many_signatures`, drawn by hypothesis: valid ones, and every kind of odd ones."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from many_signatures import EXAMPLE_SIGNATURES, SIGNATURES

__all__ = ["KILLING_NUMBERS", "MAX_NUMBER", "GeneratedRequest", "generated_requests", "official"]


@dataclass(frozen=True)
class GeneratedRequest:
    """A request.

    Attributes:
        method: the gRPC method, or ``predict``, ``classify`` and ``regress`` of REST.
        data: the message or the body.
        signature: the signature that it names.
        kills: whether a real server ends when it gets the request: a tensor of resources or variants.
    """

    method: str
    data: bytes
    signature: str
    kills: bool = False

    @property
    def is_rest(self) -> bool:
        """Whether it is sent to the REST API."""
        return self.method.islower()


# ---- tensors

_NAMES = ("float32", "float64", "int32", "uint8", "int16", "int8", "string", "complex64", "int64", "bool")
_LATER_NAMES = {"bfloat16": 14, "uint16": 17, "complex128": 18, "float16": 19, "uint32": 22, "uint64": 23}
DTYPE_NUMBERS = {name: number for number, name in enumerate(_NAMES, start=1)} | _LATER_NAMES
KILLING_NUMBERS = {20, 21}
"""Resources and variants: a real server ends when it gets one."""
MAX_NUMBER = 23
"""The last dtype that numpy has: there are float8 and int4 behind it."""
_FIELDS = {1: "float_val", 2: "double_val", 7: "string_val", 8: "scomplex_val", 9: "int64_val", 10: "bool_val"} | {
    number: f"{name}_val"
    for number, name in ((14, "half"), (18, "dcomplex"), (19, "half"), (22, "uint32"), (23, "uint64"))
}
_SIZES = {1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 8: 8, 9: 8, 10: 1, 14: 2, 17: 2, 18: 16, 19: 2, 22: 4, 23: 8}
_VALUES: dict[str, list[Any]] = {
    "string_val": [b"", b"a", b"\xff\x00", "é".encode()],
    "float_val": [0.0, -1.5, float("inf"), 3e38],
    "double_val": [0.0, -1.5, 1e300],
    "scomplex_val": [0.0, 2.5],
    "dcomplex_val": [0.0, 2.5],
    "bool_val": [True, False],
    "half_val": [0, 0x3C00, 0xFFFF],
    "uint32_val": [0, 2**32 - 1],
    "uint64_val": [0, 2**64 - 1],
    "int64_val": [0, -1, 2**63 - 1, -(2**63)],
    "int_val": [0, 1, -1, 127, 300, 2**31 - 1, -(2**31)],
}
SHAPES = st.sampled_from(
    [
        (),
        (1,),
        (1,),
        (2,),
        (2,),
        (3,),
        (0,),
        (2, 2),
        (2, 1),
        (1, 2),
        (1, 3),
        (0, 3),
        (1, 1, 2),
        (-1,),
        (2, -1),
        (2**62,),
    ]
    + [(1,) * rank for rank in (32, 33, 64, 65, 254, 255)]
)
_OFTEN = st.sampled_from([True] * 7 + [False])
_SELDOM = st.sampled_from([False] * 15 + [True])


@functools.cache
def official() -> Any:
    """Return the official messages."""
    from tensorflow.core.framework import tensor_pb2
    from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, predict_pb2, regression_pb2

    class Messages:
        Tensor = tensor_pb2.TensorProto
        Predict = predict_pb2.PredictRequest
        PredictResponse = predict_pb2.PredictResponse
        Classify = classification_pb2.ClassificationRequest
        Regress = regression_pb2.RegressionRequest
        MultiInference = inference_pb2.MultiInferenceRequest
        Input = input_pb2.Input

    return Messages


@st.composite
def tensors(draw: st.DrawFn, dtype: str) -> Any:
    """Draw a TensorProto, mostly of this dtype, in any encoding and also in malformed ones."""
    number = DTYPE_NUMBERS[dtype] if draw(_OFTEN) else draw(st.integers(0, 31))
    shape = draw(SHAPES)
    tensor = official().Tensor(dtype=number)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_shape.unknown_rank = draw(_SELDOM)
    size = 1
    for length in shape:
        size *= length
    size = size if 0 <= size <= 16 else 1
    wrong = draw(st.sampled_from([0, 0, 0, 0, 1, -1, 3]))
    if draw(st.booleans()) and number in _SIZES:
        tensor.tensor_content = draw(st.sampled_from([b"\x00", b"\x01", b"\x02", b"\xff"])) * max(
            0, size * _SIZES[number] + wrong
        )
    else:
        field = _FIELDS.get(number, "int_val")
        count = size * (2 if number in (8, 18) else 1)
        values = draw(st.lists(st.sampled_from(_VALUES[field]), min_size=1, max_size=2))
        getattr(tensor, field).extend((values * (count + 3))[: max(0, count + wrong)])
    return tensor


@st.composite
def predict_calls(draw: st.DrawFn) -> GeneratedRequest:
    """Draw a Predict call: inputs may be missing, unknown, or malformed; outputs may be selected."""
    signature = draw(st.sampled_from(sorted(SIGNATURES)))
    request = official().Predict()
    request.model_spec.name, request.model_spec.signature_name = "many", signature
    for alias, (_, dtype) in SIGNATURES[signature].items():
        if draw(_OFTEN):
            request.inputs[alias].CopyFrom(draw(tensors(dtype)))
    if draw(_SELDOM):
        request.inputs["bogus"].CopyFrom(draw(tensors("float32")))
    if draw(_SELDOM):
        request.output_filter.extend(draw(st.lists(st.sampled_from(["y", "z", "nope"]), min_size=1, max_size=2)))
    kills = any(tensor.dtype in KILLING_NUMBERS for tensor in request.inputs.values())
    return GeneratedRequest("Predict", request.SerializeToString(), signature, kills)


# ---- tf.Examples

_FEATURES = st.dictionaries(
    st.sampled_from("xyks"), st.sampled_from([1.5, 0.1, 1, -(2**63), b"a", b"\xff"]), max_size=3
)


@st.composite
def example_inputs(draw: st.DrawFn) -> Any:
    """Draw an Input: up to 3 examples, with a context or without, seldom of bytes that are no tf.Example."""
    message = official().Input()
    listed = message.example_list_with_context if draw(_SELDOM) else message.example_list
    for features in draw(st.lists(_FEATURES, max_size=3)):
        example = listed.examples.add()
        for name, value in {"x": 1.0, **features}.items():
            kind = {float: "float_list", int: "int64_list", bytes: "bytes_list"}[type(value)]
            getattr(example.features.feature[name], kind).value.append(value)
    return message


@st.composite
def example_calls(draw: st.DrawFn) -> GeneratedRequest:
    """Draw a Classify, Regress or MultiInference call."""
    method = draw(st.sampled_from(["Classify", "Regress", "MultiInference"]))
    signatures = st.sampled_from([*EXAMPLE_SIGNATURES, "t_st", "two", "nope"])
    signature = draw(signatures)
    request = getattr(official(), method)(input=draw(example_inputs()))
    if method != "MultiInference":
        request.model_spec.name, request.model_spec.signature_name = "many", signature
        return GeneratedRequest(method, request.SerializeToString(), signature)
    for name in (signature, *draw(st.lists(signatures, max_size=2))):
        kind = name.partition("_")[0] if draw(_OFTEN) else "predict"
        task = request.tasks.add(method_name=f"tensorflow/serving/{kind}")
        task.model_spec.name, task.model_spec.signature_name = "many", name
    return GeneratedRequest(method, request.SerializeToString(), signature)


# ---- REST

_TOKENS: dict[str, list[bytes]] = {
    "integer": [b"0", b"1", b"-1", b"127"],
    "float": [
        b"0",
        b"1.5",
        b"-0.0",
        b"16777217",
        b"9007199254740993",
        b"1e39",
        b"1e-400",
        b"NaN",
        b"Inf",
        b"-Infinity",
    ],
    "bool": [b"true", b"false"],
    "string": [b'"a"', b'""', b'"\xff"', b'{"b64":"YQ"}', b'{"b64":"/w=="}', rb'"\ud83d\ude00"', rb'"\u0000"'],
}
_ODD_TOKENS = st.sampled_from(
    rb'2147483648 -9223372036854775809 18446744073709551616 1e400 null {} [] "\ud800" {"b64":"?"} {"b64":1}'.split()
    + rb'{"b64":"YQ","b64":"YQ"} [[1]] 1.5 "a" true 1 ?'.split()
    + [b"1" * 400]
)
_JSON_SHAPES = st.sampled_from(
    [(), (1,), (1,), (2,), (2,), (3,), (0,), (2, 2), (2, 1), (1, 3), (1, 0), (1, 1, 2)]
    + [(1,) * rank for rank in (32, 33, 64, 65, 70, 254, 255, 400)]
)
_ENDS = st.sampled_from([b""] * 12 + [b" // comment", b" {}", b"x", b" \n"])


def _kind(dtype: str) -> str:
    kinds = {"bool": "bool", "string": "string"}
    return kinds.get(dtype, "integer" if "int" in dtype else "float")


@st.composite
def json_values(draw: st.DrawFn, dtype: str) -> bytes:
    """Draw the value of an input: lists of a shape, mostly with values of the dtype."""
    tokens = draw(st.lists(st.sampled_from(_TOKENS[_kind(dtype)]), min_size=1, max_size=2))
    if draw(_SELDOM):
        tokens[0] = draw(_ODD_TOKENS)
    text = tokens[0]
    for level, size in enumerate(reversed(draw(_JSON_SHAPES))):
        items = [text] * size
        if items and level == 0:
            items[-1] = tokens[-1]
        text = b"[" + b",".join(items) + b"]"
    return text


def _json_name(name: str) -> bytes:
    return json.dumps(name, ensure_ascii=False).encode(errors="surrogateescape")


def json_object(pairs: list[tuple[str, bytes]]) -> bytes:
    """Return an object; names may be repeated."""
    return b"{" + b",".join(_json_name(name) + b":" + value for name, value in pairs) + b"}"


@st.composite
def json_bodies(draw: st.DrawFn) -> GeneratedRequest:
    """Draw the body of a Predict request, in any form."""
    signature = draw(st.sampled_from(sorted(SIGNATURES)))
    inputs = SIGNATURES[signature]

    def named() -> bytes:
        pairs = [(alias, draw(json_values(dtype))) for alias, (_, dtype) in inputs.items() if draw(_OFTEN)]
        if draw(_SELDOM):
            pairs.append(("x", draw(json_values("float32"))))
        return json_object(pairs)

    def plain() -> bytes:
        return draw(json_values(next(iter(inputs.values()))[1] if inputs else "float32"))

    make = named if draw(st.booleans()) else plain
    if draw(st.booleans()):
        pairs = [("inputs", make())]
    else:
        pairs = [("instances", b"[" + b",".join([make()] * draw(st.sampled_from([1, 1, 2, 0]))) + b"]")]
    pairs.append(("signature_name", json.dumps(signature).encode()))
    if draw(_SELDOM):
        pairs.append(draw(st.sampled_from([("inputs", b"[1]"), ("signature_name", b'"nope"'), ("other", b"[NaN]")])))
    body = json_object(pairs) + draw(_ENDS)
    if draw(_SELDOM):
        body = body[: draw(st.integers(0, len(body)))]
    return GeneratedRequest("predict", body, signature)


@st.composite
def json_examples(draw: st.DrawFn) -> GeneratedRequest:
    """Draw the body of a Classify or Regress request."""
    signature = draw(st.sampled_from([*EXAMPLE_SIGNATURES, "t_st", "nope"]))
    method = draw(st.sampled_from(["classify", "regress"]))
    tokens = st.one_of(st.sampled_from(_TOKENS["float"]), st.sampled_from(_TOKENS["string"]), _ODD_TOKENS)
    pairs = st.lists(st.tuples(st.sampled_from("xxyks\udce0"), tokens), max_size=3)
    listed = b",".join(json_object([("x", b"1.5"), *draw(pairs)]) for _ in range(draw(st.integers(0, 2))))
    fields = [("examples", b"[" + listed + b"]"), ("signature_name", json.dumps(signature).encode())]
    if draw(_SELDOM):
        fields.append(("context", json_object(draw(pairs))))
    return GeneratedRequest(method, json_object(fields) + draw(_ENDS), signature)


def generated_requests() -> st.SearchStrategy[GeneratedRequest]:
    """Return the strategy of all requests."""
    return st.one_of(predict_calls(), json_bodies(), predict_calls(), json_bodies(), example_calls(), json_examples())
