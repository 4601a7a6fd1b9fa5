"""The model with its own head, and what the training script refuses; test_demo_chinese.py runs all of it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

LABELS = ["O", "B-PER", "I-PER"]
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
    """Return the module of the model, loaded without the warnings that TensorFlow and Keras give themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ner_model
        import train_chinese_ner  # noqa: F401 - load it here, too
    return ner_model


@pytest.fixture(scope="module")
def tf(ner: ModuleType) -> Any:  # noqa: ARG001 - it chooses the Keras before TensorFlow is loaded
    import tensorflow as tf

    return tf


def make_model(ner: ModuleType, *, layers: int = 1, freeze_bert: bool = False) -> Any:
    config = ner.BertConfig(
        vocab_size=10,
        num_hidden_layers=layers,
        hidden_size=8,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=6,
        num_labels=len(LABELS),
    )
    model = ner.BertNerModel(config, freeze_bert=freeze_bert)
    model.build_in_name_scope()
    return model


@pytest.mark.parametrize(("layers", "width"), [(1, 8), (5, 32)], ids=["one layer", "four of five layers"])
def test_the_head_sees_the_last_four_layers(ner: ModuleType, tf: Any, layers: int, width: int) -> None:
    """Logits are one row per token; the head is as wide as the layers it sees side by side."""
    model = make_model(ner, layers=layers)
    logits = model(input_ids=tf.constant(IDS), attention_mask=tf.constant(MASK)).logits
    assert tuple(logits.shape) == (2, 4, len(LABELS))
    assert tuple(model.classifier.kernel.shape) == (width, len(LABELS))


def test_inputs_may_come_by_name_or_in_a_dict(ner: ModuleType, tf: Any) -> None:
    """Both calls are the same, and token_type_ids are zeros where they are left out."""
    model = make_model(ner)
    by_name = model(input_ids=tf.constant(IDS), attention_mask=tf.constant(MASK)).logits
    zeros = tf.zeros_like(tf.constant(IDS))
    inputs = {"input_ids": tf.constant(IDS), "attention_mask": tf.constant(MASK), "token_type_ids": zeros}
    np.testing.assert_array_equal(model(inputs, training=False).logits, by_name)


def test_padding_changes_nothing(ner: ModuleType, tf: Any) -> None:
    """What stands under a mask of 0 has no influence on the tokens before it."""
    model = make_model(ner)
    other = [IDS[0], [2, 7, 3, 9]]
    logits = [model(input_ids=tf.constant(ids), attention_mask=tf.constant(MASK)).logits for ids in (IDS, other)]
    np.testing.assert_allclose(logits[0][1, :3], logits[1][1, :3], atol=1e-6)


@pytest.mark.parametrize("freeze_bert", [True, False], ids=["frozen", "trained"])
def test_freeze_bert_freezes_bert_and_only_bert(ner: ModuleType, freeze_bert: bool) -> None:
    """A training step changes BERT's weights unless it is frozen, and the head's always."""
    import train_chinese_ner

    model = make_model(ner, freeze_bert=freeze_bert)
    bert, head = model.bert.get_weights(), model.classifier.get_weights()
    rows = [([2, 5, 6, 3], [-1, 1, 2, -1]), ([2, 7, 3], [-1, 0, -1])]
    trainer = train_chinese_ner.Trainer(model, rows, mask_id=4, rate=0.1, seed=0)
    trainer.step(*trainer._arrays(rows))
    assert same(bert, model.bert.get_weights()) == freeze_bert
    assert not same(head, model.classifier.get_weights())
    assert len(model.trainable_variables) == (2 if freeze_bert else len(model.variables))


def same(before: Sequence[Any], after: Sequence[Any]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_sinusoids_by_hand(ner: ModuleType) -> None:
    """Position 0 is sin 0 and cos 0; the first frequency is 1, the second of two 1/100."""
    first, second = ner.sinusoids(2, 4)
    np.testing.assert_allclose(first, [0, 0, 1, 1])
    np.testing.assert_allclose(second, [np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01)], rtol=1e-6)


def test_a_pretrained_bert_is_taken_over_without_its_head(ner: ModuleType, tmp_path: Path) -> None:
    """Saved weights of BERT come back, from either format that save_pretrained writes; the head is new."""
    source = make_model(ner)
    for directory, safe in ((tmp_path / "h5", False), (tmp_path / "safetensors", True)):
        source.save_pretrained(directory, safe_serialization=safe)
        model = ner.pretrained_model(directory, ["O", "B-X", "I-X"], freeze_bert=True)
        assert same(source.bert.get_weights(), model.bert.get_weights())
        assert len(model.trainable_variables) == 2
        assert model.config.id2label == {0: "O", 1: "B-X", 2: "I-X"}


def test_pytorchs_safetensors_are_read_without_torch(ner: ModuleType, tmp_path: Path) -> None:
    """Names and orientation of PyTorch's weights are converted; the pooler that nobody needs is left out."""
    from safetensors.numpy import save_file

    source = make_model(ner)
    source.config.save_pretrained(tmp_path)
    save_file(pytorch_weights(source), tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert same(source.bert.get_weights(), ner.pretrained_model(tmp_path, LABELS).bert.get_weights())


def pytorch_weights(model: Any) -> dict[str, Any]:
    """Return BERT's weights under the names that PyTorch's BertModel gives them."""
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
    """The error is ours and names the directory."""
    from bertbundle import CheckpointError

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
        pytest.param(["--train", "o.bmes", "--vocab", "vocab.txt"], "labels no entity", id="no entity"),
        pytest.param(["--train", "train.bmes", "--vocab", "none.txt"], "no vocabulary at", id="no vocabulary"),
        pytest.param(["--train", "train.bmes", "--vocab", "bad.bmes"], "has no [CLS]", id="not a vocabulary"),
        pytest.param(["--train", "train.bmes"], "name --vocab FILE, or --bert DIR", id="neither vocab nor bert"),
        pytest.param(
            ["--train", "train.bmes", "--vocab", "v", "--freeze-bert"], "needs --bert", id="nothing to freeze"
        ),
        pytest.param(["--train", "t", "--vocab", "v", "--epochs", "0"], "--epochs: invalid", id="no epochs"),
        pytest.param(["--train", "t", "--vocab", "v", "--max-length", "2"], "must be at least 3", id="no room"),
    ],
)
def test_bad_input_is_refused_in_one_message(
    ner: ModuleType,  # noqa: ARG001 - loads quietly
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    """Exit code 2, and a message that says what was wrong."""
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
    except SystemExit as stop:  # argparse's own way out
        return int(str(stop.code))
