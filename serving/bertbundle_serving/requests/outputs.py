"""Outputs as a server encodes them: strings in ``tensor_content``, too, if it is asked to use that."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import encode_tensor

__all__ = ["encode_outputs"]


def encode_outputs(outputs: Arrays, *, as_content: bool) -> dict[str, wire.Tensor]:
    """Return the wire form of outputs by name; see `bertbundle.wire.tensors.encode_tensor`."""
    return {name: _encode(array, as_content=as_content) for name, array in outputs.items()}


def _encode(array: npt.NDArray[Any], *, as_content: bool) -> wire.Tensor:
    tensor = encode_tensor(array, as_content=as_content)
    if as_content and tensor.string_val:
        strings = list(tensor.string_val)
        tensor.ClearField("string_val")
        tensor.tensor_content = _lengths(strings) + b"".join(strings)
    return tensor


def _lengths(strings: list[bytes]) -> bytes:
    """Return the lengths as varints (EncodeStringList in tensorflow/core/platform/tensor_coding.cc)."""
    sizes = np.array([len(string) for string in strings], np.int64)
    packed: bytes = encode_tensor(sizes, as_content=False).int64_val[0]
    return packed
