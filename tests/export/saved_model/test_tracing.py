"""The traced model: its precision and its encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export import LoadOptions, export_bundle
from bertbundle_export.checkpoints.live import live_model
from bertbundle_export.encoder.kernels import has_onednn
from bertbundle_export.errors import ExportError
from bertbundle_export.saved_model.tracing import trace
from bertbundle_export.tasks import HeadConfig
from joint_models import write_vocabulary
from optional import skip_without

pytestmark = pytest.mark.slow


LAYERS = 2


def test_bfloat16_on_real_weights(tmp_path: Path, tensorflow: Any) -> None:
    """A real tagger can be exported in bfloat16: its labels agree, and ONNX stays float32 with float32's tolerance."""
    del tensorflow
    if not has_onednn("bfloat16"):
        skip_without("a TensorFlow with oneDNN")
    from real_weights import fetch

    options: dict[str, Any] = {"precision": "bfloat16", "word_labels": "first-labelled", "label_scheme": "IO"}
    manifest = export_bundle(
        fetch("rampart"), name="rampart", output=tmp_path, max_length=32, lengths=(), **options
    ).manifest
    assert manifest.precision == "bfloat16"
    labels = {row.format: row for row in manifest.parity if row.output == "label_ids"}
    assert labels["saved_model"].agreement >= 0.99
    logits = {row.format: row for row in manifest.parity if row.output == "logits"}
    assert 1e-4 < logits["saved_model"].max_abs <= logits["saved_model"].atol
    assert logits["onnx"].max_abs < 1e-4 == logits["onnx"].atol


def test_bfloat16_needs_a_supported_encoder(checkpoint: Callable[..., Path], tmp_path: Path, tensorflow: Any) -> None:
    """A model with an unsupported encoder cannot be exported in bfloat16; the error says what to do."""
    del tensorflow
    source = checkpoint(hidden_act="swish")
    with pytest.raises(ExportError, match=r"precision bfloat16 is not possible: .*Export with --precision float32"):
        export_bundle(source, name="t", output=tmp_path / "m", precision="bfloat16")
    assert list((tmp_path / "m").rglob("*")) == []


@pytest.mark.parametrize("kind", ["Roberta", "DistilBert", "Electra"])
def test_bert_like_encoders_are_patched(
    checkpoint: Callable[..., Path], tmp_path: Path, tensorflow: Any, kind: str
) -> None:
    """RoBERTa, DistilBERT and ELECTRA can be exported in int8: all products are quantized, and ELECTRA's projection."""
    import onnx

    del tensorflow
    options: dict[str, Any] = {"precision": "int8", "formats": ("onnx",), "max_length": 16, "lengths": ()}
    source = checkpoint(f"{kind}Model", initializer_range=0.05)
    path = export_bundle(source, name="t", output=tmp_path / "m", **options).path
    nodes = onnx.load(str(path / "model.onnx"), load_external_data=False).graph.node
    count = sum(node.op_type == "DynamicQuantizeMatMul" for node in nodes)
    assert count == 4 * LAYERS + (kind == "Electra")


class _Classifier:
    """A Dense layer on the first token, and what follows it."""

    def __init__(self, end: Callable[[Any, Any], Any]) -> None:
        import tf_keras

        self._embedding, self._dense, self._end = tf_keras.layers.Embedding(500, 4), tf_keras.layers.Dense(3), end
        self._dense(self._embedding(np.zeros((1, 4), np.int32))[:, 0])

    @property
    def variables(self) -> list[Any]:
        """The weights."""
        return [*self._embedding.variables, *self._dense.variables]

    def __call__(self, inputs: Any, *, training: bool) -> Any:
        """Return a dict with the logits."""
        import tensorflow as tf

        del training
        return {"logits": self._end(tf, self._dense(self._embedding(inputs["input_ids"])[:, 0]))}


def _sigmoid(tf: Any, logits: Any) -> Any:
    return tf.sigmoid(logits)


def _moved(tf: Any, logits: Any) -> Any:
    return tf.identity(tf.reshape(tf.cast(tf.sigmoid(logits), tf.float32), [-1, 3]))


def _called(tf: Any, logits: Any) -> Any:
    return tf.function(lambda value: tf.identity(tf.function(tf.sigmoid)(value)))(logits)


def _stacked(tf: Any, logits: Any) -> Any:
    return tf.stack([tf.sigmoid(logits[:, index]) for index in range(3)], axis=1)


@pytest.mark.parametrize(
    ("end", "operation"),
    [
        pytest.param(_sigmoid, "Sigmoid", id="sigmoid"),
        pytest.param(_moved, "Sigmoid", id="moved"),
        pytest.param(_called, "Sigmoid", id="called"),
        pytest.param(_stacked, "Sigmoid", id="stacked"),
        pytest.param(lambda tf, logits: tf.keras.activations.softmax(logits), "Softmax", id="softmax"),
        pytest.param(lambda _, logits: logits, "BiasAdd", id="dense"),
        pytest.param(lambda tf, logits: 2 * tf.sigmoid(logits), "Mul", id="scaled"),
    ],
)
def test_operations(tensorflow: Any, tmp_path: Path, end: Callable[[Any, Any], Any], operation: str) -> None:
    """The operation that computes the logits is found behind operations that move them, and inside functions."""
    del tensorflow
    options = LoadOptions(task="text-classification", labels=("a", "b", "c"))
    source = live_model(_Classifier(end), options, write_vocabulary(tmp_path))
    assert trace(source, HeadConfig(labels=source.labels)).operations == {"logits": operation}
