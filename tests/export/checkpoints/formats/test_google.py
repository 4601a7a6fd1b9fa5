"""Google's TensorFlow 1 checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.readers.tensor_bundle import read_index, read_tensors
from bertbundle_export.checkpoints.registry import describe_checkpoint, find_format
from bertbundle_export.errors import CheckpointError
from optional import needs_torch
from source_models import CLASSES, load, run
from tiny_checkpoints import LABELS, Weights, pytorch_weights

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


LAYER = "bert/encoder/layer_0/attention/self/query/kernel"


def read(path: Path) -> Weights:
    """Return the weights of a checkpoint."""
    options = LoadOptions()
    return dict(find_format(path).read(describe_checkpoint(path, options), options))


@pytest.mark.parametrize(
    ("architecture", "described"),
    [
        pytest.param("BertModel", "BertModel", id="encoder"),
        pytest.param("BertForPreTraining", "BertForMaskedLM", id="pre_trained"),
        pytest.param("BertForMaskedLM", "BertForMaskedLM", id="mlm"),
        pytest.param("BertForSequenceClassification", "BertForSequenceClassification", id="classifier"),
        pytest.param("BertForTokenClassification", "BertForSequenceClassification", id="tagger"),
        pytest.param("BertForQuestionAnswering", "BertForQuestionAnswering", id="squad"),
    ],
)
def test_heads(tf1: Write, checkpoint: Write, architecture: str, described: str) -> None:
    """Every weight is read with transformers' name and layout, and the heads determine the class."""
    path = tf1(architecture)
    assert describe_checkpoint(path, LoadOptions()).config["architectures"] == [described]
    found, expected = read(path), pytorch_weights(checkpoint(architecture))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


@needs_torch
def test_parity_with_the_converter_of_transformers(tf1: Write) -> None:
    """The converter of transformers reads the same weights from the same file."""
    from transformers import BertConfig, BertForPreTraining
    from transformers.models.bert.modeling_bert import load_tf_weights_in_bert

    path = tf1("BertForPreTraining")
    config = BertConfig.from_json_file(path / "bert_config.json")
    converted = load_tf_weights_in_bert(BertForPreTraining(config), config, str(path / "bert_model.ckpt")).state_dict()
    found = read(path)
    assert found.keys() == {name for name in converted if not name.startswith("cls.predictions.decoder")}
    for name, value in found.items():
        np.testing.assert_array_equal(value, converted[name].numpy())


@pytest.mark.parametrize("transitions", [False, True], ids=["softmax", "crf"])
def test_head_in_the_scope_of_the_loss(tf1: Write, transitions: bool) -> None:
    """A head in the scope `loss`, as in BERT-NER, gives the same logits, and has its CRF."""
    generator = np.random.default_rng(0)
    kernel = generator.standard_normal((len(LABELS), 32)).astype(np.float32)
    bias, scores = (generator.standard_normal(shape).astype(np.float32) for shape in (len(LABELS), (len(LABELS),) * 2))
    more = {"loss/output_weights": kernel, "loss/output_bias": bias}
    path = tf1(more={**more, **({"crf_loss/transitions": scores} if transitions else {})})
    outputs = run(load(path, task="token-classification", labels=LABELS))
    hidden = run(load(path, task="feature-extraction"))["last_hidden_state"]
    np.testing.assert_allclose(outputs["logits"], hidden @ kernel.T + bias, atol=1e-5)
    assert ("transitions" in outputs) is transitions


def test_optimizer_slots_are_ignored(tf1: Write) -> None:
    """Optimizer slots, counters and losses are not read as weights; the model loads without them."""
    slots = {f"{LAYER}/{slot}": np.ones((32, 32), np.float32) for slot in ("adam_m", "adam_v", "lamb_m", "Adam_1")}
    counters = {"global_step": np.int64(100), "beta1_power": np.float32(0.9), "loss_scale": np.float32(1)}
    path = tf1(more={**slots, **counters})
    assert not [name for name in read(path) if "step" in name or "adam" in name.lower() or "power" in name]
    assert load(path).task == "feature-extraction"


def write_graph(file: Path, gelu: Callable[..., Any]) -> None:
    """Write a .meta file with a dense layer of Google's code and its activation."""
    from bertbundle_export.tensorflow_import import tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        with tf.compat.v1.variable_scope("bert/encoder/layer_0/intermediate"):
            x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
            tf.compat.v1.layers.dense(x, 8, activation=gelu)
        tf.compat.v1.train.export_meta_graph(str(file), graph_def=session.graph_def)


def exact_gelu(x: Any) -> Any:
    """Compute `gelu` as the first version of google-research/bert's modeling.py does."""
    from bertbundle_export.tensorflow_import import tf

    return x * 0.5 * (1.0 + tf.math.erf(x / tf.sqrt(2.0)))


def approximate_gelu(x: Any) -> Any:
    """Compute `gelu` as the last version does."""
    from bertbundle_export.tensorflow_import import tf

    return x * 0.5 * (1.0 + tf.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * tf.pow(x, 3))))


@pytest.mark.filterwarnings("ignore:.*layers.dense.*:UserWarning")
@pytest.mark.parametrize(("gelu", "name"), [(exact_gelu, "gelu"), (approximate_gelu, "gelu_new"), (None, "gelu")])
def test_gelu_is_in_the_graph(tf1: Write, gelu: Any, name: str) -> None:
    """Whether gelu is exact or approximate is taken from the graph; without one, a note says what is assumed."""
    path = tf1()
    change(hidden_act="gelu")(path)
    if gelu:
        write_graph(path / "bert_model.ckpt.meta", gelu)
    model = load(path)
    change(hidden_act=name)(path)
    expected = load(path)
    np.testing.assert_array_equal(run(model)["last_hidden_state"], run(expected)["last_hidden_state"])
    assert model.keras.config.hidden_act == name
    assert any("how gelu is computed" in note for note in model.notes) is (gelu is None)


def test_moving_averages_are_noted(tf1: Write) -> None:
    """A note says that moving averages of the weights are not used."""
    path = tf1(more={f"{LAYER}/ExponentialMovingAverage": np.ones((32, 32), np.float32)})
    assert any("moving averages of its weights" in note for note in load(path).notes)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(".", id="directory"),
        pytest.param("model.ckpt-12", id="prefix"),
        pytest.param("model.ckpt-12.index", id="index"),
        pytest.param("model.ckpt-12.data-00001-of-00003", id="shard"),
    ],
)
def test_source(tf1: Write, source: str) -> None:
    """A checkpoint can be given as a directory, a prefix or one of its files, with any prefix and number of shards."""
    path = tf1(prefix="model.ckpt-12", shards=3)
    found = describe_checkpoint(path / source, LoadOptions())
    assert (found.format, len(found.files), found.tokenizer) == ("tf1", 4, path)
    assert load(path / source).keras.count_params() > 0


def test_several_checkpoints(tf1: Write) -> None:
    """The file `checkpoint` selects one of several checkpoints in a directory; without it the user must select one."""
    path = tf1(prefix="model.ckpt-1")
    for file in list(path.glob("model.ckpt-1.*")):
        shutil.copyfile(file, path / file.name.replace("-1.", "-2."))
    with pytest.raises(CheckpointError, match=r"found model.ckpt-1, model.ckpt-2. Give one of them: .*/PREFIX"):
        describe_checkpoint(path, LoadOptions())
    (path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt-2"\n', encoding="utf-8")
    assert describe_checkpoint(path, LoadOptions()).files[0].name == "model.ckpt-2.index"


def test_fine_tuned_checkpoint_without_its_config(tf1: Write, tmp_path: Path) -> None:
    """A checkpoint of run_classifier.py has no config and no vocabulary; it loads with those of its base model."""
    path, base = tf1("BertForSequenceClassification", prefix="model.ckpt-9"), tmp_path / "base"
    base.mkdir()
    for name in ("bert_config.json", "vocab.txt"):
        (path / name).rename(base / name)
    with pytest.raises(CheckpointError, match=r"no bert_config\.json\. Pass --config"):
        load(path)
    with pytest.raises(CheckpointError, match=r"no tokenizer\. Pass --tokenizer"):
        load(path, config=base, labels=CLASSES)
    loaded = load(path, config=base, tokenizer=base / "vocab.txt", labels=CLASSES)
    assert (loaded.task, loaded.labels) == ("text-classification", CLASSES)


@pytest.mark.parametrize(
    ("token", "option", "lowercase"),
    [
        pytest.param("q", None, True, id="uncased_vocabulary"),
        pytest.param("Q", None, False, id="cased_vocabulary"),
        pytest.param("Q", True, True, id="user_says_uncased"),
        pytest.param("q", False, False, id="user_says_cased"),
    ],
)
def test_casing(tf1: Write, token: str, option: bool | None, lowercase: bool) -> None:
    """Texts are lower-cased as the vocabulary suggests, unless the user says otherwise."""
    from bertbundle_export.source.tokenization import is_lowercase

    path = tf1()
    vocab = (path / "vocab.txt").read_text(encoding="utf-8").splitlines()
    (path / "vocab.txt").write_text("\n".join([*vocab[:-1], token]) + "\n", encoding="utf-8")
    assert is_lowercase(load(path, lowercase=option).tokenizer) is lowercase


def change(**settings: Any) -> Callable[[Path], object]:
    """Return a function that changes bert_config.json; None removes a setting."""

    def apply(path: Path) -> None:
        file = path / "bert_config.json"
        config = json.loads(file.read_text(encoding="utf-8")) | settings
        file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))

    return apply


def flip(path: Path) -> None:
    """Flip one bit in the middle of the weights."""
    (file,) = path.glob("*.data-*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)


def truncate(path: Path) -> None:
    """Truncate the weights."""
    (file,) = path.glob("*.data-*")
    file.write_bytes(file.read_bytes()[:-4])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(
            truncate, r"bert_model.ckpt.data-00000-of-00001 has \d+ bytes, its index says \d+", id="truncated"
        ),
        pytest.param(flip, "bert_model.ckpt is damaged at bert/", id="bit_flipped"),
        pytest.param(
            change(hidden_size=48), r"word_embeddings of shape \[\d+, 32\], expected \[\d+, 48\]", id="hidden"
        ),
        pytest.param(
            change(intermediate_size=32), r"layer_0/intermediate/dense/kernel of shape \[32, 64\]", id="inner"
        ),
        pytest.param(
            change(num_hidden_layers=3), "has 2 layers, .*bert_config.json says num_hidden_layers 3", id="layers"
        ),
        pytest.param(change(type_vocab_size=3), "token_type_embeddings of shape", id="types"),
        pytest.param(change(vocab_size=None), "no number for vocab_size", id="no_size"),
        pytest.param(lambda path: (path / "bert_config.json").write_text("{"), "is not JSON", id="no_json"),
        pytest.param(lambda path: (path / "vocab.txt").write_text("[PAD]\n[UNK]\n"), "do not match|tok", id="vocab"),
        pytest.param(lambda path: (path / "vocab.txt").unlink(), "no tokenizer. Pass --tokenizer", id="no_vocab"),
    ],
)
def test_damage(tf1: Write, damage: Callable[[Path], object], message: str) -> None:
    """A damaged or inconsistent checkpoint raises one error that names the file or tensor and what is wrong."""
    path = tf1()
    damage(path)
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_missing_shard(tf1: Write) -> None:
    """The message names a missing shard."""
    path = tf1(shards=3)
    (path / "bert_model.ckpt.data-00001-of-00003").unlink()
    with pytest.raises(CheckpointError, match=r"has no bert_model\.ckpt\.data-00001-of-00003 beside it"):
        load(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("bert/encoder/transformer/group_0/inner_group_0/x", "is an ALBERT checkpoint", id="albert"),
        pytest.param("albert_model/word_embeddings/embeddings", "is an ALBERT checkpoint", id="albert_of_tf_hub"),
        pytest.param("electra/embeddings/x", "is an ELECTRA checkpoint", id="electra"),
        pytest.param("model/transformer/layer_0/x", "is an XLNet checkpoint", id="xlnet"),
        pytest.param("_CHECKPOINTABLE_OBJECT_GRAPH", "is a TensorFlow 2 checkpoint", id="objects"),
        pytest.param("dense/kernel", "is not a BERT checkpoint: expected bert/embeddings/word_emb", id="other"),
    ],
)
def test_other_checkpoints(tensorflow: Any, tmp_path: Path, name: str, message: str) -> None:
    """A checkpoint of another model raises an error that names the model and what was expected."""
    tensorflow.raw_ops.SaveV2(
        prefix=str(tmp_path / "x.ckpt"), tensor_names=[name], shape_and_slices=[""], tensors=[np.zeros(2, np.float32)]
    )
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


def test_unknown_head(tf1: Write) -> None:
    """Weights that transformers' class does not have are an error that lists their names in the file."""
    path = tf1("BertForTokenClassification", more={"my_head/scores": np.zeros((5, 5), np.float32)})
    with pytest.raises(CheckpointError, match="does not have: my_head/scores"):
        load(path, task="token-classification", labels=LABELS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"does not store its labels, only their number, 5\. Pass --labels"),
        ({"labels": ("yes", "no")}, r"has 5 classes, --labels has 2: yes, no\. Pass all of them"),
        ({"labels": LABELS}, r"a text classifier and a tagger both have, .* Pass --task token-classification, or"),
    ],
)
def test_labels_of_a_classifier(tf1: Write, options: dict[str, Any], message: str) -> None:
    """Labels that are missing, of another number, or of another task are an error before weights are read."""
    path = tf1("BertForSequenceClassification")
    with pytest.raises(CheckpointError, match=message):
        load(path, **options)


def _random(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("columns", [2, 3])
def test_logits_of_run_classifier(tf1: Write, columns: int) -> None:
    """The logits of a classifier are output_weights times the pooler's output, as in run_classifier.py."""
    path = tf1(more={"output_weights": _random(columns, 32), "output_bias": _random(columns)})
    outputs = run(load(path, labels=("no", "yes", "maybe")[:columns]))
    hidden = run(load(path, task="feature-extraction"))["last_hidden_state"]
    weights = read_tensors(index := read_index(path / "bert_model.ckpt"), index.entries)
    pooled = np.tanh(hidden[:, 0] @ weights["bert/pooler/dense/kernel"] + weights["bert/pooler/dense/bias"])
    np.testing.assert_allclose(outputs["logits"], pooled @ _random(columns, 32).T + _random(columns), atol=1e-5)


def test_logits_of_run_squad(tf1: Write) -> None:
    """Start and end of an answer are the rows of cls/squad/output_weights times each token, as in run_squad.py."""
    path = tf1(more={"cls/squad/output_weights": _random(2, 32), "cls/squad/output_bias": _random(2)})
    model = load(path)
    hidden = run(load(path, task="feature-extraction"))["last_hidden_state"]
    expected = hidden @ _random(2, 32).T + _random(2)
    assert model.task == "question-answering"
    for index, name in enumerate(("start_logits", "end_logits")):
        np.testing.assert_allclose(run(model)[name], expected[..., index], atol=1e-5)
