"""The model with a custom head, and input that the training script refuses; test_demo_chinese.py runs it end to end."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

LABELS = ["O", "B-PER", "I-PER"]
HEADS = pytest.mark.parametrize("head", ["dense", "bilstm", "crf"])
IDS = [[2, 5, 6, 3], [2, 7, 3, 0]]
MASK = [[1, 1, 1, 1], [1, 1, 1, 0]]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"王五去北京，。"]
PYTORCH_NAMES = {
    "layer_._": "layer.",
    "gamma": "weight",
    "beta": "bias",
    "_embeddings/embeddings": "_embeddings/weight",
    "/": ".",
}


@pytest.fixture(scope="module")
def ner() -> ModuleType:
    """Return the module of the model, imported without the warnings of TensorFlow and Keras."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ner_model
        import train_chinese_ner  # noqa: F401 - also imported without warnings
    return ner_model


@pytest.fixture(scope="module")
def tf(ner: ModuleType) -> Any:  # noqa: ARG001 - selects the Keras version before TensorFlow is imported
    import tensorflow as tf

    return tf


def make_model(ner: ModuleType, *, layers: int = 1, head: str = "dense", freeze_bert: bool = False) -> Any:
    config = ner.BertConfig(
        vocab_size=10,
        num_hidden_layers=layers,
        hidden_size=8,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=6,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        ner_head=head,
    )
    model = ner.BertNerModel(config, freeze_bert=freeze_bert)
    model.build_in_name_scope()
    return model


@pytest.mark.parametrize(("layers", "width"), [(1, 8), (5, 32)], ids=["one layer", "four of five layers"])
def test_the_head_sees_the_last_four_layers(ner: ModuleType, tf: Any, layers: int, width: int) -> None:
    """There is one row of logits per token; the head's input is as wide as the layers it concatenates."""
    model = make_model(ner, layers=layers)
    logits = model(input_ids=tf.constant(IDS), attention_mask=tf.constant(MASK)).logits
    assert tuple(logits.shape) == (2, 4, len(LABELS))
    assert tuple(model.classifier.kernel.shape) == (width, len(LABELS))


@HEADS
def test_inputs_may_come_by_name_or_in_a_dict(ner: ModuleType, tf: Any, head: str) -> None:
    """Both calls give equal logits, and token_type_ids default to zeros."""
    model = make_model(ner, head=head)
    by_name = model(input_ids=tf.constant(IDS), attention_mask=tf.constant(MASK)).logits
    zeros = tf.zeros_like(tf.constant(IDS))
    inputs = {"input_ids": tf.constant(IDS), "attention_mask": tf.constant(MASK), "token_type_ids": zeros}
    np.testing.assert_array_equal(model(inputs, training=False).logits, by_name)


@HEADS
def test_padding_changes_nothing(ner: ModuleType, tf: Any, head: str) -> None:
    """Tokens with a mask of 0 have no influence on the tokens before them."""
    model = make_model(ner, head=head)
    other = [IDS[0], [2, 7, 3, 9]]
    logits = [model(input_ids=tf.constant(ids), attention_mask=tf.constant(MASK)).logits for ids in (IDS, other)]
    np.testing.assert_allclose(logits[0][1, :3], logits[1][1, :3], atol=1e-6)


@pytest.mark.parametrize(
    ("head", "freeze_bert", "weights_of_head"),
    [
        pytest.param("dense", True, 2, id="frozen"),
        pytest.param("dense", False, 2, id="trained"),
        pytest.param("crf", True, 2 + 6 + 1, id="BiLSTM and CRF"),
    ],
)
def test_freeze_bert_freezes_bert_and_only_bert(
    ner: ModuleType, head: str, freeze_bert: bool, weights_of_head: int
) -> None:
    """A training step changes BERT's weights unless it is frozen, and always the head's."""
    import ner_training

    model = make_model(ner, head=head, freeze_bert=freeze_bert)
    known = {id(variable) for variable in model.bert.variables}
    variables = [variable for variable in model.variables if id(variable) not in known]
    bert, head_before = model.bert.get_weights(), [variable.numpy() for variable in variables]
    rows = [([2, 5, 6, 3], [-1, 1, 2, -1]), ([2, 7, 3], [-1, 0, -1])]
    trainer = ner_training.Trainer(model, rows, mask_id=4, rates=(0.1, 0.2), seed=0)
    trainer.step(*trainer._arrays(rows))
    assert same(bert, model.bert.get_weights()) == freeze_bert
    assert len(variables) == weights_of_head
    assert not any(np.array_equal(before, variable) for before, variable in zip(head_before, variables, strict=True))
    assert len(model.trainable_variables) == (weights_of_head if freeze_bert else len(model.variables))


def same(before: Sequence[Any], after: Sequence[Any]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_crf_loss_by_enumeration(ner: ModuleType, tf: Any) -> None:
    """The loss is the negative logarithm of a sequence's probability among all sequences; padding is ignored."""
    del ner
    from ner_crf import crf_loss

    random = np.random.default_rng(0)
    logits, transitions = (random.normal(size=shape).astype(np.float32) for shape in ((2, 4, 3), (3, 3)))
    label_ids = np.array([[0, 2, 1, 1], [2, 0, 0, 0]], np.int32)
    losses = crf_loss(*map(tf.constant, (logits, label_ids, MASK, transitions))).numpy()
    for row, loss in enumerate(losses):
        length = sum(MASK[row])
        scores = {
            path: sum(logits[row, step, label] for step, label in enumerate(path))
            + sum(transitions[pair] for pair in itertools.pairwise(path))
            for path in itertools.product(range(3), repeat=length)
        }
        share = np.exp(scores[tuple(label_ids[row, :length].tolist())]) / np.exp(list(scores.values())).sum()
        np.testing.assert_allclose(loss, -np.log(share), rtol=1e-5)


def test_untrained_crf(ner: ModuleType) -> None:
    """An untrained CRF has equal scores for all allowed transitions, and forbids I- after O."""
    transitions = make_model(ner, head="crf").crf.transitions().numpy()
    assert transitions[0, 2] < -1e4
    assert not np.delete(transitions.ravel(), 2).any()


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "h5"])
def test_saved_model_is_restored(ner: ModuleType, tmp_path: Path, safe: bool) -> None:
    """`from_pretrained` restores every weight of the head, even the CRF's, which some transformers loaders drop."""
    source = make_model(ner, head="crf")
    source.crf.learned.assign_add(np.arange(9, dtype=np.float32).reshape(3, 3))
    source.save_pretrained(tmp_path, safe_serialization=safe)
    assert same(source.get_weights(), ner.BertNerModel.from_pretrained(tmp_path).get_weights())


def test_sinusoids_by_hand(ner: ModuleType) -> None:
    """Position 0 has sin 0 and cos 0; of two frequencies the first is 1, the second 1/100."""
    first, second = ner.sinusoids(2, 4)
    np.testing.assert_allclose(first, [0, 0, 1, 1])
    np.testing.assert_allclose(second, [np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01)], rtol=1e-6)


def test_pretrained_bert_is_loaded_without_its_head(ner: ModuleType, tmp_path: Path) -> None:
    """Saved weights of BERT are loaded from either format of save_pretrained; the head is new."""
    source = make_model(ner)
    for directory, safe in ((tmp_path / "h5", False), (tmp_path / "safetensors", True)):
        source.save_pretrained(directory, safe_serialization=safe)
        model = ner.pretrained_model(directory, ["O", "B-X", "I-X"], freeze_bert=True)
        assert same(source.bert.get_weights(), model.bert.get_weights())
        assert len(model.trainable_variables) == 2
        assert model.config.id2label == {0: "O", 1: "B-X", 2: "I-X"}


def test_pytorchs_safetensors_are_read_without_torch(ner: ModuleType, tmp_path: Path) -> None:
    """Names and layout of PyTorch's weights are converted; the unused pooler is left out."""
    from safetensors.numpy import save_file

    source = make_model(ner)
    source.config.save_pretrained(tmp_path)
    save_file(pytorch_weights(source), tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert same(source.bert.get_weights(), ner.pretrained_model(tmp_path, LABELS).bert.get_weights())


def pytorch_weights(model: Any) -> dict[str, Any]:
    """Return BERT's weights with the names of PyTorch's BertModel."""
    weights = {"pooler.dense.weight": np.zeros((8, 8), np.float32)}
    for variable in model.bert.variables:
        name = variable.name.split("/bert/")[1].removesuffix(":0").replace("layer_._", "layer.").replace("/", ".")
        name = (
            name.replace("gamma", "weight")
            .replace("beta", "bias")
            .replace("_embeddings.embeddings", "_embeddings.weight")
        )
        value = variable.numpy()
        weights[name.replace("kernel", "weight")] = np.ascontiguousarray(value.T if "kernel" in name else value)
    return weights


def test_a_directory_without_a_bert_is_refused(ner: ModuleType, tmp_path: Path) -> None:
    """The error is a CheckpointError that names the directory."""
    from bertbundle_export.errors import CheckpointError

    with pytest.raises(CheckpointError, match="cannot read a BERT from"):
        ner.pretrained_model(tmp_path, LABELS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    sentence = "王 B-PER\n五 E-PER\n去 O\n北 B-LOC\n京 E-LOC\n。 O\n\n"
    (tmp_path / "train.bmes").write_text(sentence * 40, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--train", "none.bmes", "--vocab", "vocab.txt"], "cannot read", id="no file"),
        pytest.param(["--train", "bad.bmes", "--vocab", "vocab.txt"], "bad.bmes, line 1: expected", id="malformed"),
        pytest.param(["--train", "o.bmes", "--vocab", "vocab.txt"], "has no labelled entity", id="no entity"),
        pytest.param(["--train", "train.bmes", "--vocab", "none.txt"], "no vocabulary at", id="no vocabulary"),
        pytest.param(["--train", "train.bmes", "--vocab", "bad.bmes"], "has no [CLS]", id="not a vocabulary"),
        pytest.param(["--train", "train.bmes"], "give --vocab FILE, or --bert DIR", id="neither vocab nor bert"),
        pytest.param(
            ["--train", "train.bmes", "--vocab", "v", "--freeze-bert"], "needs --bert", id="nothing to freeze"
        ),
        pytest.param(["--train", "t", "--vocab", "v", "--epochs", "0"], "--epochs: invalid", id="no epochs"),
        pytest.param(["--train", "t", "--vocab", "v", "--max-length", "2"], "must be at least 3", id="no room"),
    ],
)
def test_bad_input_is_refused_in_one_message(
    ner: ModuleType,  # noqa: ARG001 - imports TensorFlow without warnings
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    """Invalid input gives exit code 2 and one message that says what is wrong."""
    import train_chinese_ner

    (data / "bad.bmes").write_text("王\n", encoding="utf-8")
    (data / "o.bmes").write_text("王 O\n\n" * 20, encoding="utf-8")
    monkeypatch.chdir(data)
    assert exit_code(train_chinese_ner.main, arguments) == 2
    assert message in capsys.readouterr().err
    assert not (data / "models").exists()


def exit_code(main: Any, arguments: list[str]) -> int:
    try:
        return int(main(arguments))
    except SystemExit as stop:  # raised by argparse
        return int(str(stop.code))
