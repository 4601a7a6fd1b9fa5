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

__all__ = ["Kernels", "OneDnnKernels", "PublicKernels", "choose_kernels", "has_onednn"]


class Kernels(Protocol):
    """Writes the operations for matrices of dtype float32 or bfloat16."""

    def dense(self, x: Any, kernel: Any, bias: Any, *, activation: str | None = None, residual: Any = None) -> Any:
        """Return ``activation(x @ kernel + bias + residual)`` for x of shape ``[rows, in]``."""

    def normalize(self, x: Any, rows: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
        """Return the layer normalization of each row of x, ``[rows, H]``; `rows` is an int32 scalar."""

    def scores(self, query: Any, key: Any, scale: float, mask: Any) -> Any:
        """Return ``query @ key^T * scale + mask``, ``[batch, heads, length, length]``."""


def choose_kernels(dtype: str) -> Kernels:
    """Return the kernels for "float32" or "bfloat16"; public ones if this TensorFlow has no oneDNN kernels."""
    return OneDnnKernels() if dtype == "bfloat16" and has_onednn(dtype) else PublicKernels()


_DENSE, _NORMALIZE, _SCORES = "_MklNativeFusedMatMul", "_MklLayerNorm", "_MklFusedBatchMatMulV2"
# Measured on an idle machine for rows of 768 bfloat16 numbers, with public operations and with oneDNN's: 64 rows take
# 52 and 113 us, 96 rows 126 and 106 us, 128 rows 204 and 136 us, 1024 rows 800 and 256 us.
_MIN_ROWS_FOR_ONEDNN = 96
_LABEL = "MklNameChangeOp"  # label of the oneDNN kernels that use TensorFlow's own memory layout


def has_onednn(dtype: str) -> bool:
    """Return whether this TensorFlow has oneDNN's kernels for a dtype."""
    from tensorflow.python.framework import kernels

    from bertbundle_export.tensorflow_import import tf

    number = tf.as_dtype(dtype).as_datatype_enum
    return all(
        any(
            kernel.device_type == "CPU"
            and all(number in item.allowed_values.list.type for item in kernel.constraint if item.name == "T")
            for kernel in kernels.get_registered_kernels_for_op(name).kernel
        )
        for name in (_DENSE, _NORMALIZE, _SCORES)
    )


class OneDnnKernels:
    """One node per operation; attention and layer normalization accumulate in float32 for both dtypes."""

    _ACTIVATIONS = {"gelu": "GeluExact", "gelu_new": "GeluApproximate", "relu": "Relu"}  # noqa: RUF012

    def dense(self, x: Any, kernel: Any, bias: Any, *, activation: str | None = None, residual: Any = None) -> Any:
        """See `Kernels.dense`."""
        arguments = [bias] if residual is None else [bias, residual]
        fused = ["BiasAdd"] if residual is None else ["BiasAdd", "Add"]
        if activation:
            fused.append(self._ACTIVATIONS[activation])
        return _node(
            _DENSE,
            [x, kernel, *arguments],
            num_args=len(arguments),
            fused_ops=fused,
            is_filter_const=True,
            _kernel=_LABEL,
        )

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

    def dense(self, x: Any, kernel: Any, bias: Any, *, activation: str | None = None, residual: Any = None) -> Any:
        """See `Kernels.dense`."""
        from bertbundle_export.tensorflow_import import tf

        y = tf.nn.bias_add(tf.linalg.matmul(x, kernel), bias)
        if residual is not None:
            y += residual
        return self._ACTIVATIONS[activation](y) if activation else y

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


def _constant_like(x: Any, value: float) -> Any:
    from bertbundle_export.tensorflow_import import tf

    return tf.constant(value, x.dtype)


def _node(operation: str, inputs: Sequence[Any], **attributes: Any) -> Any:
    """Add a node of an operation that has no Python function."""
    from tensorflow.core.framework.attr_value_pb2 import AttrValue

    from bertbundle_export.tensorflow_import import tf

    tensors = [tf.convert_to_tensor(value) for value in inputs]
    values = {name: _attribute(AttrValue, value) for name, value in attributes.items()}
    values["T"] = AttrValue(type=tensors[0].dtype.as_datatype_enum)
    graph = tf.compat.v1.get_default_graph()
    name = operation.lstrip("_")  # a node's name must not begin with an underscore
    return graph.create_op(operation, tensors, [tensors[0].dtype], attrs=values, name=name).outputs[0]


def _attribute(kind: Any, value: bool | int | float | str | list[str]) -> Any:
    if isinstance(value, list):
        return kind(list=kind.ListValue(s=[item.encode() for item in value]))
    if isinstance(value, str):
        return kind(s=value.encode())
    return kind(**{{bool: "b", int: "i", float: "f"}[type(value)]: value})
