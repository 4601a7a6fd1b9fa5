"""The messages of the Open Inference Protocol over gRPC: tensors from a request, and tensors into a response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_gateway.compatible_apis.open_inference_models import (
    Inference,
    Tensors,
    check_parameters,
    model_ref,
    named_tensors,
)
from bertbundle_gateway.compatible_apis.open_inference_raw import RAW_ONLY, array_from_raw, raw_from_array
from bertbundle_gateway.compatible_apis.open_inference_tensors import (
    DATA_TYPES,
    data_type,
    invalid_tensor,
    shaped,
    tensor_field,
    utf8_values,
)
from bertbundle_gateway.core.errors import invalid_request
from bertbundle_gateway.protos import _open_inference_pb2 as pb

__all__ = ["read_inference", "write_response"]

_FIELDS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of InferTensorContents for each data type."""


def read_inference(request: pb.ModelInferRequest, timeout: float) -> Inference:
    """Return a request as the core of the protocol takes it.

    Raises:
        RequestError: a tensor or a parameter is wrong.
    """
    for output in request.outputs:
        check_parameters(output.name, _values(output.parameters), {"binary_data": False})
    return Inference(
        model_ref(request.model_name, request.model_version or None),
        named_tensors(list(_inputs(request))),
        _values(request.parameters),
        [output.name for output in request.outputs],
        timeout,
    )


def _values(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    """Return parameters as Python values.

    Raises:
        RequestError: one has no value.
    """
    values = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is None:
            raise invalid_request("INVALID_OPTION", f"The parameter {name:.40} has no value.", field="parameters")
        values[name] = getattr(parameter, kind)
    return values


def _inputs(request: pb.ModelInferRequest) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    raw = request.raw_input_contents
    if not raw:
        for tensor in request.inputs:
            check_parameters(tensor.name, _values(tensor.parameters), {"content_type": "str"})
            yield tensor.name, _array_from_contents(tensor)
        return
    if len(raw) != len(request.inputs):
        message = f"raw_input_contents has {len(raw)} tensors, inputs has {len(request.inputs)}. Send one for each."
        raise invalid_request("INVALID_INPUTS", message, field="raw_input_contents")
    for tensor, data in zip(request.inputs, raw, strict=True):
        # KServe's client sends the size over gRPC, too.
        accepted = {"content_type": "str", "binary_data_size": len(data)}
        check_parameters(tensor.name, _values(tensor.parameters), accepted)
        if tensor.contents.ListFields():
            raise invalid_tensor(
                tensor_field(tensor.name), "there are raw_input_contents and contents. Send one of them"
            )
        yield tensor.name, array_from_raw(tensor.name, tensor.datatype, tensor.shape, data)


def _array_from_contents(tensor: pb.ModelInferRequest.InferInputTensor) -> npt.NDArray[Any]:
    """Return an input tensor whose elements are in the field of its data type.

    Raises:
        RequestError: it has no such field, elements in others, or not as many as its shape.
    """
    field, datatype = tensor_field(tensor.name), tensor.datatype
    if datatype not in _FIELDS:
        more = ". Send it in raw_input_contents" if datatype in RAW_ONLY else f", expected one of {', '.join(_FIELDS)}"
        raise invalid_tensor(field, f"datatype is {datatype!r:.40}{more}")
    others = {filled.name for filled, _ in tensor.contents.ListFields()} - {_FIELDS[datatype]}
    if others:
        raise invalid_tensor(field, f"a tensor of {datatype} has contents.{_FIELDS[datatype]}, not {min(others)}")
    elements = getattr(tensor.contents, _FIELDS[datatype])
    values = np.empty(len(elements), np.object_ if datatype == "BYTES" else _STORED.get(datatype, DATA_TYPES[datatype]))
    for start in range(0, len(values), _CHUNK):
        values[start : start + _CHUNK] = elements[start : start + _CHUNK]
    narrowed = values.astype(DATA_TYPES[datatype])
    if datatype in _STORED and not np.array_equal(narrowed, values):
        raise invalid_tensor(field, f"data has values that are out of the range of {datatype}")
    return shaped(field, narrowed, tensor.shape)


_CHUNK = 65_536
"""Elements that are copied at a time: meanwhile no other thread has the interpreter."""
_STORED: Mapping[str, Any] = {"INT8": np.int32, "INT16": np.int32, "UINT8": np.uint32, "UINT16": np.uint32}
"""The numpy type of the field for data types that are smaller."""


def write_response(request: pb.ModelInferRequest, outputs: Tensors, version: int) -> pb.ModelInferResponse:
    """Return the response with outputs, as bytes if the inputs were bytes or if an output has no other form.

    Raises:
        RequestError: an output has a type that the protocol does not have.
    """
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=str(version), id=request.id)
    datatypes = {name: data_type(array) for name, array in outputs.items()}
    is_raw = bool(request.raw_input_contents) or any(datatype in RAW_ONLY for datatype in datatypes.values())
    for name, array in outputs.items():
        tensor = response.outputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        if is_raw:
            response.raw_output_contents.append(raw_from_array(array))
        else:
            elements = utf8_values(array) if datatypes[name] == "BYTES" else array.ravel().tolist()
            getattr(tensor.contents, _FIELDS[datatypes[name]]).extend(elements)
    return response
