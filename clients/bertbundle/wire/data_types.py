"""The dtypes of tensors: TensorFlow's numbers and names, numpy's dtypes, and the fields that hold the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BFLOAT16", "BY_DTYPE", "BY_NUMBER", "DATA_TYPES", "FIXED_WIDTH", "DataType", "dtype_name"]


@dataclass(frozen=True, slots=True)
class DataType:
    """A dtype: number and name in TensorFlow's types.proto, numpy dtype, and the field of its values.

    numpy has no bfloat16 and no quantized numbers: their numpy dtype is a structure with one field of the dtype's name.
    """

    number: int
    name: str
    numpy: np.dtype[Any]
    field: str

    @property
    def stored(self) -> np.dtype[Any]:
        """The numpy dtype of the numbers in `field`: bits of half and bfloat16, both parts of complex numbers."""
        if self.field == "half_val":
            return np.dtype("<u2")
        if self.numpy.kind == "c":
            return np.dtype(f"<f{self.numpy.itemsize // 2}")
        return self.numpy[0] if self.numpy.names else self.numpy

    def to_stored(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the numbers that `field` holds for contiguous values, as a vector."""
        return values.reshape(-1).view(self.stored) if self.stored != self.numpy else values.reshape(-1)

    def from_stored(self, numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the values of the numbers in `field`. A complex number without imaginary part is dropped."""
        stored = numbers.astype(self.stored, copy=False)
        per_value = self.numpy.itemsize // stored.itemsize
        return stored[: stored.size - stored.size % per_value].view(self.numpy)


def _structure(name: str, stored: str) -> np.dtype[Any]:
    return np.dtype([(name, stored)])


BFLOAT16 = _structure("bfloat16", "<u2")
"""The numpy dtype of bfloat16: its bits."""

# Source: tensorflow/core/framework/types.proto and the field comments in tensor.proto. Resources and variants are
# missing on purpose: a caller could make a server crash with them.
DATA_TYPES: tuple[DataType, ...] = (
    DataType(1, "float", np.dtype("<f4"), "float_val"),
    DataType(2, "double", np.dtype("<f8"), "double_val"),
    DataType(3, "int32", np.dtype("<i4"), "int_val"),
    DataType(4, "uint8", np.dtype("u1"), "int_val"),
    DataType(5, "int16", np.dtype("<i2"), "int_val"),
    DataType(6, "int8", np.dtype("i1"), "int_val"),
    DataType(7, "string", np.dtype("O"), "string_val"),
    DataType(8, "complex64", np.dtype("<c8"), "scomplex_val"),
    DataType(9, "int64", np.dtype("<i8"), "int64_val"),
    DataType(10, "bool", np.dtype("?"), "bool_val"),
    DataType(11, "qint8", _structure("qint8", "i1"), "int_val"),
    DataType(12, "quint8", _structure("quint8", "u1"), "int_val"),
    DataType(13, "qint32", _structure("qint32", "<i4"), "int_val"),
    DataType(14, "bfloat16", BFLOAT16, "half_val"),
    DataType(15, "qint16", _structure("qint16", "<i2"), "int_val"),
    DataType(16, "quint16", _structure("quint16", "<u2"), "int_val"),
    DataType(17, "uint16", np.dtype("<u2"), "int_val"),
    DataType(18, "complex128", np.dtype("<c16"), "dcomplex_val"),
    DataType(19, "half", np.dtype("<f2"), "half_val"),
    DataType(22, "uint32", np.dtype("<u4"), "uint32_val"),
    DataType(23, "uint64", np.dtype("<u8"), "uint64_val"),
)
BY_NUMBER = {row.number: row for row in DATA_TYPES}
BY_DTYPE = {row.numpy: row for row in DATA_TYPES}
FIXED_WIDTH: dict[str, np.dtype[Any]] = {
    "float_val": np.dtype("<f4"),
    "double_val": np.dtype("<f8"),
    "scomplex_val": np.dtype("<f4"),
    "dcomplex_val": np.dtype("<f8"),
}
"""The numpy dtype of the numbers in a packed field that has a fixed width; the other fields have varints."""


def dtype_name(number: int) -> str:
    """Return the name of a dtype number as in TensorFlow's error messages: ``dtype_name(3) == "int32"``."""
    row = BY_NUMBER.get(number)
    return row.name if row else f"unknown dtype enum ({number})"
