"""GlobalPointer and EfficientGlobalPointer: a score for each label and each span of tokens.

Source of the computation: bert4keras 0.11.5, layers.py and backend.py; Su et al., "Global Pointer: Novel Efficient
Span-based Approach for Named Entity Recognition", arXiv:2208.03054, with the rotary positions of Su et al., "RoFormer",
arXiv:2104.09864.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bertbundle_export.checkpoints.heads.base import bert_layer
from bertbundle_export.errors import CheckpointError

__all__ = ["efficient_global_pointer", "global_pointer"]

# RoFormer's base of the angles.
_BASE = 10000.0


def global_pointer(config: Any, *, units: int, RoPE: bool | None = None, head_size: int | None = None) -> Any:  # noqa: N803
    """Build a functional model: BERT as the layer ``bert``, and a GlobalPointer with one head for each label.

    Args:
        config: a BertConfig; its `num_labels` is the number of heads.
        units: columns of the Dense layer ``pointer``: twice the head size for each head.
        RoPE: whether queries and keys are rotated by their position.
        head_size: size of a query.

    Returns:
        A model that returns ``logits`` ``[batch, labels, length, length]``.

    Raises:
        CheckpointError: RoPE or head_size are not known, or do not fit the variables.
    """
    from bertbundle_export.tensorflow_import import tf

    _check_stated(RoPE=RoPE, head_size=head_size)
    size = int(head_size or 0)
    if units != 2 * size * config.num_labels:
        raise CheckpointError(
            f"GlobalPointer has a kernel of {units} columns, {config.num_labels} labels with head_size {size} need "
            f"{2 * size * config.num_labels}. Check --labels and head_size."
        )
    inputs, vectors = bert_layer(config)
    pairs = _dense(units, "pointer")(vectors)
    shape = tf.shape(pairs)
    heads = tf.reshape(pairs, [shape[0], shape[1], config.num_labels, 2 * size])
    heads = tf.transpose(heads, [0, 2, 1, 3])
    queries, keys = heads[..., :size], heads[..., size:]
    if RoPE:
        queries, keys = _rotate(queries, size), _rotate(keys, size)
    return _model(inputs, tf.matmul(queries, keys, transpose_b=True) / size**0.5)


def efficient_global_pointer(
    config: Any,
    *,
    units: int,
    heads: int,
    RoPE: bool | None = None,  # noqa: N803
    head_size: int | None = None,
) -> Any:
    """Build a functional model: BERT as the layer ``bert``, and an EfficientGlobalPointer; see `global_pointer`.

    Its logits are the sum of a score of the span, the same for all labels, and of scores of its ends for each label.

    Args:
        config: a BertConfig.
        units: columns of the Dense layer ``p_dense``: twice the head size.
        heads: number of labels; ``q_dense`` has two columns for each.
        RoPE: as for `global_pointer`.
        head_size: size of a query, half of `units`.

    Raises:
        CheckpointError: RoPE is not known, or head_size does not fit the variables.
    """
    from bertbundle_export.tensorflow_import import tf

    _check_stated(RoPE=RoPE)
    size = units // 2
    if head_size not in (None, size):
        raise CheckpointError(f"EfficientGlobalPointer has head_size {size}, not {head_size}. Leave head_size out.")
    inputs, vectors = bert_layer(config)
    pairs = _dense(units, "p_dense")(vectors)
    queries, keys = pairs[..., ::2], pairs[..., 1::2]
    if RoPE:
        queries, keys = _rotate(queries, size), _rotate(keys, size)
    spans = tf.matmul(queries, keys, transpose_b=True) / size**0.5
    ends = tf.transpose(_dense(2 * heads, "q_dense")(pairs), [0, 2, 1]) / 2
    return _model(inputs, spans[:, None] + ends[:, ::2, None, :] + ends[:, 1::2, :, None])


def _check_stated(**settings: Any) -> None:
    missing = [name for name, value in settings.items() if value is None]
    if missing:
        raise CheckpointError(
            f"the weights of GlobalPointer do not say {' and '.join(missing)}: pass --init-args "
            f"{','.join(f'{name}=X' for name in missing)}, with the values of the training script (bert4keras' default "
            "is RoPE=true)."
        )
    wrong = {name: value for name, value in settings.items() if type(value) is not _TYPES[name]}
    for name, value in wrong.items():
        raise CheckpointError(f"{name} must be {_EXPECTED[name]}, got {value!r}.")


_TYPES: Mapping[str, type] = {"RoPE": bool, "head_size": int}
_EXPECTED = {"RoPE": "true or false", "head_size": "an integer"}


def _dense(units: int, name: str) -> Any:
    import tf_keras

    return tf_keras.layers.Dense(units, name=name)


def _model(inputs: Mapping[str, Any], logits: Any) -> Any:
    import tf_keras

    return tf_keras.Model(inputs, {"logits": logits})


def _rotate(vectors: Any, size: int) -> Any:
    """Rotate each pair of neighboring columns by an angle: the position times ``10000 ** (-2 * pair / size)``.

    Args:
        vectors: float32 ``[..., length, size]``.
        size: number of columns.
    """
    from bertbundle_export.tensorflow_import import tf

    frequencies = tf.constant(_BASE ** (-2 * np.arange(size // 2) / size), tf.float32)
    angles = tf.range(tf.shape(vectors)[-2])
    angles = tf.cast(angles, tf.float32)[:, None] * frequencies
    even, odd, sine, cosine = vectors[..., ::2], vectors[..., 1::2], tf.sin(angles), tf.cos(angles)
    rotated = tf.stack([even * cosine - odd * sine, odd * cosine + even * sine], axis=-1)
    return tf.reshape(rotated, tf.shape(vectors))
