"""The few operations an encoder's time goes into, as TensorFlow graph nodes: public ones, or oneDNN's fused ones.

In float32 public operations are as fast as any: TensorFlow's optimiser fuses MatMul, BiasAdd and what follows.

In bfloat16 a product's kernel must be rearranged for the processor. TensorFlow does that once only if the kernel is a
constant in the graph, which costs seconds and gigabytes to load (figures: docs/decisions/0029); else at every call. So
the fused node is written into the graph as the optimiser would write it, with a variable for the kernel and
`is_filter_const` set all the same: variables of a served model do not change. It is no public operation: a TensorFlow
without it, as it is built for some processors, gets public ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

__all__ = ["Kernels", "OneDnnKernels", "PublicKernels", "choose_kernels", "have_onednn"]


class Kernels(Protocol):
    """One way to write the operations. `T` is the dtype of the matrices, float32 or bfloat16."""

    def dense(self, x: Any, kernel: Any, bias: Any, *, activation: str | None = None, residual: Any = None) -> Any:
        """Return ``activation(x @ kernel + bias + residual)`` for x of shape ``[rows, in]``."""

    def normalize(self, x: Any, rows: Any, gamma: Any, beta: Any, epsilon: float) -> Any:
        """Return the layer normalisation of each row of x, ``[rows, H]``; `rows` is an int32 scalar."""

    def scores(self, query: Any, key: Any, scale: float, mask: Any) -> Any:
        """Return ``query @ key^T * scale + mask``, ``[batch, heads, length, length]``."""


def choose_kernels(dtype: str) -> Kernels:
    """Return the kernels for "float32" or "bfloat16"; public ones if this TensorFlow has no others."""
    return OneDnnKernels() if dtype == "bfloat16" and have_onednn(dtype) else PublicKernels()


_DENSE, _NORMALIZE, _SCORES = "_MklNativeFusedMatMul", "_MklLayerNorm", "_MklFusedBatchMatMulV2"
# Measured with rows of 768 bfloat16 on an idle machine: 64 rows take 52 us in public operations and 113 in oneDNN's, 96
# take 126 and 106, 128 take 204 and 136, 1024 take 800 and 256.
_FEW_ROWS = 96
_LABEL = "MklNameChangeOp"  # the kernels of operations that oneDNN computes in TensorFlow's own layout


def have_onednn(dtype: str) -> bool:
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
    """One node each; attention and layer normalisation accumulate in float32 whatever the dtype."""

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
        """See `Kernels.normalize`. For few rows the public operations are quicker, whose start costs less."""
        from bertbundle_export.tensorflow_import import tf

        gamma, beta = tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta)
        return tf.cond(
            rows < _FEW_ROWS,
            lambda: PublicKernels().normalize(x, rows, gamma, beta, epsilon),
            lambda: _node(_NORMALIZE, [x, gamma, beta], epsilon=epsilon),
        )

    def scores(self, query: Any, key: Any, scale: float, mask: Any) -> Any:
        """See `Kernels.scores`."""
        factor = _like(query, scale)
        return _node(_SCORES, [query, key, factor, mask], adj_y=True, num_args=2, fused_ops=["Mul", "Add"])


class PublicKernels:
    """Public operations in the form that TensorFlow's optimiser fuses best."""

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
        centred = wide - tf.reduce_mean(wide, -1, keepdims=True)
        deviation = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), -1, keepdims=True) + epsilon)
        normal = centred * deviation * tf.cast(gamma, tf.float32) + tf.cast(beta, tf.float32)
        return tf.cast(normal, x.dtype)

    def scores(self, query: Any, key: Any, scale: float, mask: Any) -> Any:
        """See `Kernels.scores`."""
        from bertbundle_export.tensorflow_import import tf

        return tf.linalg.matmul(query, key, transpose_b=True) * _like(query, scale) + mask

    @staticmethod
    def _gelu(x: Any) -> Any:
        """Write gelu with Erf: the optimiser knows that form, and not the Erfc that Keras's becomes."""
        from bertbundle_export.tensorflow_import import tf

        return _like(x, 0.5) * x * (_like(x, 1) + tf.math.erf(x * _like(x, np.sqrt(0.5))))

    @staticmethod
    def _gelu_new(x: Any) -> Any:
        from bertbundle_export.tensorflow_import import tf

        return tf.nn.gelu(x, approximate=True)

    @staticmethod
    def _relu(x: Any) -> Any:
        from bertbundle_export.tensorflow_import import tf

        return tf.nn.relu(x)

    _ACTIVATIONS = {"gelu": _gelu, "gelu_new": _gelu_new, "relu": _relu}  # noqa: RUF012


def _like(x: Any, value: float) -> Any:
    from bertbundle_export.tensorflow_import import tf

    return tf.constant(value, x.dtype)


def _node(operation: str, inputs: Sequence[Any], **attributes: Any) -> Any:
    """Add a node that has no Python function."""
    from tensorflow.core.framework.attr_value_pb2 import AttrValue

    from bertbundle_export.tensorflow_import import tf

    tensors = [tf.convert_to_tensor(value) for value in inputs]
    values = {name: _attribute(AttrValue, value) for name, value in attributes.items()}
    values["T"] = AttrValue(type=tensors[0].dtype.as_datatype_enum)
    graph = tf.compat.v1.get_default_graph()
    name = operation.lstrip("_")  # no node's name may begin with an underscore
    return graph.create_op(operation, tensors, [tensors[0].dtype], attrs=values, name=name).outputs[0]


def _attribute(kind: Any, value: bool | int | float | str | list[str]) -> Any:
    if isinstance(value, list):
        return kind(list=kind.ListValue(s=[item.encode() for item in value]))
    if isinstance(value, str):
        return kind(s=value.encode())
    return kind(**{{bool: "b", int: "i", float: "f"}[type(value)]: value})
