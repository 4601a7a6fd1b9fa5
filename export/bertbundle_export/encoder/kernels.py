"""The operations that take most of an encoder's time, as TensorFlow graph nodes: public ones, or oneDNN's fused ones.

In float32 the public operations are fastest: TensorFlow's optimizer fuses MatMul, BiasAdd and the activation.

In bfloat16 the weight matrix of a product must be rearranged for the CPU. TensorFlow does this only once if the matrix
is a constant in the graph, but then loading takes seconds and gigabytes more (figures: docs/decisions/0029); otherwise
it does this at every call. So the fused node is written into the graph as the optimizer would write it, with a variable
as the matrix and with `is_filter_const` set: the variables of a served model never change. The fused nodes are not
public operations; builds of TensorFlow without them, as for some CPUs, use public ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from bertbundle_export.encoder.int8 import QuantizedKernel

__all__ = [
    "Int8Kernels",
    "Int8Matrix",
    "Kernels",
    "OneDnnKernels",
    "PublicKernels",
    "choose_kernels",
    "has_int8",
    "has_onednn",
]


class Kernels(Protocol):
    """Writes the operations for matrices of dtype float32 or bfloat16."""

    def dense(
        self, x: Any, kernel: Any, bias: Any, *, activation: str | None = None, residual: Any = None, dtype: Any = None
    ) -> Any:
        """Return ``activation(x @ kernel + bias + residual)`` for x ``[rows, in]``, in x's dtype or in `dtype`."""

    def normalize(self, x: Any, rows: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
        """Return the layer normalization of each row of x, ``[rows, H]``; `rows` is an int32 scalar."""

    def scores(self, query: Any, key: Any, scale: float, mask: Any) -> Any:
        """Return ``query @ key^T * scale + mask``, ``[batch, heads, length, length]``."""


def choose_kernels(precision: str) -> Kernels:
    """Return the kernels for "float32", "bfloat16" or "int8"; public ones if this TensorFlow has no oneDNN kernels."""
    if precision == "int8" and has_int8():
        return Int8Kernels()
    return OneDnnKernels() if precision == "bfloat16" and has_onednn(precision) else PublicKernels()


_DENSE, _NORMALIZE, _SCORES = "_MklNativeFusedMatMul", "_MklLayerNorm", "_MklFusedBatchMatMulV2"
_QUANTIZED = "_QuantizedMatMul"
# Measured on an idle machine for rows of 768 bfloat16 numbers, with public operations and with oneDNN's: 64 rows take
# 52 and 113 us, 96 rows 126 and 106 us, 128 rows 204 and 136 us, 1024 rows 800 and 256 us.
_MIN_ROWS_FOR_ONEDNN = 96
_LABEL = "MklNameChangeOp"  # label of the oneDNN kernels that use TensorFlow's own memory layout


def has_onednn(dtype: str) -> bool:
    """Return whether this TensorFlow has oneDNN's kernels for a dtype."""
    return all(_has_kernel(name, T=dtype) for name in (_DENSE, _NORMALIZE, _SCORES))


def has_int8() -> bool:
    """Return whether this TensorFlow has oneDNN's kernels of `Int8Kernels`."""
    types = {"T1": "quint8", "T2": "qint8", "Tbias": "float32", "U": "float32", "Tout": "float32"}
    return has_onednn("float32") and _has_kernel(_QUANTIZED, **types)


def _has_kernel(operation: str, **types: str) -> bool:
    """Return whether an operation has a kernel for the CPU with these dtypes."""
    from tensorflow.python.framework import kernels

    from bertbundle_export.tensorflow_import import tf

    numbers = {name: tf.as_dtype(dtype).as_datatype_enum for name, dtype in types.items()}
    return any(
        kernel.device_type == "CPU"
        and all(numbers[item.name] in item.allowed_values.list.type for item in kernel.constraint if item.name in types)
        for kernel in kernels.get_registered_kernels_for_op(operation).kernel
    )


class OneDnnKernels:
    """One node per operation; attention and layer normalization accumulate in float32 for both dtypes."""

    _ACTIVATIONS = {"gelu": "GeluExact", "gelu_new": "GeluApproximate", "relu": "Relu"}  # noqa: RUF012

    def dense(
        self, x: Any, kernel: Any, bias: Any, *, activation: str | None = None, residual: Any = None, dtype: Any = None
    ) -> Any:
        """See `Kernels.dense`."""
        arguments = [bias] if residual is None else [bias, residual]
        fused = ["BiasAdd"] if residual is None else ["BiasAdd", "Add"]
        if activation:
            fused.append(self._ACTIVATIONS[activation])
        attributes = {"num_args": len(arguments), "fused_ops": fused, "is_filter_const": True, "_kernel": _LABEL}
        return _in(dtype, _node(_DENSE, [x, kernel, *arguments], **attributes))

    def normalize(self, x: Any, rows: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
        """See `Kernels.normalize`. For few rows public operations are faster: they have less overhead."""
        from bertbundle_export.tensorflow_import import tf

        gamma, beta = tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta)
        return tf.cond(
            rows < _MIN_ROWS_FOR_ONEDNN,
            lambda: PublicKernels().normalize(x, rows, gamma, beta, epsilon),
            lambda: _node(_NORMALIZE, [x, gamma, beta], epsilon=epsilon),
        )

    def scores(self, query: Any, key: Any, scale: float, mask: Any) -> Any:
        """See `Kernels.scores`."""
        factor = _constant_like(query, scale)
        return _node(_SCORES, [query, key, factor, mask], adj_y=True, num_args=2, fused_ops=["Mul", "Add"])


class PublicKernels:
    """Public operations in the form that TensorFlow's optimizer fuses best."""

    def dense(
        self, x: Any, kernel: Any, bias: Any, *, activation: str | None = None, residual: Any = None, dtype: Any = None
    ) -> Any:
        """See `Kernels.dense`."""
        from bertbundle_export.tensorflow_import import tf

        y = tf.nn.bias_add(tf.linalg.matmul(x, kernel), bias)
        if residual is not None:
            y += residual
        return _in(dtype, self._ACTIVATIONS[activation](y) if activation else y)

    def normalize(self, x: Any, rows: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
        """See `Kernels.normalize`."""
        from bertbundle_export.tensorflow_import import tf

        del rows
        wide = tf.cast(x, tf.float32)
        centered = wide - tf.reduce_mean(wide, -1, keepdims=True)
        factor = tf.math.rsqrt(tf.reduce_mean(tf.square(centered), -1, keepdims=True) + epsilon)
        normalized = centered * factor * tf.cast(gamma, tf.float32) + tf.cast(beta, tf.float32)
        return tf.cast(normalized, x.dtype)

    def scores(self, query: Any, key: Any, scale: float, mask: Any) -> Any:
        """See `Kernels.scores`."""
        from bertbundle_export.tensorflow_import import tf

        return tf.linalg.matmul(query, key, transpose_b=True) * _constant_like(query, scale) + mask

    @staticmethod
    def _gelu(x: Any) -> Any:
        """Write gelu with Erf: the optimizer fuses that form, but not the Erfc of Keras' gelu."""
        from bertbundle_export.tensorflow_import import tf

        return _constant_like(x, 0.5) * x * (_constant_like(x, 1) + tf.math.erf(x * _constant_like(x, np.sqrt(0.5))))

    @staticmethod
    def _gelu_new(x: Any) -> Any:
        from bertbundle_export.tensorflow_import import tf

        return tf.nn.gelu(x, approximate=True)

    @staticmethod
    def _relu(x: Any) -> Any:
        from bertbundle_export.tensorflow_import import tf

        return tf.nn.relu(x)

    _ACTIVATIONS = {"gelu": _gelu, "gelu_new": _gelu_new, "relu": _relu}  # noqa: RUF012


class Int8Matrix:
    """A kernel in int8 as a variable, and the ranges of its columns and of its input as constants.

    Args:
        kernel: the values.
        name: name of the variable.
    """

    def __init__(self, kernel: QuantizedKernel, name: str) -> None:
        from bertbundle_export.tensorflow_import import tf

        self.kernel = kernel
        self.variable = tf.Variable(kernel.values, trainable=False, name=name.replace("/", "_"))

    def quantize(self, x: Any) -> tuple[Any, Any, Any]:
        """Return float32 ``[rows, in]`` as quint8, and the smallest and largest value of its range."""
        from bertbundle_export.tensorflow_import import tf

        factors = self.kernel.factors
        smooth = x if (factors == 1).all() else x * tf.constant(factors)
        low, high = self.kernel.range
        return tuple(tf.raw_ops.QuantizeV2(input=smooth, min_range=low, max_range=high, T=tf.quint8, mode="MIN_FIRST"))


_GUARD_SIZE = 64
_OVERFLOW = (
    "the int8 products of this SavedModel overflow on this processor, which has neither VNNI nor AMX. Export the model "
    "with --precision float32."
)


class Int8Kernels(OneDnnKernels):
    """One node per product of quint8 rows with an int8 kernel, with all that follows it; else as `OneDnnKernels`."""

    def dense(
        self, x: Any, kernel: Any, bias: Any, *, activation: str | None = None, residual: Any = None, dtype: Any = None
    ) -> Any:
        """See `Kernels.dense`; `kernel` is an `Int8Matrix`."""
        from bertbundle_export.tensorflow_import import tf

        rows, *row_range = kernel.quantize(x)
        scale = kernel.kernel.scale * 127
        values = tf.bitcast(kernel.variable, tf.qint8)
        added = [] if residual is None else [residual]
        fused = ["BiasAdd", *(["Add"] if added else []), *([self._ACTIVATIONS[activation]] if activation else [])]
        return _quantized_node(
            [rows, values, tf.cast(bias, x.dtype), *added], [*row_range, -scale, scale], fused, dtype or x.dtype
        )

    def guarded(self, ids: Any) -> Any:
        """Return `ids`, or fail when the graph runs on a processor whose sums overflow: its results would be wrong.

        There, pairs of products are added in 16 bits (figures: docs/decisions/0065), so that a product of the largest
        values is about half of what it should be.
        """
        from bertbundle_export.tensorflow_import import tf

        ones = tf.ones([1, _GUARD_SIZE])
        rows = tf.raw_ops.QuantizeV2(input=ones, min_range=0.0, max_range=1.0, T=tf.quint8, mode="MIN_FIRST")
        values = tf.bitcast(tf.fill([_GUARD_SIZE, 1], tf.constant(127, tf.int8)), tf.qint8)
        total = _quantized_node([rows[0], values, tf.zeros([1])], [*rows[1:], [-1.0], [1.0]], ["BiasAdd"], tf.float32)
        is_exact = tf.reduce_all(tf.abs(total - _GUARD_SIZE) < 1)
        with tf.control_dependencies([tf.debugging.Assert(is_exact, [_OVERFLOW])]):
            return tf.identity(ids)


def _quantized_node(inputs: Sequence[Any], ranges: Sequence[Any], fused: Sequence[str], dtype: Any) -> Any:
    """Add a quantized product, whose result is dequantized to `dtype`."""
    from bertbundle_export.tensorflow_import import tf

    tensors = [tf.convert_to_tensor(value) for value in inputs]
    hosts = [tf.convert_to_tensor(value, tf.float32) for value in ranges]
    kinds = {"T1": tensors[0].dtype, "T2": tensors[1].dtype, "Tbias": tensors[2].dtype, "U": dtype, "Tout": dtype}
    lists = {
        "Tdevice_inputs": [tensor.dtype for tensor in tensors],
        "Thost_inputs": [tensor.dtype for tensor in hosts],
        "Tdevice_outputs": [dtype],
        "Thost_outputs": [],
    }
    attributes = {**kinds, **lists, "fused_ops": [*fused, "Dequantize"], "input_quant_mode": "MIN_FIRST"}
    values = {name: _attribute(value) for name, value in attributes.items()}
    graph = tf.compat.v1.get_default_graph()
    return graph.create_op(_QUANTIZED, [*tensors, *hosts], [dtype], attrs=values, name="QuantizedMatMul").outputs[0]


def _in(dtype: Any, x: Any) -> Any:
    from bertbundle_export.tensorflow_import import tf

    return x if dtype is None else tf.cast(x, dtype)


def _constant_like(x: Any, value: float) -> Any:
    from bertbundle_export.tensorflow_import import tf

    return tf.constant(value, x.dtype)


def _node(operation: str, inputs: Sequence[Any], **attributes: Any) -> Any:
    """Add a node of an operation that has no Python function."""
    from bertbundle_export.tensorflow_import import tf

    tensors = [tf.convert_to_tensor(value) for value in inputs]
    attributes["T"] = tensors[0].dtype
    values = {name: _attribute(value) for name, value in attributes.items()}
    graph = tf.compat.v1.get_default_graph()
    name = operation.lstrip("_")  # a node's name must not begin with an underscore
    return graph.create_op(operation, tensors, [tensors[0].dtype], attrs=values, name=name).outputs[0]


def _attribute(value: Any) -> Any:
    """Return a bool, int, float, str or dtype, or a list of str or dtypes, as an AttrValue."""
    from tensorflow.core.framework.attr_value_pb2 import AttrValue

    from bertbundle_export.tensorflow_import import tf

    if isinstance(value, list):
        texts = [item.encode() for item in value if isinstance(item, str)]
        types = [item.as_datatype_enum for item in value if isinstance(item, tf.DType)]
        return AttrValue(list=AttrValue.ListValue(s=texts, type=types))
    if isinstance(value, tf.DType):
        return AttrValue(type=value.as_datatype_enum)
    if isinstance(value, str):
        return AttrValue(s=value.encode())
    return AttrValue(**{{bool: "b", int: "i", float: "f"}[type(value)]: value})
