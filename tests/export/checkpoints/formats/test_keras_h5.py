""".h5 files of models around transformers' TFBertMainLayer, as Keras writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.registry import describe_checkpoint
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.model import run_source
from keras_files import (
    CONFIG,
    main_layer,
    random_weights,
    write_beside,
)
from source_models import CLASSES, example_inputs, load, predict
from tiny_checkpoints import vocabulary

pytestmark = pytest.mark.slow


Write = Callable[..., Path]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


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


def _whole_model(
    path: Path, read: Callable[[Any], Any], *, inputs: Sequence[str] = INPUTS, head: Any = None
) -> tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]:
    """Save a functional model of TFBertModel, `read` and a head; return its outputs for two texts, and their inputs."""
    import tf_keras

    from bertbundle_export.tensorflow_import import transformers

    bert = transformers.TFBertModel(transformers.BertConfig(**CONFIG, initializer_range=0.5))
    tensors = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in inputs}
    features = read(bert(tensors["input_ids"], **{name: tensors[name] for name in inputs[1:]}))
    model = tf_keras.Model(tensors, (head or tf_keras.layers.Dense(5, name="out"))(features))
    model.save(str(path))
    (path.parent / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    values = {name: example_inputs()[name] for name in inputs}
    return np.asarray(model(values, training=False)), values


def _pool(layer: str) -> Callable[[Any], Any]:
    def pool(outputs: Any) -> Any:
        import tf_keras

        return getattr(tf_keras.layers, layer)()(outputs[0])

    return pool


def _lambda(outputs: Any) -> Any:
    import tf_keras

    return tf_keras.layers.Lambda(lambda tokens: tokens[:, 0])(outputs[0])


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(
    ("read", "options", "message"),
    [
        pytest.param(_pool("GlobalAveragePooling1D"), {}, "it averages over padding, too", id="average"),
        pytest.param(_pool("GlobalAveragePooling1D"), {"pooling": "mean"}, "averages over padding", id="average_flag"),
        pytest.param(_pool("GlobalMaxPooling1D"), {"pooling": "max"}, "its maximum is over padding", id="maximum"),
        pytest.param(lambda out: out[0][:, -1], {"pooling": "cls"}, r"\(SlicingOpLambda\)", id="last_token"),
        pytest.param(lambda out: out[0][:, 0], {"pooling": "mean"}, "the pooling is cls, not mean", id="other_pooling"),
        pytest.param(lambda out: out[1], {"pooling": "cls"}, "the pooling is pooler, not cls", id="pooler"),
        pytest.param(lambda out: out[0][:, 0], {"task": "token-classification"}, "does not fit the task", id="task"),
        pytest.param(lambda out: out[0], {"task": "text-classification", "pooling": "cls"}, "all tokens", id="tokens"),
    ],
)
def test_flags_against_a_whole_model(
    tmp_path: Path, tensorflow: Any, read: Callable[[Any], Any], options: dict[str, Any], message: str
) -> None:
    """A whole model says what its head reads: flags that say something else, and unknown layers, are refused."""
    del tensorflow
    _whole_model(tmp_path / "model.h5", read)
    with pytest.raises(CheckpointError, match=message):
        describe_checkpoint(tmp_path / "model.h5", LoadOptions(**{"task": "text-classification", **options}))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(
    ("read", "inputs", "options"),
    [
        pytest.param(_lambda, INPUTS, {"task": "text-classification", "pooling": "cls"}, id="lambda"),
        pytest.param(lambda out: out[0][:, 0], INPUTS, {"pooling": "cls"}, id="same_pooling"),
        pytest.param(lambda out: out[1], INPUTS[:2], {}, id="pooler_without_token_types"),
        pytest.param(lambda out: out[0][:, 0], INPUTS[:2], {}, id="cls_without_token_types"),
    ],
)
def test_whole_model_as_it_says(
    tmp_path: Path, tensorflow: Any, read: Callable[[Any], Any], inputs: Sequence[str], options: dict[str, Any]
) -> None:
    """A layer whose code is not in the file is as the user says; inputs that the file does not use are not sent."""
    del tensorflow
    expected, values = _whole_model(tmp_path / "model.h5", read, inputs=inputs)
    model = load(tmp_path / "model.h5", labels=CLASSES, **options)
    assert [spec.name for spec in model.inputs] == list(inputs)
    np.testing.assert_allclose(run_source(model, values)["logits"], expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("read", [lambda out: out[1], lambda out: out[0]], ids=["text", "tokens"])
def test_bert_without_a_mask(tmp_path: Path, tensorflow: Any, read: Callable[[Any], Any]) -> None:
    """A model that calls BERT without attention_mask attends to padding: it is refused."""
    del tensorflow
    _whole_model(tmp_path / "model.h5", read, inputs=("input_ids", "token_type_ids"))
    with pytest.raises(CheckpointError, match="calls TFBertModel without attention_mask"):
        describe_checkpoint(tmp_path / "model.h5", LoadOptions())


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_one_sigmoid(tmp_path: Path, tensorflow: Any) -> None:
    """Dense(1, sigmoid) is a text classifier with one independent class."""
    del tensorflow
    import tf_keras

    head = tf_keras.layers.Dense(1, activation="sigmoid", name="out")
    expected, values = _whole_model(tmp_path / "model.h5", lambda out: out[1], head=head)
    model = load(tmp_path / "model.h5", labels=("spam",))
    logits = run_source(model, values)["logits"]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), expected, atol=1e-5)
    assert model.multi_label


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_time_distributed_head(tmp_path: Path, tensorflow: Any) -> None:
    """TimeDistributed(Dense(softmax)) is a Dense layer over all tokens."""
    import tf_keras

    head = tf_keras.layers.TimeDistributed(tf_keras.layers.Dense(5, activation="softmax"), name="out")
    expected, values = _whole_model(tmp_path / "model.h5", lambda out: out[0], head=head)
    logits = run_source(load(tmp_path / "model.h5", labels=CLASSES), values)["logits"]
    np.testing.assert_allclose(tensorflow.nn.softmax(logits), expected, atol=1e-5)


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
