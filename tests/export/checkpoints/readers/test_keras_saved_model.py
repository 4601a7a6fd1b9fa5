"""SavedModels of Keras models as checkpoints: the weights are read from their variables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.registry import describe_checkpoint, find_format
from bertbundle_export.errors import CheckpointError
from keras_files import CONFIG, write_beside
from source_models import CLASSES, example_inputs, load, run
from tiny_checkpoints import LABELS

pytestmark = pytest.mark.slow

Write = Callable[..., Path]


def _functional(training: bool) -> Any:
    """Return a text classifier, after one step of training if `training`: then the SavedModel has optimizer slots."""
    import tf_keras

    from bertbundle_export.tensorflow_import import transformers

    bert = transformers.TFBertModel(transformers.BertConfig(**CONFIG, initializer_range=0.5))
    inputs = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in example_inputs()}
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(5, activation="softmax")(bert(inputs)[1]))
    if training:
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(example_inputs(), np.array([0, 1]), verbose=0)
    return model


@pytest.mark.filterwarnings("ignore")  # of Keras, while it saves
@pytest.mark.parametrize("training", [False, True], ids=["untrained", "trained"])
def test_functional_model(tmp_path: Path, tensorflow: Any, training: bool) -> None:
    """A model that Keras saved as a SavedModel gives its own results; its layers say what its head reads."""
    model = _functional(training)
    expected = model.predict(example_inputs(), verbose=0)
    path = tmp_path / "model"
    model.save(str(path), save_format="tf")
    write_beside(path)
    (tmp_path / "bert_config.json").unlink()  # the layers have the configuration
    assert find_format(path).name == "keras-h5"
    logits = run(load(path, labels=CLASSES))["logits"]
    np.testing.assert_allclose(tensorflow.nn.softmax(logits), expected, atol=1e-5)
    with pytest.raises(CheckpointError, match="the pooling is pooler, not mean"):
        describe_checkpoint(path, LoadOptions(task="text-classification", pooling="mean"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrapped", [False, True], ids=["keras", "tf_module"])
def test_class_of_transformers(checkpoint: Write, tmp_path: Path, tensorflow: Any, wrapped: bool) -> None:
    """A class of transformers gives its own results, saved by Keras or as a variable of another module."""
    from bertbundle_export.tensorflow_import import transformers

    source = checkpoint("BertForTokenClassification")
    model = transformers.TFBertForTokenClassification.from_pretrained(source)
    inputs = {name: tensorflow.constant(value) for name, value in example_inputs().items()}
    expected = model(inputs, training=False).logits
    path = tmp_path / "saved"
    if wrapped:
        module = tensorflow.Module()
        module.model = model
        tensorflow.saved_model.save(module, str(path))
    else:
        model.save(str(path), save_format="tf")
    loaded = load(path, config=source, tokenizer=source, labels=None)
    assert loaded.labels == LABELS
    np.testing.assert_allclose(run(loaded)["logits"], expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_directory_with_a_saved_model(checkpoint: Write) -> None:
    """A directory whose weights are in saved_model/1 only says what to export."""
    from bertbundle_export.tensorflow_import import transformers

    path = checkpoint("BertForTokenClassification")
    transformers.TFBertForTokenClassification.from_pretrained(path).save_pretrained(path, saved_model=True)
    (path / "tf_model.h5").unlink()
    with pytest.raises(CheckpointError, match=rf"Export {path / 'saved_model' / '1'}, with --config {path}"):
        load(path)
    loaded = load(path / "saved_model" / "1", config=path, tokenizer=path, labels=None)
    assert loaded.labels == LABELS


@pytest.mark.filterwarnings("ignore")
def test_damaged_files(tmp_path: Path, tensorflow: Any) -> None:
    """A damaged file of a SavedModel is one clear error."""
    del tensorflow
    path = tmp_path / "model"
    _functional(training=False).save(str(path), save_format="tf")
    write_beside(path)
    for name in ("keras_metadata.pb", "variables/variables.index"):
        data = (path / name).read_bytes()
        (path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(CheckpointError, match=r"Download it again|truncated"):
            load(path, format="keras-h5", labels=CLASSES)
        (path / name).write_bytes(data)
