"""Patch Keras' recurrent layers so that their traced loops can be converted by tf2onnx.

Keras stores a layer's inputs and mask in TensorArrays, and wraps LSTM and GRU in functions that a GPU kernel may
replace; tf2onnx converts neither with a mask. While a model is traced, `convertible_loops` replaces them with an
equivalent loop. For LSTM and GRU, all inputs are multiplied by the kernel at once, before the loop.
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
    """While the context is open, make tf_keras' recurrent layers use a loop that tf2onnx can convert."""
    import bertbundle_export.tensorflow_import  # noqa: F401 - must be first: it selects Keras 2

    # isort: split
    from tf_keras.src import backend
    from tf_keras.src.layers.rnn import gru, lstm

    patches = (
        (backend, "rnn", _patched_rnn(backend.rnn)),
        (lstm, "lstm_with_backend_selection", _patched_layer(_lstm_step, lstm.standard_lstm)),
        (gru, "gru_with_backend_selection", _patched_layer(_gru_step, gru.standard_gru)),
    )
    originals = [getattr(module, name) for module, name, _ in patches]
    try:
        for module, name, function in patches:
            setattr(module, name, function)
        yield
    finally:
        for (module, name, _), function in zip(patches, originals, strict=True):
            setattr(module, name, function)


def _patched_rnn(keras_rnn: Callable[..., Any]) -> Callable[..., Any]:
    """Return a replacement for `tf_keras.backend.rnn` that leaves unrolled steps and ragged inputs to Keras."""

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
            unchanged = {"mask": mask, "constants": constants, "unroll": unroll, "input_length": input_length}
            return keras_rnn(step_function, inputs, initial_states, go_backwards, **unchanged, **options)  # type: ignore[no-any-return]

        def step(token: Any, states: Any) -> tuple[Any, Any]:
            return step_function(token, (*states, *(constants or ())))

        return _rnn(step, inputs, tuple(initial_states), go_backwards, mask, **options)

    return rnn


# ---- LSTM and GRU


def _lstm_step(token: Any, states: Any, kernel: Any, _: Any) -> tuple[Any, Any]:
    """Compute one step of `tf_keras.layers.LSTM`; the token is already multiplied by the layer's kernel."""
    from bertbundle_export.tensorflow_import import tf

    hidden, carry = states
    input_gate, forget_gate, candidate, output_gate = tf.split(token + hidden @ kernel, 4, axis=1)
    carry = tf.sigmoid(forget_gate) * carry + tf.sigmoid(input_gate) * tf.tanh(candidate)
    hidden = tf.sigmoid(output_gate) * tf.tanh(carry)
    return hidden, [hidden, carry]


def _gru_step(token: Any, states: Any, kernel: Any, bias: Any) -> tuple[Any, Any]:
    """Compute one step of `tf_keras.layers.GRU` with `reset_after`; the token is already multiplied by the kernel."""
    from bertbundle_export.tensorflow_import import tf

    (hidden,) = states
    update, reset, candidate = tf.split(token, 3, axis=1)
    hidden_update, hidden_reset, hidden_candidate = tf.split(hidden @ kernel + bias, 3, axis=1)
    share = tf.sigmoid(update + hidden_update)
    new = tf.tanh(candidate + tf.sigmoid(reset + hidden_reset) * hidden_candidate)
    hidden = share * hidden + (1 - share) * new
    return hidden, [hidden]


def _patched_layer(
    layer_step: Callable[..., tuple[Any, Any]], ragged: Callable[..., Any]
) -> Callable[..., tuple[Any, ...]]:
    """Return a replacement for Keras' choice of a kernel, with the interface of `standard_lstm` and `standard_gru`."""

    def run(**call: Any) -> tuple[Any, ...]:
        from bertbundle_export.tensorflow_import import tf

        if call["sequence_lengths"] is not None:
            outputs: tuple[Any, ...] = ragged(**call)
            return outputs
        bias, recurrent_bias = tf.unstack(call["bias"]) if layer_step is _gru_step else (call["bias"], None)
        last, outputs_of_steps, states = _rnn(
            lambda token, states: layer_step(token, states, call["recurrent_kernel"], recurrent_bias),
            tf.matmul(call["inputs"], call["kernel"]) + bias,  # inside the loop this would be one product per token
            tuple(call[name] for name in ("init_h", "init_c") if name in call),
            call["go_backwards"],
            call["mask"],
            time_major=call["time_major"],
            zero_output_for_mask=call["zero_output_for_mask"],
            return_all_outputs=call["return_sequences"],
        )
        return last, outputs_of_steps, *states, None  # the last names the kernel, for Keras' own tests

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
    """Return last output, outputs and last states, as `tf_keras.backend.rnn` documents."""
    from bertbundle_export.tensorflow_import import tf

    flatten, pack = tf.nest.flatten, tf.nest.pack_sequence_as
    steps = inputs if time_major else tf.nest.map_structure(_transpose_time, inputs)
    masks = mask if mask is None or time_major else _transpose_time(mask)
    length = tf.shape(flatten(steps)[0])[0]
    example, _ = step_function(tf.nest.map_structure(lambda value: value[0], steps), states)  # only for its shapes
    zeros = [tf.zeros_like(value) for value in flatten(example)]
    size = len(zeros)

    def body(step: Any, *previous: Any) -> tuple[list[Any], list[Any]]:
        position = length - 1 - step if go_backwards else step
        token = tf.nest.map_structure(lambda value: tf.gather(value, position), steps)
        output, new_states = step_function(token, pack(states, previous[size:]))
        if masks is None:
            new = flatten(output) + flatten(new_states)
        else:
            masked_output = zeros if zero_output_for_mask else previous[:size]
            new = _where(
                tf.gather(masks, position), flatten(output) + flatten(new_states), [*masked_output, *previous[size:]]
            )
        for value, old in zip(new, previous, strict=True):
            value.set_shape(old.shape)
        return new, new[:size] if return_all_outputs else []

    written = [tf.TensorSpec(value.shape, value.dtype) for value in zeros] if return_all_outputs else []
    final, outputs = scan(length, body, zeros + flatten(states), written)
    last = pack(example, final[:size])
    stacked = pack(example, outputs) if return_all_outputs else tf.nest.map_structure(lambda value: value[None], last)
    stacked = stacked if time_major else tf.nest.map_structure(_transpose_time, stacked)
    return last, stacked, pack(states, final[size:])


def _transpose_time(value: Any) -> Any:
    """Swap the batch and time axes."""
    from bertbundle_export.tensorflow_import import tf

    return tf.transpose(value, [1, 0, *range(2, len(value.shape))])


def _where(mask: Any, new: Sequence[Any], old: Sequence[Any]) -> list[Any]:
    """Return the new values where the mask, ``[batch]`` or ``[batch, 1]``, is true, else the old ones."""
    from bertbundle_export.tensorflow_import import tf

    rows = tf.cast(mask, tf.bool)

    def choose(value: Any, other: Any) -> Any:
        return tf.where(tf.reshape(rows, [-1] + [1] * (len(value.shape) - 1)), value, other)

    return [choose(value, other) for value, other in zip(new, old, strict=True)]
