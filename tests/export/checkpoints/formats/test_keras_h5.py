""".h5 files of models around transformers' TFBertMainLayer, as Keras writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.registry import describe_checkpoint
from bertbundle_export.errors import CheckpointError
from keras_files import (
    CONFIG,
    main_layer,
    random_weights,
    write_beside,
)
from source_models import example_inputs, predict

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


def _functional(reads: str, dense: dict[str, Any]) -> Any:
    import tf_keras
    from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

    from bertbundle_export.tensorflow_import import transformers

    config = transformers.BertConfig(**CONFIG, initializer_range=0.5)
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in names}
    outputs = TFBertMainLayer(config, name="bert")(inputs)
    features = {"tokens": outputs[0], "cls": outputs[0][:, 0], "pooler": outputs[1]}[reads]
    return tf_keras.Model(inputs, tf_keras.layers.Dense(5, **dense)(tf_keras.layers.Dropout(0.1)(features)))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("whole", [False, True], ids=["weights", "whole_model"])
@pytest.mark.parametrize(
    ("reads", "options"),
    [
        pytest.param("tokens", {"task": "token-classification"}, id="tokens"),
        pytest.param("cls", {"task": "text-classification", "pooling": "cls"}, id="cls"),
        pytest.param("pooler", {"task": "text-classification", "pooling": "pooler"}, id="pooler"),
    ],
)
def test_functional_model(tmp_path: Path, tensorflow: Any, whole: bool, reads: str, options: dict[str, Any]) -> None:
    """BERT and a Dense layer export without the user's code; a whole model states its task, weights need options."""
    model = _functional(reads, {"use_bias": not whole})
    expected = model({name: tensorflow.constant(value) for name, value in example_inputs().items()}, training=False)
    path = tmp_path / "model.h5"
    write_beside(path, CONFIG)
    (model.save if whole else model.save_weights)(str(path))
    if whole:
        (tmp_path / "bert_config.json").unlink()
    np.testing.assert_allclose(predict(path, **({} if whole else options)), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(
    ("reads", "activation", "task", "expected"),
    [
        pytest.param("pooler", "softmax", None, None, id="softmax"),
        pytest.param("cls", "sigmoid", None, "multi_label_classification", id="sigmoid"),
        pytest.param("pooler", "relu", None, "activation relu after its layer dense", id="relu"),
        pytest.param("tokens", "sigmoid", None, "activation sigmoid after its layer dense", id="sigmoid_of_tokens"),
        pytest.param("pooler", "sigmoid", "regression", "expected linear", id="sigmoid_of_regression"),
        pytest.param("pooler", "relu", "feature-extraction", None, id="encoder_alone"),
    ],
)
@pytest.mark.parametrize("layer", ["own", "layer_after"])
def test_activation_of_the_head(
    tmp_path: Path, tensorflow: Any, reads: str, activation: str, task: str | None, expected: str | None, layer: str
) -> None:
    """The bundle applies a whole model's activation itself, sigmoid for independent classes; others are refused."""
    del tensorflow
    import tf_keras

    model = _functional(reads, {"name": "dense", "activation": activation if layer == "own" else None})
    if layer == "layer_after":
        model = tf_keras.Model(model.inputs, tf_keras.layers.Activation(activation)(model.outputs[0]))
    model.save(str(tmp_path / "model.h5"))
    options = LoadOptions(task=task)
    if expected is None or "_" in expected:
        assert describe_checkpoint(tmp_path / "model.h5", options).config.get("problem_type") == expected
        return
    with pytest.raises(CheckpointError, match=expected):
        describe_checkpoint(tmp_path / "model.h5", options)


def test_class_of_transformers(write_keras_h5: Write, tensorflow: Any, tmp_path: Path) -> None:
    """The weights of a class of transformers contain the name of the class, so no task is needed."""
    from bertbundle_export.tensorflow_import import transformers

    model = transformers.TFBertForSequenceClassification(transformers.BertConfig(**CONFIG, num_labels=5))
    expected = model({name: tensorflow.constant(value) for name, value in example_inputs().items()}, training=False)
    write_keras_h5({}, main_layer())
    model.save_weights(str(tmp_path / "model.h5"))
    np.testing.assert_allclose(predict(tmp_path / "model.h5"), expected.logits, atol=1e-5)


@pytest.mark.parametrize(
    ("head", "options", "message"),
    [
        pytest.param({"kernel": (32, 5), "b2": (5, 3)}, {"task": "token-classification"}, "more than BERT", id="two"),
        pytest.param({"kernel": (64, 5)}, {"task": "token-classification"}, r"kernel \[32, labels\]", id="wide"),
        pytest.param({"kernel": (32, 5)}, {}, "belongs to no task", id="no_task"),
        pytest.param({"kernel": (32, 5)}, {"task": "text-classification"}, "Pass --pooling", id="no_pooling"),
        pytest.param({"kernel": (32, 4)}, {"task": "token-classification"}, r"expected \[32, 5\]", id="labels"),
    ],
)
def test_ambiguous_heads(
    write_keras_h5: Write, head: dict[str, tuple[int, int]], options: dict[str, Any], message: str
) -> None:
    """An ambiguous head raises an error that says what was found and what to pass."""
    weights = {f"{name}.weight": np.zeros(shape[::-1], np.float32) for name, shape in head.items()}
    with pytest.raises(CheckpointError, match=message):
        predict(write_keras_h5({**random_weights(), **weights}, main_layer()), **options)
