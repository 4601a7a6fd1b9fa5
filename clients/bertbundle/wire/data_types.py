"""The dtypes of tensors: TensorFlow's numbers and names, numpy's dtypes, and the fields that hold the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["BFLOAT16", "BY_DTYPE", "BY_NUMBER", "DATA_TYPES", "FIXED_WIDTH", "DataType", "dtype_name"]


@dataclass(frozen=True, slots=True)
class DataType:
    """A dtype: number and name in TensorFlow's types.proto, numpy dtypes, and the field that contains the values.

    numpy has no bfloat16 and no quantized numbers: their numpy dtype is a structure with one field of the dtype's name.

    Attributes:
        number, name: number and name of the dtype.
        numpy: numpy dtype of the values.
        field: the field of a tensor that contains the values.
        stored: numpy dtype of the numbers in `field`: bits of half and bfloat16, two parts of each complex number.
    """

    number: int
    name: str
    numpy: np.dtype[Any]
    field: str
    stored: np.dtype[Any]


def _structure(name: str, stored: str) -> np.dtype[Any]:
    return np.dtype([(name, stored)])


def _data_type(number: int, name: str, dtype: np.dtype[Any], field: str) -> DataType:
    """Return a row of the table, with the dtype of the stored numbers."""
    if field == "half_val":
        return DataType(number, name, dtype, field, np.dtype("<u2"))
    if dtype.kind == "c":
        return DataType(number, name, dtype, field, np.dtype(f"<f{dtype.itemsize // 2}"))
    return DataType(number, name, dtype, field, dtype[0] if dtype.names else dtype)


BFLOAT16 = _structure("bfloat16", "<u2")
"""The numpy dtype of bfloat16: its bits."""

# Source: tensorflow/core/framework/types.proto and the field comments in tensor.proto. Resources and variants are
# missing on purpose: a caller could make a server crash with them.
DATA_TYPES: tuple[DataType, ...] = (
    _data_type(1, "float", np.dtype("<f4"), "float_val"),
    _data_type(2, "double", np.dtype("<f8"), "double_val"),
    _data_type(3, "int32", np.dtype("<i4"), "int_val"),
    _data_type(4, "uint8", np.dtype("u1"), "int_val"),
    _data_type(5, "int16", np.dtype("<i2"), "int_val"),
    _data_type(6, "int8", np.dtype("i1"), "int_val"),
    _data_type(7, "string", np.dtype("O"), "string_val"),
    _data_type(8, "complex64", np.dtype("<c8"), "scomplex_val"),
    _data_type(9, "int64", np.dtype("<i8"), "int64_val"),
    _data_type(10, "bool", np.dtype("?"), "bool_val"),
    _data_type(11, "qint8", _structure("qint8", "i1"), "int_val"),
    _data_type(12, "quint8", _structure("quint8", "u1"), "int_val"),
    _data_type(13, "qint32", _structure("qint32", "<i4"), "int_val"),
    _data_type(14, "bfloat16", BFLOAT16, "half_val"),
    _data_type(15, "qint16", _structure("qint16", "<i2"), "int_val"),
    _data_type(16, "quint16", _structure("quint16", "<u2"), "int_val"),
    _data_type(17, "uint16", np.dtype("<u2"), "int_val"),
    _data_type(18, "complex128", np.dtype("<c16"), "dcomplex_val"),
    _data_type(19, "half", np.dtype("<f2"), "half_val"),
    _data_type(22, "uint32", np.dtype("<u4"), "uint32_val"),
    _data_type(23, "uint64", np.dtype("<u8"), "uint64_val"),
)
BY_NUMBER = {data_type.number: data_type for data_type in DATA_TYPES}
BY_DTYPE = {data_type.numpy: data_type for data_type in DATA_TYPES}
FIXED_WIDTH: dict[str, np.dtype[Any]] = {
    "float_val": np.dtype("<f4"),
    "double_val": np.dtype("<f8"),
    "scomplex_val": np.dtype("<f4"),
    "dcomplex_val": np.dtype("<f8"),
}
"""The numpy dtype of the numbers in a packed field that has a fixed width; the other fields have varints."""


def dtype_name(number: int) -> str:
    """Return the name of a dtype number as in TensorFlow's error messages: ``dtype_name(3) == "int32"``."""
    data_type = BY_NUMBER.get(number)
    return data_type.name if data_type else f"unknown dtype enum ({number})"
