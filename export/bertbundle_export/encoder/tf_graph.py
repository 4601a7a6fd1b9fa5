"""BERT's encoder as a TensorFlow function made for inference.

Against the training model's graph: one matrix product for query, key and value, rows of all sequences as one matrix,
one gather per embedding table, the mask prepared once, no dropout, no reshapes around every product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from bertbundle_export.encoder.kernels import Kernels
from bertbundle_export.encoder.weights import MASKED, Encoder, EncoderLayer, Weight

__all__ = ["EncoderGraph"]

Variables = Mapping[str, Any]


class EncoderGraph:
    """An encoder's variables, and the function that uses them.

    Args:
        encoder: the weights.
        kernels: how the operations are written.
        dtype: of all products and of the hidden states between layers: "float32" or "bfloat16".

    Attributes:
        encoder: the weights.
        names: of the functions that were called.
        calls: how often they were called.
    """

    def __init__(self, encoder: Encoder, kernels: Kernels, dtype: str) -> None:
        from bertbundle_export.tensorflow_import import tf

        self.encoder = encoder
        self._kernels, self._dtype = kernels, tf.as_dtype(dtype)
        self._tables = self._variables(encoder.tables)
        self._layers = [
            self._variables({field.name: getattr(layer, field.name) for field in fields(EncoderLayer)})
            for layer in encoder.layers
        ]
        spec = tf.TensorSpec([None, None], tf.int32)
        self._functions = {
            every: tf.function(
                lambda *inputs, every=every: self._states(*inputs, every=every),
                input_signature=[spec] * 3,
                autograph=False,
            )
            for every in (False, True)
        }
        self.names: set[str] = set()
        self.calls = 0

    def __call__(self, input_ids: Any, mask: Any, type_ids: Any, *, every: bool) -> tuple[Any, ...]:
        """Compute the hidden states of int32 inputs of shape ``[batch, length]``.

        Returns:
            Float32 ``[batch, length, H]``: the last one only, or with `every` the embeddings' and every layer's.
        """
        function = self._functions[every].get_concrete_function()
        self.names.add(function.name.decode())
        self.calls += 1
        states: tuple[Any, ...] = tuple(function(input_ids, mask, type_ids))
        return states

    def _variables(self, weights: Mapping[str, Weight]) -> Variables:
        """Return variables of the right dtype, Keras's own where they are."""
        from bertbundle_export.tensorflow_import import tf

        return {
            name: weight
            if isinstance(weight, tf.Variable) and weight.dtype == self._dtype
            else tf.Variable(tf.cast(weight, self._dtype), trainable=False, name=name)
            for name, weight in weights.items()
        }

    def _states(self, input_ids: Any, mask: Any, type_ids: Any, *, every: bool) -> Sequence[Any]:
        from bertbundle_export.tensorflow_import import tf

        batch, length = tf.unstack(tf.shape(input_ids))
        places = _places(batch, length, self.encoder.heads)
        x = self._embed(input_ids, type_ids, length, places.rows)
        added = (1.0 - tf.cast(mask[:, None, None, :], self._dtype)) * tf.constant(MASKED, self._dtype)
        states = [x]
        for layer in self._layers:
            x = self._layer(x, layer, places, added)
            states.append(x)
        shape = [batch, length, self.encoder.hidden_size]
        return [tf.cast(tf.reshape(state, shape), tf.float32) for state in (states if every else states[-1:])]

    def _embed(self, input_ids: Any, type_ids: Any, length: Any, count: Any) -> Any:
        from bertbundle_export.tensorflow_import import tf

        tables = self._tables
        # A gather and not a slice: a length beyond the table must be an error.
        positions = tf.gather(tables["positions"], tf.range(length))
        total = tf.gather(tables["words"], input_ids) + tf.gather(tables["types"], type_ids) + positions
        rows = tf.reshape(total, [-1, total.shape[-1]])
        normal = self._kernels.normalize(rows, count, tables["gamma"], tables["beta"], self.encoder.epsilon)
        return self._kernels.dense(normal, tables["project"], tables["project_bias"]) if "project" in tables else normal

    def _layer(self, x: Any, layer: Variables, places: _Places, added: Any) -> Any:
        kernels, epsilon, rows = self._kernels, self.encoder.epsilon, places.rows
        context = self._attend(kernels.dense(x, layer["qkv"], layer["qkv_bias"]), places, added)
        attended = kernels.dense(context, layer["out"], layer["out_bias"], residual=x)
        attended = kernels.normalize(attended, rows, layer["attention_gamma"], layer["attention_beta"], epsilon)
        inner = kernels.dense(attended, layer["up"], layer["up_bias"], activation=self.encoder.activation)
        outer = kernels.dense(inner, layer["down"], layer["down_bias"], residual=attended)
        return kernels.normalize(outer, rows, layer["gamma"], layer["beta"], epsilon)

    def _attend(self, qkv: Any, places: _Places, added: Any) -> Any:
        """Return what each token gathers, ``[batch * length, H]``, of its ``[batch * length, 3 H]``."""
        from bertbundle_export.tensorflow_import import tf

        size = self.encoder.hidden_size // self.encoder.heads
        query, key, value = tf.unstack(tf.gather(tf.reshape(qkv, [-1, size]), places.split))
        weights = tf.nn.softmax(self._kernels.scores(query, key, self.encoder.scale, added))
        context = tf.reshape(tf.linalg.matmul(weights, value), [-1, size])
        return tf.reshape(tf.gather(context, places.join), [-1, self.encoder.hidden_size])


@dataclass(frozen=True, slots=True)
class _Places:
    """Where a head's part of a token's vector lies, computed once for all layers.

    Attributes:
        rows: number of tokens, int32.
        split: places in ``[batch, length, 3, heads]`` in the order ``[3, batch, heads, length]``.
        join: places in ``[batch, heads, length]`` in the order ``[batch, length, heads]``.
    """

    rows: Any
    split: Any
    join: Any


def _places(batch: Any, length: Any, heads: int) -> _Places:
    """Return places to gather by: copying whole heads is quicker than transposing."""
    from bertbundle_export.tensorflow_import import tf

    rows = batch * length
    parts = tf.reshape(tf.range(3 * heads), [3, 1, heads, 1])
    split = parts + tf.reshape(tf.range(rows) * (3 * heads), [batch, 1, length])
    texts = tf.range(batch)[:, None, None] * (heads * length)
    join = texts + tf.range(length)[:, None] + tf.range(heads) * length
    return _Places(rows, split, join)
