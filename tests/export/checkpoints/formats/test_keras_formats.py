"""The .h5 formats: keras-h5, keras-bert, bert-for-tf2; what they answer, and what they refuse."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bertbundle_export.checkpoints import LoadOptions, load_checkpoint
from bertbundle_export.checkpoints.inspect import inspect_checkpoint
from bertbundle_export.checkpoints.readers.keras_file import read_h5
from bertbundle_export.checkpoints.registry import describe_checkpoint, find_format
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.model import run_source
from keras_files import (
    CONFIG,
    Naming,
    bert_for_tf2,
    example_inputs,
    head_weights,
    keras_bert,
    main_layer,
    random_weights,
    write_beside,
    write_h5,
)
from tiny_checkpoints import LABELS, Weights

pytestmark = pytest.mark.slow

Write = Callable[..., Path]
NAMINGS = {"keras-h5": main_layer(), "keras-bert": keras_bert, "bert-for-tf2": bert_for_tf2()}
CLASSES = ("a", "b", "c", "d", "e")

# First six logits that the packages themselves gave: keras-bert 0.89.0 and bert-for-tf2 0.14.9 on tf_keras 2.21, their
# models built by get_model and by BertModelLayer(mask_zero=True), with a Dense layer, given the weights of the file.
# Both mean the approximation by tanh by gelu; with transformers' gelu the first is -4.17510.
TOKENS = [-4.1749153, 1.2428027, -1.2696228, 1.081197, -4.815441, -4.1791515]
# keras-bert: MaskedGlobalMaxPool1D, and Extract with NSP-Dense, before the Dense layer.
MAXIMUM = [-4.188512, 1.2104561, -1.2907317, 1.0324062, -4.856285, -4.181407]
POOLER = [1.6614931, 1.8864949, -2.462849, 5.0868626, 2.1141346, 1.6814643]


@pytest.fixture
def write(tmp_path: Path, tensorflow: Any) -> Write:
    """Write weights as model.h5 with a bert_config.json and a vocab.txt beside it; gives its path."""
    del tensorflow

    def write_model(weights: Weights, naming: Naming) -> Path:
        write_beside(tmp_path / "model.h5", CONFIG)
        return write_h5(tmp_path / "model.h5", weights, naming)

    return write_model


def encoder(*, pooler: bool = True) -> Weights:
    """Return the weights of a BERT, with or without a pooler."""
    return {name: value for name, value in random_weights().items() if pooler or "pooler" not in name}


def answer(path: Path, **options: Any) -> Any:
    """Return what a loaded file answers to the example."""
    model = load_checkpoint(path, str(path), LoadOptions(**{"labels": CLASSES, **options}))
    raw = run_source(model, example_inputs())
    return raw["logits"] if "logits" in raw else raw["last_hidden_state"]


@pytest.mark.parametrize(
    ("name", "pooler", "options", "expected"),
    [
        pytest.param("keras-bert", False, {"task": "token-classification"}, TOKENS, id="keras_bert"),
        pytest.param("bert-for-tf2", False, {"task": "token-classification"}, TOKENS, id="bert_for_tf2"),
        pytest.param("keras-bert", False, {"task": "text-classification", "pooling": "max"}, MAXIMUM, id="max"),
        pytest.param("keras-bert", True, {"task": "text-classification", "pooling": "pooler"}, POOLER, id="pooler"),
    ],
)
def test_answers_as_its_package(
    write: Write, name: str, pooler: bool, options: dict[str, Any], expected: list[float]
) -> None:
    """A model of keras-bert or bert-for-tf2 answers as that package's own code does."""
    path = write({**encoder(pooler=pooler), **head_weights("dense_3", 5)}, NAMINGS[name])
    assert find_format(path).name == name
    np.testing.assert_allclose(answer(path, **options).reshape(-1)[:6], expected, atol=1e-5)


def test_bert_for_tf2_without_token_types(write: Write) -> None:
    """A BertModelLayer that was called without token types answers the same for any."""
    weights = {name: value for name, value in encoder(pooler=False).items() if "token_type" not in name}
    path = write(weights, bert_for_tf2("my_bert"))
    model = load_checkpoint(path, "x", LoadOptions())
    inputs = example_inputs()
    first = run_source(model, inputs)["last_hidden_state"]
    other = run_source(model, {**inputs, "token_type_ids": 1 - inputs["token_type_ids"]})["last_hidden_state"]
    np.testing.assert_array_equal(first, other)


def test_keras_bert_positions_are_cut(write: Write) -> None:
    """keras-bert cuts the position embeddings to seq_len: the file is right, and not the configuration."""
    weights = encoder(pooler=False)
    weights["bert.embeddings.position_embeddings.weight"] = weights["bert.embeddings.position_embeddings.weight"][:20]
    model = load_checkpoint(write(weights, keras_bert), "x", LoadOptions())
    assert model.max_positions == 20


@pytest.mark.parametrize("name", NAMINGS)
def test_inspect_says_what_is_there(write: Write, name: str) -> None:
    """A file is described by its names, shapes and configuration, without TensorFlow."""
    path = write({**encoder(pooler=False), **head_weights("output", 5)}, NAMINGS[name])
    code = (
        "import sys, pathlib\n"
        "from bertbundle_export.checkpoints.base import LoadOptions\n"
        "from bertbundle_export.checkpoints.registry import describe_checkpoint\n"
        f"print(describe_checkpoint(pathlib.Path({str(path)!r}), LoadOptions()).config['architectures'])\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "['Bert and a Dense layer with 5 columns']"
    found = inspect_checkpoint(path, LoadOptions(task="token-classification", labels=LABELS))
    assert found["format"] == name
    assert [found[key] for key in ("layers", "hidden_size", "heads", "vocab_size", "task")] == [
        2, 32, 2, CONFIG["vocab_size"], "token-classification",
    ]  # fmt: skip


# ---- models that Keras itself writes


def _functional(reads: str, dense: dict[str, Any]) -> Any:
    import tf_keras as keras
    from transformers.models.bert.modeling_tf_bert import TFBertMainLayer

    from bertbundle_export.tensorflow_import import transformers

    config = transformers.BertConfig(**CONFIG, initializer_range=0.5)
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    outputs = TFBertMainLayer(config, name="bert")(inputs)
    features = {"tokens": outputs[0], "cls": outputs[0][:, 0], "pooler": outputs[1]}[reads]
    return keras.Model(inputs, keras.layers.Dense(5, **dense)(keras.layers.Dropout(0.1)(features)))


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
    """BERT and a Dense layer of any name export by themselves; a whole model says what it is for, weights are told."""
    model = _functional(reads, {"use_bias": not whole})
    expected = model({name: tensorflow.constant(value) for name, value in example_inputs().items()}, training=False)
    path = tmp_path / "model.h5"
    write_beside(path, CONFIG)
    (model.save if whole else model.save_weights)(str(path))
    if whole:
        (tmp_path / "bert_config.json").unlink()
    np.testing.assert_allclose(answer(path, **({} if whole else options)), expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(
    ("reads", "activation", "task", "expected"),
    [
        pytest.param("pooler", "softmax", None, None, id="softmax"),
        pytest.param("cls", "sigmoid", None, "multi_label_classification", id="sigmoid"),
        pytest.param("pooler", "relu", None, "activation relu over its layer dense", id="relu"),
        pytest.param("tokens", "sigmoid", None, "activation sigmoid over its layer dense", id="sigmoid_of_tokens"),
        pytest.param("pooler", "sigmoid", "regression", "expected linear", id="sigmoid_of_regression"),
        pytest.param("pooler", "relu", "feature-extraction", None, id="encoder_alone"),
    ],
)
@pytest.mark.parametrize("layer", ["own", "layer_after"])
def test_activation_of_the_head(
    tmp_path: Path, tensorflow: Any, reads: str, activation: str, task: str | None, expected: str | None, layer: str
) -> None:
    """A whole model's own activation is what the bundle applies, sigmoid to independent classes, or is refused."""
    del tensorflow
    import tf_keras as keras

    model = _functional(reads, {"name": "dense", "activation": activation if layer == "own" else None})
    if layer == "layer_after":
        model = keras.Model(model.inputs, keras.layers.Activation(activation)(model.outputs[0]))
    model.save(str(tmp_path / "model.h5"))
    options = LoadOptions(task=task)
    if expected is None or "_" in expected:
        assert describe_checkpoint(tmp_path / "model.h5", options).config.get("problem_type") == expected
        return
    with pytest.raises(CheckpointError, match=expected):
        describe_checkpoint(tmp_path / "model.h5", options)


def test_class_of_transformers(write: Write, tensorflow: Any, tmp_path: Path) -> None:
    """The weights of a class of transformers say its name: no task has to be given."""
    from bertbundle_export.tensorflow_import import transformers

    model = transformers.TFBertForSequenceClassification(transformers.BertConfig(**CONFIG, num_labels=5))
    expected = model({name: tensorflow.constant(value) for name, value in example_inputs().items()}, training=False)
    write({}, main_layer())
    model.save_weights(str(tmp_path / "model.h5"))
    np.testing.assert_allclose(answer(tmp_path / "model.h5"), expected.logits, atol=1e-5)


# ---- what is refused


def _change(path: Path, change: Callable[[Any], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def _truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _find(file: Any, end: str) -> str:
    names: list[str] = []
    file.visit(names.append)
    return next(name for name in names if name.endswith(end))


def _drop_bias(path: Path) -> None:
    _change(path, lambda file: file.__delitem__(_find(file, "beta:0")))


def _not_finite(path: Path) -> None:
    def change(file: Any) -> None:
        file[_find(file, "gamma:0")][0] = np.nan

    _change(path, change)


def _other_names(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["dense/dense/kernel:0"] = np.zeros((3, 3), np.float32)


def _no_h5(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")


def _config(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        write_beside(path, {key: value for key, value in {**CONFIG, **changes}.items() if value is not None})

    return change


def _small_vocabulary(path: Path) -> None:
    (path.parent / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n", encoding="utf-8")


BROKEN = {
    "truncated": (_truncate, r"model\.h5 cannot be read as h5"),
    "not_h5": (_no_h5, r"model\.h5 cannot be read as h5"),
    "other_names": (_other_names, r"no BERT in it.*found dense/kernel.*call export_bundle\(model"),
    "missing": (_drop_bias, "no weights for .*LayerNorm/beta"),
    "not_finite": (_not_finite, "gamma that are not finite"),
    "no_config": (lambda path: (path.parent / "bert_config.json").unlink(), "attention heads.*Pass --config"),
    "no_heads": (_config(num_attention_heads=None), "attention heads.*Pass --config"),
    "heads": (_config(num_attention_heads=5), "multiple of the number"),
    "too_few_layers": (_config(num_hidden_layers=1), r"no place for: bert\.encoder\.layer\.1\."),
    "too_many_layers": (_config(num_hidden_layers=3), r"no weights for .*layer_\._2"),
    "width": (_config(intermediate_size=48), r"intermediate\.dense\.weight \[32, 64\], expected \[32, 48\]"),
    "vocabulary": (_config(vocab_size=300), r"word_embeddings.*\[226, 32\], expected \[300, 32\]"),
    "tokenizer": (_small_vocabulary, "the tokenizer has 6 tokens, the model's embeddings have 226"),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", NAMINGS)
def test_broken_files(write: Write, name: str, broken: str) -> None:
    """A file that is damaged, or does not fit its configuration or vocabulary, is one error that names it."""
    change, message = BROKEN[broken]
    path = write({**encoder(pooler=False), **head_weights("output", 5)}, NAMINGS[name])
    change(path)
    options = {"task": "token-classification", "format": name if broken in ("truncated", "not_h5") else None}
    with pytest.raises(CheckpointError, match=message):
        answer(path, **options)


@pytest.mark.parametrize(
    ("head", "options", "message"),
    [
        pytest.param({"kernel": (32, 5), "b2": (5, 3)}, {"task": "token-classification"}, "more than BERT", id="two"),
        pytest.param({"kernel": (64, 5)}, {"task": "token-classification"}, r"kernel \[32, labels\]", id="wide"),
        pytest.param({"kernel": (32, 5)}, {}, "names no task", id="no_task"),
        pytest.param({"kernel": (32, 5)}, {"task": "text-classification"}, "Pass --pooling", id="no_pooling"),
        pytest.param({"kernel": (32, 4)}, {"task": "token-classification"}, r"expected \[32, 5\]", id="labels"),
    ],
)
def test_heads_that_are_not_clear(
    write: Write, head: dict[str, tuple[int, int]], options: dict[str, Any], message: str
) -> None:
    """What comes after BERT must be clear; the error says what there is and what to pass."""
    weights = {f"{name}.weight": np.zeros(shape[::-1], np.float32) for name, shape in head.items()}
    with pytest.raises(CheckpointError, match=message):
        answer(write({**encoder(), **weights}, main_layer()), **options)


def test_flipped_bits(write: Write) -> None:
    """Flipped bits are an error that names the file, or change values: they never end in another exception."""
    path = write({**encoder(pooler=False), **head_weights("output", 5)}, keras_bert)
    data, generator = path.read_bytes(), random.Random(0)  # noqa: S311 - no secret
    refused = 0
    for _ in range(40):
        broken = bytearray(data)
        for _ in range(32):
            broken[generator.randrange(len(broken))] ^= 1 << generator.randrange(8)
        path.write_bytes(broken)
        try:
            describe_checkpoint(path, LoadOptions(task="token-classification", format="keras-bert"))
            read_h5(path)
        except CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017 - some flips change values only
            refused += 1
    assert refused > 10
