"""The protocol's extension for tensors as bytes over REST: they follow the JSON document of a request or response.

A header has the size of the JSON document, and a parameter of each such tensor the size of its bytes. It is the default
of the clients of Triton and of KServe. Source: docs/protocol/extension_binary_data.md in
https://github.com/triton-inference-server/server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bertbundle_gateway.compatible_apis.open_inference_models import Tensors
from bertbundle_gateway.compatible_apis.open_inference_raw import raw_from_array
from bertbundle_gateway.compatible_apis.open_inference_tensors import data_type, invalid_tensor, json_tensor
from bertbundle_gateway.core.errors import invalid_request
from bertbundle_gateway.web.json_documents import json_response

__all__ = ["SIZE", "BinaryData", "json_size", "tensors_response"]

SIZE = "binary_data_size"
"""The parameter of a tensor with the number of its bytes."""
_HEADER = "inference-header-content-length"
_MAX_DIGITS = 19


def json_size(request: Request) -> int | None:
    """Return the size of the JSON document at the beginning of a request's body; None if there is nothing else.

    Raises:
        RequestError: the header is not a number.
    """
    size = request.headers.get(_HEADER)
    if size is None:
        return None
    if not (size.isascii() and size.isdigit() and len(size) <= _MAX_DIGITS):
        message = f"The header {_HEADER} must be the number of bytes of the JSON document."
        raise invalid_request("INVALID_FIELD", message, field=_HEADER)
    return int(size)


class BinaryData:
    """The bytes after the JSON document of a request.

    Args:
        data: the bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._used = 0

    def take(self, field: str, size: object) -> bytes:
        """Return the bytes of the next tensor.

        Raises:
            RequestError: `size` is not a number of bytes, or not so many are left.
        """
        left = len(self._data) - self._used
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= left:
            raise invalid_tensor(field, f"{SIZE} must be a number of the {left} bytes that are left after the JSON")
        self._used += size
        return self._data[self._used - size : self._used]

    def check_end(self) -> None:
        """Check that all bytes are used.

        Raises:
            RequestError: some are left.
        """
        left = len(self._data) - self._used
        if left:
            message = f"After the JSON document there are {left} bytes that are of no input. Send {SIZE} with inputs."
            raise invalid_request("INVALID_INPUTS", message, field="inputs")


def tensors_response(document: Mapping[str, Any], outputs: Tensors, is_binary: Callable[[str], bool]) -> Response:
    """Return the response with outputs.

    Args:
        document: the other fields of the response.
        outputs: the outputs by name.
        is_binary: whether an output is to be bytes, by its name.

    Raises:
        RequestError: an output has no form in JSON, but is not to be bytes; or none in the protocol.
    """
    tensors, buffers = [], []
    for name, array in outputs.items():
        if not is_binary(name):
            tensors.append(json_tensor(name, array))
            continue
        raw = raw_from_array(array)
        described = {"name": name, "datatype": data_type(array), "shape": list(array.shape)}
        tensors.append({**described, "parameters": {SIZE: len(raw)}})
        buffers.append(raw)
    response = json_response({**document, "outputs": tensors})
    if not buffers:
        return response
    head = bytes(response.body)
    return Response(
        b"".join((head, *buffers)), headers={_HEADER: str(len(head))}, media_type="application/octet-stream"
    )
