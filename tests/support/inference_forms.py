"""Requests of the Open Inference Protocol in each of its four forms, written without the code of the gateway."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from http_calls import fetch
from optional import require_package

__all__ = ["FORMS", "Answer", "Input", "stub_of"]

HEADER = "inference-header-content-length"
NUMPY = {"BOOL": "?", "INT8": "i1", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
CONTENTS = {"BOOL": "bool", "INT8": "int", "INT32": "int", "INT64": "int64", "FP32": "fp32", "FP64": "fp64"}


@dataclass(frozen=True)
class Input:
    """An input tensor: strings as bytes, and numbers, flat."""

    name: str
    datatype: str
    shape: Sequence[int]
    values: Sequence[Any]

    @property
    def raw(self) -> bytes:
        """The bytes of the elements."""
        if self.datatype in NUMPY:
            return np.array(self.values, NUMPY[self.datatype]).tobytes()
        return b"".join(struct.pack("<I", len(value)) + value for value in self.values)

    @property
    def described(self) -> dict[str, Any]:
        """The tensor without its elements."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Answer:
    """An answer: outputs by name, strings as bytes; or the message of an error. `code` is OK or the gRPC code."""

    code: str
    outputs: Mapping[str, Any]
    message: str = ""


CODES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 500: "INTERNAL"}


def stub_of(channel: grpc.Channel) -> Any:
    """Return the stub of the package open-inference-grpc."""
    return require_package("open_inference.grpc.service").GRPCInferenceServiceStub(channel)


def _ask_rest(api: Any, model: str, inputs: Sequence[Input], parameters: Any, *, binary: bool) -> Answer:
    tensors: list[dict[str, Any]] = [tensor.described for tensor in inputs]
    data, headers = b"", {}
    for tensor, described in zip(inputs, tensors, strict=True):
        if binary:
            described["parameters"] = {"binary_data_size": len(tensor.raw)}
            data += tensor.raw
        else:
            described["data"] = [value.decode() if isinstance(value, bytes) else value for value in tensor.values]
    choice = {"binary_data_output": True} if binary else {}
    document = json.dumps({"inputs": tensors, "parameters": {**parameters, **choice}}).encode()
    if binary:
        headers = {HEADER: str(len(document))}
    status, received, body = fetch(f"{api.url}/v2/models/{model}/infer", document + data, headers=headers)
    if status != 200:
        return Answer(CODES[status], {}, json.loads(body)["error"])
    size = int({name.lower(): value for name, value in received.items()}.get(HEADER, len(body)))
    outputs = {}
    for described in json.loads(body[:size])["outputs"]:
        length = described.get("parameters", {}).get("binary_data_size", 0)
        values = _values(described["datatype"], body[size : size + length], described.get("data"))
        outputs[described["name"]] = np.array(values).reshape(described["shape"]).tolist()
        size += length
    assert size == len(body)
    return Answer("OK", outputs)


def _ask_grpc(api: Any, model: str, inputs: Sequence[Input], parameters: Any, *, raw: bool) -> Answer:
    pb = require_package("open_inference.grpc.protocol")
    request = pb.ModelInferRequest(model_name=model, inputs=[tensor.described for tensor in inputs])
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    for tensor, message in zip(inputs, request.inputs, strict=True):
        if raw:
            request.raw_input_contents.append(tensor.raw)
        else:
            field = f"{CONTENTS.get(tensor.datatype, 'bytes')}_contents"
            getattr(message.contents, field).extend(tensor.values)
    try:
        with grpc.insecure_channel(api.address) as channel:
            response = stub_of(channel).ModelInfer(request, timeout=20)
    except grpc.RpcError as error:
        return Answer(error.code().name, {}, error.details())
    outputs = {}
    assert len(response.raw_output_contents) == (len(response.outputs) if raw else 0)
    for index, message in enumerate(response.outputs):
        field = f"{CONTENTS.get(message.datatype, 'bytes')}_contents"
        data = response.raw_output_contents[index] if raw else b""
        values = _values(message.datatype, data, None if raw else list(getattr(message.contents, field)))
        outputs[message.name] = np.array(values).reshape(list(message.shape)).tolist()
    return Answer("OK", outputs)


def _values(datatype: str, data: bytes, elements: list[Any] | None) -> Any:
    """Return the elements of an output: those of a list, or those in bytes."""
    if elements is not None and datatype in NUMPY:
        return np.array(elements, NUMPY[datatype])
    if elements is not None:
        return [value.encode() if isinstance(value, str) else value for value in elements]
    if datatype in NUMPY:
        return np.frombuffer(data, NUMPY[datatype])
    values = []
    while data:
        (length,) = struct.unpack("<I", data[:4])
        values.append(data[4 : 4 + length])
        data = data[4 + length :]
    return values


FORMS: Mapping[str, Callable[..., Answer]] = {
    "json": lambda *arguments: _ask_rest(*arguments, binary=False),
    "bytes after json": lambda *arguments: _ask_rest(*arguments, binary=True),
    "contents": lambda *arguments: _ask_grpc(*arguments, raw=False),
    "raw contents": lambda *arguments: _ask_grpc(*arguments, raw=True),
}
"""How to ask in each form: arguments are the API (`url`, `address`), the model, the inputs, the parameters."""
