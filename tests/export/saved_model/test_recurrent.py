"""Recurrent heads: Keras' layers compute the same in the patched loop, and models with them can be exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export import export_bundle
from bertbundle_export.onnx_files.weight_detachment import detach_weights
from bertbundle_export.saved_model.recurrent import convertible_loops
from tiny_checkpoints import LABELS

pytestmark = pytest.mark.slow

LENGTHS = (5, 3, 1)


@pytest.fixture(scope="module")
def keras(tensorflow: Any) -> Any:
    """The Keras 2 that transformers 4 needs."""
    del tensorflow
    import tf_keras

    return tf_keras


def make_minimal_cell(keras: Any, tensorflow: Any) -> Any:
    """Return a custom cell whose output is not its state."""

    class MinimalCell(keras.layers.Layer):  # type: ignore[misc]
        state_size, output_size = 4, 2

        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(name="kernel", shape=(shape[-1], 4))

        def call(self, inputs: Any, states: Any) -> Any:
            state = tensorflow.tanh(inputs @ self.kernel + states[0])
            return 2 * state[:, :2], [state]

    return MinimalCell()


LAYERS: dict[str, Callable[[Any, Any], Any]] = {
    "lstm": lambda k, _: k.layers.LSTM(4, return_sequences=True),
    "lstm_last": lambda k, _: k.layers.LSTM(4),
    "lstm_backwards": lambda k, _: k.layers.LSTM(4, return_sequences=True, go_backwards=True),
    "lstm_backwards_last": lambda k, _: k.layers.LSTM(4, go_backwards=True),
    "lstm_state": lambda k, _: k.layers.LSTM(4, return_sequences=True, return_state=True),
    "lstm_without_kernel": lambda k, _: k.layers.LSTM(4, return_sequences=True, recurrent_dropout=0.5),
    "lstm_zero": lambda k, _: k.layers.LSTM(4, return_sequences=True, zero_output_for_mask=True),
    "lstm_zero_last": lambda k, _: k.layers.LSTM(4, zero_output_for_mask=True),
    "lstm_unrolled": lambda k, _: k.layers.LSTM(4, return_sequences=True, unroll=True),
    "gru": lambda k, _: k.layers.GRU(4, return_sequences=True),
    "gru_reset_before": lambda k, _: k.layers.GRU(4, return_sequences=True, reset_after=False),
    "simple": lambda k, _: k.layers.SimpleRNN(4, return_sequences=True),
    "bilstm": lambda k, _: k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True)),
    "bigru_sum": lambda k, _: k.layers.Bidirectional(k.layers.GRU(4, return_sequences=True), merge_mode="sum"),
    "bilstm_last": lambda k, _: k.layers.Bidirectional(k.layers.LSTM(4)),
    "stacked_cells": lambda k, _: k.layers.RNN([k.layers.LSTMCell(4), k.layers.GRUCell(3)], return_sequences=True),
    "custom_cell": lambda k, tf: k.layers.RNN(make_minimal_cell(k, tf), return_sequences=True),
    "custom_cell_state": lambda k, tf: k.layers.RNN(make_minimal_cell(k, tf), return_sequences=True, return_state=True),
}

HEADS: dict[str, Callable[[Any, Any], Any]] = {
    **LAYERS,
    "conv": lambda keras, _: keras.layers.Conv1D(4, 3, padding="same"),
}


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "unmasked"])
@pytest.mark.parametrize("name", LAYERS)
def test_patched_layer_equals_keras(keras: Any, tensorflow: Any, name: str, masked: bool) -> None:
    """A layer traced in the patched loop equals Keras' own, including states and masked tokens."""
    layer = LAYERS[name](keras, tensorflow)
    values = np.random.default_rng(0).normal(size=(3, 5, 6)).astype(np.float32)
    mask = np.arange(5) < np.array(LENGTHS)[:, None] if masked else None
    mask = None if mask is None else tensorflow.constant(mask)
    expected = layer(values, mask=mask)
    spec = tensorflow.TensorSpec([None, 5 if "unrolled" in name else None, 6])
    with convertible_loops():
        found = tensorflow.function(lambda batch: layer(batch, mask=mask), input_signature=[spec], autograph=False)(
            values
        )
    for value, expected_value in zip(tensorflow.nest.flatten(found), tensorflow.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(value, expected_value, atol=1e-6)


@pytest.mark.parametrize("name", ["bilstm", "gru"])
def test_weights_are_read_before_the_loop(keras: Any, tensorflow: Any, name: str) -> None:
    """No loop contains a variable of an LSTM or GRU, so all weights, including BERT's, can be detached."""
    layer = LAYERS[name](keras, tensorflow)
    spec = tensorflow.TensorSpec([None, None, 6], name="values")
    mask = tensorflow.TensorSpec([None, None], tensorflow.bool, name="mask")
    with convertible_loops():
        traced = tensorflow.function(lambda values, mask: layer(values, mask=mask), input_signature=[spec, mask])
        detached = detach_weights(traced.get_concrete_function())
    assert detached is not None
    found = [value.shape for value in detached.weights.values()]
    assert sorted(found) == sorted(tuple(weight.shape) for weight in layer.weights)


def test_keras_is_restored(keras: Any, tensorflow: Any) -> None:
    """After the context, even after an error, Keras has its own loop."""
    del tensorflow
    from tf_keras.src import backend

    before = keras.backend.rnn
    with pytest.raises(ZeroDivisionError, match="not Keras' own"), convertible_loops():
        raise ZeroDivisionError("not Keras' own" * (backend.rnn is not before))
    assert backend.rnn is before


@pytest.fixture
def tagger(checkpoint: Callable[..., Path], keras: Any, tensorflow: Any) -> Callable[..., Any]:
    """Build a tagger of a tiny BERT and recurrent layers; return the model and its tokenizer."""
    from bertbundle_export.checkpoints import LoadOptions, load_checkpoint

    source = load_checkpoint(checkpoint("BertModel", num_hidden_layers=1), "x", LoadOptions())

    def make(*layers: Any) -> tuple[Any, Any]:
        class Tagger(keras.Model):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.bert, self.recurrent, self.dense = source.keras, layers, keras.layers.Dense(len(LABELS))

            def call(self, inputs: Any, training: bool = False) -> Any:
                hidden = self.bert(inputs, training=training).last_hidden_state
                mask = tensorflow.cast(inputs["attention_mask"], tensorflow.bool)
                for layer in self.recurrent:
                    hidden = layer(hidden) if "conv" in layer.name else layer(hidden, mask=mask)
                return self.dense(hidden)

        return Tagger(), source.tokenizer

    return make


@pytest.mark.parametrize(
    "names", [("conv", "bilstm"), ("gru", "lstm_backwards"), ("simple", "custom_cell")], ids="+".join
)
def test_recurrent_head_exports(
    tagger: Callable[..., Any], keras: Any, tensorflow: Any, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """BERT with recurrent layers is exported to a SavedModel and ONNX, verified on real texts with padding."""
    model, tokenizer = tagger(*(HEADS[name](keras, tensorflow) for name in names))
    exported = export_bundle(
        model,
        name="recurrent",
        output=tmp_path / "models",
        task="token-classification",
        labels=LABELS,
        tokenizer=tokenizer,
        max_length=32,
        lengths=(),
    )
    rows = [row for row in exported.manifest.parity if row.output == "logits"]
    assert {row.format for row in rows} == {"saved_model", "onnx", "onnx_standard"}
    assert max(row.max_abs for row in rows) < 1e-5
