"""Make Keras' recurrent layers trace loops that tf2onnx converts.

Keras keeps a layer's inputs and mask in TensorArrays, and wraps LSTM and GRU in functions whose place a GPU kernel may
take; with a mask tf2onnx converts neither. While a model is traced, `convertible_loops` puts in their place a loop
that means the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bertbundle_export.loops import scan

__all__ = ["convertible_loops"]

Step = Callable[[Any, Any], tuple[Any, Any]]


@contextmanager
def convertible_loops() -> Iterator[None]:
    """Let tf_keras' recurrent layers that are called in this context use a loop that tf2onnx converts."""
    import bertbundle_export.quiet  # noqa: F401 - first: it chooses the Keras

    # isort: split
    from tf_keras.src import backend
    from tf_keras.src.layers.rnn import gru, lstm

    replaced = (
        (backend, "rnn", _or_keras(backend.rnn)),
        (lstm, "lstm_with_backend_selection", lstm.standard_lstm),
        (gru, "gru_with_backend_selection", gru.standard_gru),
    )
    before = [getattr(module, name) for module, name, _ in replaced]
    try:
        for module, name, function in replaced:
            setattr(module, name, function)
        yield
    finally:
        for (module, name, _), function in zip(replaced, before, strict=True):
            setattr(module, name, function)


def _or_keras(keras_rnn: Callable[..., Any]) -> Callable[..., Any]:
    """Return a stand-in for `tf_keras.backend.rnn`; steps unrolled and ragged inputs stay with Keras."""

    def rnn(
        step_function: Step,
        inputs: Any,
        initial_states: Any,
        go_backwards: bool = False,
        mask: Any = None,
        constants: Any = None,
        unroll: bool = False,
        input_length: Any = None,
        **options: Any,
    ) -> tuple[Any, Any, Any]:
        from bertbundle_export.quiet import tf

        if unroll or isinstance(input_length, tf.Tensor):
            kept = {"mask": mask, "constants": constants, "unroll": unroll, "input_length": input_length}
            return keras_rnn(step_function, inputs, initial_states, go_backwards, **kept, **options)  # type: ignore[no-any-return]

        def step(token: Any, states: Any) -> tuple[Any, Any]:
            return step_function(token, (*states, *(constants or ())))

        return _rnn(step, inputs, tuple(initial_states), go_backwards, mask, **options)

    return rnn


def _rnn(
    step_function: Step,
    inputs: Any,
    states: tuple[Any, ...],
    go_backwards: bool,
    mask: Any,
    *,
    time_major: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
) -> tuple[Any, Any, Any]:
    """Do what `tf_keras.backend.rnn` documents: last output, outputs, last states."""
    from bertbundle_export.quiet import tf

    flatten, pack = tf.nest.flatten, tf.nest.pack_sequence_as
    steps = inputs if time_major else tf.nest.map_structure(_swap, inputs)
    masks = mask if mask is None or time_major else _swap(mask)
    length = tf.shape(flatten(steps)[0])[0]
    like, _ = step_function(tf.nest.map_structure(lambda value: value[0], steps), states)  # for its shapes only
    begin = [tf.zeros_like(value) for value in flatten(like)]
    size = len(begin)

    def body(step: Any, *before: Any) -> tuple[list[Any], list[Any]]:
        at = length - 1 - step if go_backwards else step
        token = tf.nest.map_structure(lambda value: value[at], steps)
        output, after = step_function(token, pack(states, before[size:]))
        if masks is None:
            new = flatten(output) + flatten(after)
        else:
            last = begin if zero_output_for_mask else before[:size]
            new = _where(masks[at], flatten(output) + flatten(after), [*last, *before[size:]])
        for value, old in zip(new, before, strict=True):
            value.set_shape(old.shape)
        return new, new[:size] if return_all_outputs else []

    written = [tf.TensorSpec(value.shape, value.dtype) for value in begin] if return_all_outputs else []
    final, outputs = scan(length, body, begin + flatten(states), written)
    last = pack(like, final[:size])
    every = pack(like, outputs) if return_all_outputs else tf.nest.map_structure(lambda value: value[None], last)
    every = every if time_major else tf.nest.map_structure(_swap, every)
    return last, every, pack(states, final[size:])


def _swap(value: Any) -> Any:
    """Swap batch and time."""
    from bertbundle_export.quiet import tf

    return tf.transpose(value, [1, 0, *range(2, len(value.shape))])


def _where(mask: Any, new: Sequence[Any], old: Sequence[Any]) -> list[Any]:
    """Take the new values of the rows whose token counts; the mask is ``[batch]`` or ``[batch, 1]``."""
    from bertbundle_export.quiet import tf

    rows = tf.cast(mask, tf.bool)

    def choose(value: Any, other: Any) -> Any:
        return tf.where(tf.reshape(rows, [-1] + [1] * (len(value.shape) - 1)), value, other)

    return [choose(value, other) for value, other in zip(new, old, strict=True)]
