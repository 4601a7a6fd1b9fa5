"""Make Keras' recurrent layers trace loops that tf2onnx converts.

Keras keeps a layer's inputs and mask in TensorArrays, and wraps LSTM and GRU in functions whose place a GPU kernel may
take; with a mask tf2onnx converts neither. While a model is traced, `convertible_loops` puts in their place a loop
that means the same. Of LSTM and GRU it multiplies all inputs by the kernel before the loop, at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bertbundle_export.tasks.loops import scan

__all__ = ["convertible_loops"]

Step = Callable[[Any, Any], tuple[Any, Any]]


@contextmanager
def convertible_loops() -> Iterator[None]:
    """Let tf_keras' recurrent layers that are called in this context use a loop that tf2onnx converts."""
    import bertbundle_export.tensorflow_import  # noqa: F401 - first: it chooses the Keras

    # isort: split
    from tf_keras.src import backend
    from tf_keras.src.layers.rnn import gru, lstm

    replaced = (
        (backend, "rnn", _or_keras(backend.rnn)),
        (lstm, "lstm_with_backend_selection", _layer(_lstm_step, lstm.standard_lstm)),
        (gru, "gru_with_backend_selection", _layer(_gru_step, gru.standard_gru)),
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
        from bertbundle_export.tensorflow_import import tf

        if unroll or isinstance(input_length, tf.Tensor):
            kept = {"mask": mask, "constants": constants, "unroll": unroll, "input_length": input_length}
            return keras_rnn(step_function, inputs, initial_states, go_backwards, **kept, **options)  # type: ignore[no-any-return]

        def step(token: Any, states: Any) -> tuple[Any, Any]:
            return step_function(token, (*states, *(constants or ())))

        return _rnn(step, inputs, tuple(initial_states), go_backwards, mask, **options)

    return rnn


# ---- LSTM and GRU


def _lstm_step(token: Any, states: Any, kernel: Any, _: Any) -> tuple[Any, Any]:
    """One step of `tf_keras.layers.LSTM`; the token is already multiplied by the layer's kernel."""
    from bertbundle_export.tensorflow_import import tf

    hidden, carry = states
    enter, keep, new, show = tf.split(token + hidden @ kernel, 4, axis=1)
    carry = tf.sigmoid(keep) * carry + tf.sigmoid(enter) * tf.tanh(new)
    hidden = tf.sigmoid(show) * tf.tanh(carry)
    return hidden, [hidden, carry]


def _gru_step(token: Any, states: Any, kernel: Any, bias: Any) -> tuple[Any, Any]:
    """One step of `tf_keras.layers.GRU` that resets after the product; the token is multiplied by its kernel."""
    from bertbundle_export.tensorflow_import import tf

    (hidden,) = states
    keep, reset, new = tf.split(token, 3, axis=1)
    keep_too, reset_too, new_too = tf.split(hidden @ kernel + bias, 3, axis=1)
    share = tf.sigmoid(keep + keep_too)
    hidden = share * hidden + (1 - share) * tf.tanh(new + tf.sigmoid(reset + reset_too) * new_too)
    return hidden, [hidden]


def _layer(one: Callable[..., tuple[Any, Any]], ragged: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Return a stand-in for Keras' choice of a kernel: called and answering as `standard_lstm` and `standard_gru`."""

    def run(**call: Any) -> tuple[Any, ...]:
        from bertbundle_export.tensorflow_import import tf

        if call["sequence_lengths"] is not None:
            answer: tuple[Any, ...] = ragged(**call)
            return answer
        bias, recurrent_bias = tf.unstack(call["bias"]) if one is _gru_step else (call["bias"], None)
        last, every, states = _rnn(
            lambda token, states: one(token, states, call["recurrent_kernel"], recurrent_bias),
            tf.matmul(call["inputs"], call["kernel"]) + bias,  # in the loop it would be as many products as tokens
            tuple(call[name] for name in ("init_h", "init_c") if name in call),
            call["go_backwards"],
            call["mask"],
            time_major=call["time_major"],
            zero_output_for_mask=call["zero_output_for_mask"],
            return_all_outputs=call["return_sequences"],
        )
        return last, every, *states, None  # the last is a note on the kernel, for Keras' own tests

    return run


# ---- the loop


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
    from bertbundle_export.tensorflow_import import tf

    flatten, pack = tf.nest.flatten, tf.nest.pack_sequence_as
    steps = inputs if time_major else tf.nest.map_structure(_swap, inputs)
    masks = mask if mask is None or time_major else _swap(mask)
    length = tf.shape(flatten(steps)[0])[0]
    like, _ = step_function(tf.nest.map_structure(lambda value: value[0], steps), states)  # for its shapes only
    begin = [tf.zeros_like(value) for value in flatten(like)]
    size = len(begin)

    def body(step: Any, *before: Any) -> tuple[list[Any], list[Any]]:
        at = length - 1 - step if go_backwards else step
        token = tf.nest.map_structure(lambda value: tf.gather(value, at), steps)
        output, after = step_function(token, pack(states, before[size:]))
        if masks is None:
            new = flatten(output) + flatten(after)
        else:
            last = begin if zero_output_for_mask else before[:size]
            new = _where(tf.gather(masks, at), flatten(output) + flatten(after), [*last, *before[size:]])
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
    from bertbundle_export.tensorflow_import import tf

    return tf.transpose(value, [1, 0, *range(2, len(value.shape))])


def _where(mask: Any, new: Sequence[Any], old: Sequence[Any]) -> list[Any]:
    """Take the new values of the rows whose token counts; the mask is ``[batch]`` or ``[batch, 1]``."""
    from bertbundle_export.tensorflow_import import tf

    rows = tf.cast(mask, tf.bool)

    def choose(value: Any, other: Any) -> Any:
        return tf.where(tf.reshape(rows, [-1] + [1] * (len(value.shape) - 1)), value, other)

    return [choose(value, other) for value, other in zip(new, old, strict=True)]
