"""BERT's encoder as a TensorFlow function for inference.

Compared with the training graph: one matrix product for query, key and value; the tokens of all sequences as rows of
one matrix; one gather per embedding table; the mask computed once; no dropout; no reshapes around every product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from bertbundle_export.encoder.int8 import Quantized
from bertbundle_export.encoder.kernels import Int8Kernels, Int8Matrix, Kernels
from bertbundle_export.encoder.weights import MASKED_SCORE, EncoderWeights, Weight

__all__ = ["EncoderGraph"]

Variables = Mapping[str, Any]


class EncoderGraph:
    """An encoder's variables and the function that computes its hidden states.

    Args:
        weights: the weights.
        kernels: writes the operations.
        dtype: dtype of the hidden states between layers, and of the weights that are not quantized: "float32" or
            "bfloat16".
        attention_dtype: dtype of the attention's own products; None for `dtype`.
        quantized: int8 kernels that `Int8Kernels` compute with instead of the weights'; empty for none.

    Attributes:
        weights: the weights.
        quantized: the int8 kernels.
        variables: the variables by name, as in `EncoderWeights.named`.
        function_names: names of the TensorFlow functions that were called.
        calls: number of calls.
    """

    def __init__(
        self,
        weights: EncoderWeights,
        kernels: Kernels,
        dtype: str,
        *,
        attention_dtype: str | None = None,
        quantized: Quantized = MappingProxyType({}),
    ) -> None:
        from bertbundle_export.tensorflow_import import tf

        self.weights = weights
        self.quantized = quantized
        self._kernels, self._dtype = kernels, tf.as_dtype(dtype)
        self._attention_dtype = tf.as_dtype(attention_dtype or dtype)
        self.variables = {name: self._variable(name, weight) for name, weight in weights.named.items()}
        spec = tf.TensorSpec([None, None], tf.int32)
        self._functions = {
            all_states: tf.function(
                lambda *inputs, all_states=all_states: self._states(*inputs, all_states=all_states),
                input_signature=[spec] * 3,
                autograph=False,
            )
            for all_states in (False, True)
        }
        self.function_names: set[str] = set()
        self.calls = 0

    def __call__(self, input_ids: Any, mask: Any, type_ids: Any, *, all_states: bool) -> tuple[Any, ...]:
        """Compute the hidden states of int32 inputs of shape ``[batch, length]``.

        Returns:
            Float32 ``[batch, length, H]``: only the last hidden state, or with `all_states` that of the embeddings and
            of every layer.
        """
        function = self._functions[all_states].get_concrete_function()
        self.function_names.add(function.name.decode())
        self.calls += 1
        states: tuple[Any, ...] = tuple(function(input_ids, mask, type_ids))
        return states

    def _variable(self, name: str, weight: Weight) -> Any:
        """Return a variable of the graph's dtype, or an int8 kernel; variables of Keras that have it are reused."""
        from bertbundle_export.tensorflow_import import tf

        if name in self.quantized and isinstance(self._kernels, Int8Kernels):
            return Int8Matrix(self.quantized[name], name)
        if isinstance(weight, tf.Variable) and weight.dtype == self._dtype:
            return weight
        return tf.Variable(tf.cast(weight, self._dtype), trainable=False, name=name.replace("/", "_"))

    def _states(self, input_ids: Any, mask: Any, type_ids: Any, *, all_states: bool) -> Sequence[Any]:
        from bertbundle_export.tensorflow_import import tf

        if isinstance(self._kernels, Int8Kernels):
            input_ids = self._kernels.guarded(input_ids)
        batch, length = tf.unstack(tf.shape(input_ids))
        indices = _gather_indices(batch, length, self.weights.heads)
        x = self._embed(input_ids, type_ids, length, indices.rows)
        dtype = self._attention_dtype
        mask_bias = (1.0 - tf.cast(mask[:, None, None, :], dtype)) * tf.constant(MASKED_SCORE, dtype)
        states = [x]
        for index in range(len(self.weights.layers)):
            x = self._layer(x, self._weights_of(f"layer_{index}/"), indices, mask_bias)
            states.append(x)
        shape = [batch, length, self.weights.hidden_size]
        return [tf.cast(tf.reshape(state, shape), tf.float32) for state in (states if all_states else states[-1:])]

    def _embed(self, input_ids: Any, type_ids: Any, length: Any, row_count: Any) -> Any:
        from bertbundle_export.tensorflow_import import tf

        tables = self._weights_of("")
        # A gather instead of a slice, so that a length beyond the table is an error.
        positions = tf.gather(tables["positions"], tf.range(length))
        total = tf.gather(tables["words"], input_ids) + tf.gather(tables["types"], type_ids) + positions
        rows = tf.reshape(total, [-1, total.shape[-1]])
        x = self._kernels.normalize(rows, row_count, tables["gamma"], tables["beta"], self.weights.epsilon)
        return self._kernels.dense(x, tables["project"], tables["project_bias"]) if "project" in tables else x

    def _weights_of(self, prefix: str) -> Variables:
        return {name.removeprefix(prefix): item for name, item in self.variables.items() if name.startswith(prefix)}

    def _layer(self, x: Any, layer: Variables, indices: _GatherIndices, mask_bias: Any) -> Any:
        from bertbundle_export.tensorflow_import import tf

        kernels, epsilon, rows = self._kernels, self.weights.epsilon, indices.rows
        qkv = kernels.dense(x, layer["qkv"], layer["qkv_bias"], dtype=self._attention_dtype)
        context = self._attend(qkv, indices, mask_bias)
        attended = kernels.dense(tf.cast(context, self._dtype), layer["out"], layer["out_bias"], residual=x)
        attended = kernels.normalize(attended, rows, layer["attention_gamma"], layer["attention_beta"], epsilon)
        inner = kernels.dense(attended, layer["up"], layer["up_bias"], activation=self.weights.activation)
        outer = kernels.dense(inner, layer["down"], layer["down_bias"], residual=attended)
        return kernels.normalize(outer, rows, layer["gamma"], layer["beta"], epsilon)

    def _attend(self, qkv: Any, indices: _GatherIndices, mask_bias: Any) -> Any:
        """Return the attention's output, ``[batch * length, H]``; `qkv` is ``[batch * length, 3 H]``."""
        from bertbundle_export.tensorflow_import import tf

        size = self.weights.hidden_size // self.weights.heads
        query, key, value = tf.unstack(tf.gather(tf.reshape(qkv, [-1, size]), indices.split))
        weights = tf.nn.softmax(self._kernels.scores(query, key, self.weights.scale, mask_bias))
        context = tf.reshape(tf.linalg.matmul(weights, value), [-1, size])
        return tf.reshape(tf.gather(context, indices.join), [-1, self.weights.hidden_size])


@dataclass(frozen=True, slots=True)
class _GatherIndices:
    """Indices that split the vectors of tokens into heads and join them again, computed once for all layers.

    Attributes:
        rows: number of tokens, int32.
        split: indices into ``[batch, length, 3, heads]``, in the order ``[3, batch, heads, length]``.
        join: indices into ``[batch, heads, length]``, in the order ``[batch, length, heads]``.
    """

    rows: Any
    split: Any
    join: Any


def _gather_indices(batch: Any, length: Any, heads: int) -> _GatherIndices:
    """Return the indices: gathering whole heads is faster than transposing."""
    from bertbundle_export.tensorflow_import import tf

    rows = batch * length
    parts = tf.reshape(tf.range(3 * heads), [3, 1, heads, 1])
    split = parts + tf.reshape(tf.range(rows) * (3 * heads), [batch, 1, length])
    texts = tf.range(batch)[:, None, None] * (heads * length)
    join = texts + tf.range(length)[:, None] + tf.range(heads) * length
    return _GatherIndices(rows, split, join)
