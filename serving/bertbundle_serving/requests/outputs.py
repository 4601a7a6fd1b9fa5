"""Encode string outputs as ``tensor_content``: TensorFlow Serving does so if it is configured to use it."""

from __future__ import annotations

import numpy as np

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import encode_tensor

__all__ = ["pack_strings"]


def pack_strings(tensor: wire.Tensor) -> None:
    """Move the values of a string tensor from ``string_val`` to ``tensor_content``: all lengths, then all bytes.

    Source: EncodeStringList in tensorflow/core/platform/tensor_coding.cc; the lengths are varints.
    """
    strings = list(tensor.string_val)
    sizes = np.array([len(string) for string in strings], np.int64)
    packed: bytes = encode_tensor(sizes, as_content=False).int64_val[0]
    tensor.ClearField("string_val")
    tensor.tensor_content = packed + b"".join(strings)
