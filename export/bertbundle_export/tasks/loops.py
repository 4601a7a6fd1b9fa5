"""Loop over the tokens of a sequence, in the only form that tf2onnx can convert."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["scan"]


def scan(
    length: Any,
    body: Callable[..., tuple[Sequence[Any], Sequence[Any]]],
    state: Sequence[Any],
    written: Sequence[Any],
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Run a body for each step from 0 to length - 1, as one functional While.

    The loop counts from 0 and writes at its counter: tf2onnx can convert no other loop. A body should read the tensors
    of a step with `tf.gather`, which is one operation in ONNX; indexing becomes a dozen.

    Args:
        length: int32 scalar.
        body: called with the step and the state; returns the next state, of the same shapes, and the tensors to write.
        state: the initial state.
        written: a TensorSpec for each tensor that a step writes.

    Returns:
        The last state, and for each of `written` a tensor with the steps as its first axis.
    """
    from bertbundle_export.tensorflow_import import tf

    arrays = [tf.TensorArray(spec.dtype, size=length, element_shape=spec.shape) for spec in written]

    def loop_body(step: Any, state: tuple[Any, ...], arrays: tuple[Any, ...]) -> Any:
        after, values = body(step, *state)
        return step + 1, tuple(after), tuple(a.write(step, v) for a, v in zip(arrays, values, strict=True))

    initial = (tf.constant(0), tuple(state), tuple(arrays))
    _, last, filled = tf.while_loop(lambda step, *_: step < length, loop_body, initial)
    return last, tuple(array.stack() for array in filled)
