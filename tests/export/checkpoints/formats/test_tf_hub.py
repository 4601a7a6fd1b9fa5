"""BERT models of TF Hub: both call styles, TF1 modules, and SavedModels that are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.formats.tf_hub import _google_name
from bertbundle_export.checkpoints.loader import load_checkpoint
from bertbundle_export.checkpoints.registry import describe_checkpoint, find_format
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.model import SourceModel
from tiny_checkpoints import pytorch_weights, vocabulary

pytestmark = pytest.mark.slow

Write = Callable[..., Path]
HEADS = LoadOptions(init_args={"num_attention_heads": 2})  # of size 16; modules do not state it, Google's have size 64


def load(path: Path, options: LoadOptions = HEADS) -> SourceModel:
    """Load a checkpoint."""
    return load_checkpoint(path, str(path), options)


@pytest.mark.parametrize(
    ("style", "options", "activation"),
    [
        pytest.param("list", {}, "gelu", id="list"),
        pytest.param("dict", {}, "gelu", id="dict"),
        pytest.param("module", {}, "gelu", id="module"),
        pytest.param("dict", {"approximate": True}, "gelu_new", id="approximate_gelu"),
        pytest.param("module", {"approximate": True}, "gelu_new", id="approximate_gelu_of_a_module"),
        pytest.param("list", {"hidden_act": "relu"}, "relu", id="relu"),
    ],
)
def test_sizes_and_weights(
    tf_hub: Write, checkpoint: Write, style: str, options: dict[str, Any], activation: str
) -> None:
    """Sizes, activation and weights are read, and the model agrees with the SavedModel's own call."""
    path = tf_hub(style=style, **options)
    config = describe_checkpoint(path, HEADS).config
    assert {
        key: config[key] for key in ("hidden_size", "num_hidden_layers", "intermediate_size", "type_vocab_size")
    } == {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 64,
        "type_vocab_size": 2,
    }
    assert (config["hidden_act"], config["vocab_size"]) == (activation, len(vocabulary()))
    assert style == "module" or config["num_attention_heads"] == 2
    found = find_format(path).read(describe_checkpoint(path, HEADS), HEADS)
    expected = pytorch_weights(checkpoint("BertModel"))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    assert load(path).task == "feature-extraction"


@pytest.mark.parametrize("style", ["list", "dict"])
@pytest.mark.parametrize("lowercase", [True, False], ids=["uncased", "cased"])
def test_casing(tf_hub: Write, style: str, lowercase: bool) -> None:
    """The model's `do_lower_case` overrides the vocabulary."""
    from bertbundle_export.source.tokenization import is_lowercase

    path = tf_hub(style=style, lowercase=lowercase)
    assert describe_checkpoint(path, HEADS).lowercase is lowercase
    assert is_lowercase(load(path).tokenizer) is lowercase


def test_casing_of_a_module(tf_hub: Write) -> None:
    """A TF1 module does not state its casing: the vocabulary decides."""
    path = tf_hub(style="module")
    assert describe_checkpoint(path, HEADS).lowercase is None


def test_other_head_sizes(tf_hub: Write) -> None:
    """A SavedModel with heads of an unusual size is refused unless the user gives the number of heads."""
    path = tf_hub(style="module")
    with pytest.raises(CheckpointError, match=r"last_hidden_state of its own graph differs by .* --init-args"):
        load(path, LoadOptions())
    assert load(path).task == "feature-extraction"


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        pytest.param("word_embeddings/embeddings_2", "bert/embeddings/word_embeddings", id="made_unique"),
        pytest.param(
            "transformer/layer_11/self_attention_output/bias",
            "bert/encoder/layer_11/attention/output/dense/bias",
            id="between_the_generations",
        ),
        pytest.param("bert/cls/predictions/output_bias/bias", "cls/predictions/output_bias", id="mlm_bias"),
        pytest.param(
            "cls/predictions/transform/LayerNorm/gamma", "cls/predictions/transform/LayerNorm/gamma", id="mlm_norm"
        ),
        pytest.param("do_lower_case", "do_lower_case", id="other"),
    ],
)
def test_names(variable: str, name: str) -> None:
    """Names that Keras numbered, names between the two generations, and names of the MLM head are translated."""
    assert _google_name(variable) == name


def test_saved_model_without_tags(tf_hub: Write) -> None:
    """A SavedModel of TensorFlow 2 without tags is read."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path = tf_hub()
    proto = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    del proto.meta_graphs[0].meta_info_def.tags[:]
    (path / "saved_model.pb").write_bytes(proto.SerializeToString())
    assert load(path).task == "feature-extraction"


# ---- SavedModels that are refused


def replace(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Return a function that changes a file."""
    return lambda path: (path / name).write_bytes(change((path / name).read_bytes()))


def flip(data: bytes) -> bytes:
    """Flip one bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]


DATA = "variables/variables.data-00000-of-00001"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(
            replace(DATA, lambda data: data[:-9]), r"variables.data-.* has \d+ bytes, its index says", id="cut"
        ),
        pytest.param(replace(DATA, flip), "variables is damaged at", id="bit_flipped"),
        pytest.param(replace("variables/variables.index", lambda data: data[:90]), "is not the index", id="index_cut"),
        pytest.param(
            replace("saved_model.pb", lambda data: data[:999]), "is not a SavedModel, or is truncated", id="graph_cut"
        ),
        pytest.param(replace("saved_model.pb", lambda _: b""), "is a SavedModel without a graph", id="graph_empty"),
        pytest.param(lambda path: shutil.rmtree(path / "variables"), "no file .*variables.index", id="no_variables"),
        pytest.param(lambda path: shutil.rmtree(path / "assets"), "no tokenizer. Pass --tokenizer", id="no_assets"),
        pytest.param(replace("assets/vocab.txt", lambda _: b"[PAD]\n[UNK]\n"), "do not match|tokenizer", id="vocab"),
    ],
)
def test_damage(tf_hub: Write, damage: Callable[[Path], object], message: str) -> None:
    """A damaged or inconsistent SavedModel raises one error that names the file or tensor and what is wrong."""
    path = tf_hub()
    damage(path)
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_saved_model_of_another_model(tensorflow: Any, tmp_path: Path) -> None:
    """A SavedModel of another model raises an error with what was expected and found."""
    module = tensorflow.Module()
    module.kernel = tensorflow.Variable([1.0], name="dense/kernel")
    tensorflow.saved_model.save(module, str(tmp_path / "other"))
    with pytest.raises(CheckpointError, match=r"not a BERT checkpoint: expected bert/embeddings.*found dense/kernel"):
        load(tmp_path / "other")


def test_saved_model_that_computes_something_else(tf_hub: Write) -> None:
    """If a SavedModel with BERT's weights computes something else, the error states the difference."""
    path = tf_hub(layer_norm_eps=0.1)
    message = r"last_hidden_state of its own graph differs by [\d.e+-]+ from that of a BERT"
    with pytest.raises(CheckpointError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        pytest.param("erf", "expected __call__ or a signature 'tokens', found signatures", id="no_call"),
        pytest.param("cos", "its graph has none of the operations Erf, ", id="no_activation"),
    ],
)
def test_saved_model_that_cannot_be_called(tensorflow: Any, tf_hub: Write, function: str, message: str) -> None:
    """A SavedModel with BERT's weights that cannot be called is refused: the model could not be verified."""
    path = tf_hub()
    module, vocab = tensorflow.Module(), (path / "assets" / "vocab.txt").read_bytes()
    module.weights = [
        tensorflow.Variable(item, name=item.name.partition(":")[0])
        for item in tensorflow.saved_model.load(str(path)).variables
    ]
    signature = [tensorflow.TensorSpec([None], tensorflow.float32)]
    module.other = tensorflow.function(getattr(tensorflow.math, function), input_signature=signature)
    shutil.rmtree(path)
    tensorflow.saved_model.save(module, str(path))
    (path / "assets" / "vocab.txt").write_bytes(vocab)
    with pytest.raises(CheckpointError, match=message):
        load(path)
