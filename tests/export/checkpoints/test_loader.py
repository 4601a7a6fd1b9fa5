"""Checkpoints in every form that they come in, and those that are none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from bertbundle_export.checkpoints import LoadOptions, load_checkpoint
from bertbundle_export.checkpoints.inspect import inspect_checkpoint
from bertbundle_export.checkpoints.readers.weight_files import read_pytorch
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.architectures import check_config
from bertbundle_export.source.model import SourceModel, run_source
from optional import TORCH_MARKS, needs_torch
from tiny_checkpoints import LABELS, change_config, pytorch_weights, to_pytorch, to_safetensors

pytestmark = pytest.mark.slow

Write = Callable[..., Path]


def load(path: Path, **options: Any) -> SourceModel:
    """Load a checkpoint."""
    return load_checkpoint(path, str(path), LoadOptions(**options))


def logits(path: Path) -> np.ndarray[Any, Any]:
    """Return what a checkpoint's model answers to a fixed batch."""
    ids = np.arange(3 * 7, dtype=np.int32).reshape(3, 7) + 5
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return run_source(load(path, allow_pickle=True), inputs)["logits"]


FORMS: dict[str, Callable[[Path], None]] = {
    "safetensors": to_safetensors,
    "safetensors_sharded": lambda path: to_safetensors(path, shards=3),
    "pytorch": to_pytorch,
    "pytorch_sharded": lambda path: to_pytorch(path, shards=3),
}


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=TORCH_MARKS if form.startswith("pytorch") else ()) for form in FORMS]
)
def test_every_form_of_weights_is_the_same_model(checkpoint: Write, form: str) -> None:
    """A checkpoint answers the same from whichever files it is read."""
    path = checkpoint()
    expected = logits(path)
    FORMS[form](path)
    assert not (path / "tf_model.h5").exists()
    np.testing.assert_allclose(logits(path), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_weights(checkpoint: Write, dtype: Any) -> None:
    """Weights stored in half precision are the same model as those numbers stored in float32."""
    half, rounded = checkpoint(name="half"), checkpoint(name="rounded")
    to_safetensors(half, dtype=dtype)
    to_safetensors(rounded, rounded_to=dtype)
    np.testing.assert_array_equal(logits(half), logits(rounded))


def test_sharded_h5(checkpoint: Write) -> None:
    """TensorFlow's own shards are read."""
    path = checkpoint()
    model, whole = load(path).keras, logits(path)
    (path / "tf_model.h5").unlink()
    model.save_pretrained(str(path), max_shard_size="20KB")
    assert (path / "tf_model.h5.index.json").is_file()
    np.testing.assert_array_equal(logits(path), whole)


def test_masked_language_model_gives_features(checkpoint: Write) -> None:
    """A masked language model fills masks; its encoder, without a pooler, is there when asked for."""
    path = checkpoint("BertForMaskedLM")
    assert load(path).task == "fill-mask"
    model = load(path, task="feature-extraction")
    ids = np.full((1, 4), 6, np.int32)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    assert set(run_source(model, inputs)) == {"last_hidden_state"}


def _break(name: str, change: Callable[[Path], object], message: str, **options: Any) -> Any:
    return pytest.param(change, options, message, id=name)


def _truncate(name: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        data = (path / name).read_bytes()
        (path / name).write_bytes(data[: len(data) // 2])

    return change


def _drop_tensor(path: Path) -> None:
    from safetensors.numpy import save_file

    weights = pytorch_weights(path)
    weights.pop("classifier.bias")
    (path / "tf_model.h5").unlink()
    save_file(weights, str(path / "model.safetensors"), metadata={"format": "pt"})


def _add_tensor(path: Path) -> None:
    from safetensors.numpy import save_file

    weights = pytorch_weights(path) | {"crf.transitions": np.zeros((5, 5), np.float32)}
    (path / "tf_model.h5").unlink()
    save_file(weights, str(path / "model.safetensors"), metadata={"format": "pt"})


def _truncated_safetensors(path: Path) -> None:
    to_safetensors(path)
    _truncate("model.safetensors")(path)


def _safetensors_header(header: bytes) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        (path / "tf_model.h5").unlink()
        (path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)

    return change


def _write(name: str, content: Any) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps(content), encoding="utf-8")

    return change


def _missing_shard(path: Path) -> None:
    to_safetensors(path, shards=3)
    (path / "model-00002-of-00003.safetensors").unlink()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        _break("no_config", lambda p: (p / "config.json").unlink(), "is not a checkpoint that can be read: found"),
        _break("config_no_json", lambda p: (p / "config.json").write_text("{"), "config.json is not JSON"),
        _break("other_model", lambda p: change_config(p, model_type="gpt2"), "model_type 'gpt2', expected one of"),
        _break("no_size", lambda p: change_config(p, hidden_size=None), "no number for hidden_size"),
        _break("no_weights", lambda p: (p / "tf_model.h5").unlink(), "no weights: expected model.safetensors"),
        _break("truncated_h5", _truncate("tf_model.h5"), "cannot be read as h5"),
        _break("truncated_safetensors", _truncated_safetensors, "its header says"),
        _break("missing_shard", _missing_shard, "names model-00002-of-00003.safetensors, not in"),
        _break("missing_tensor", _drop_tensor, "no weights for .*classifier"),
        _break("no_tokenizer", lambda p: (p / "vocab.txt").unlink(), "no tokenizer in"),
        _break(
            "other_vocabulary",
            lambda p: (p / "vocab.txt").write_text("[PAD]\n[UNK]\n"),
            "do not belong together|tokenizer",
        ),
        _break("no_labels", lambda p: change_config(p, id2label=None), "has no labels for token-classification"),
        _break(
            "placeholder_labels", lambda p: change_config(p, id2label={"0": "LABEL_0", "1": "LABEL_1"}), "no labels"
        ),
        _break("labels_not_numbered", lambda p: change_config(p, id2label={"0": "O", "2": "B-X"}), "not numbered"),
        _break(
            "fewer_labels",
            lambda _: None,
            "other shapes than config.json says for classifier.weight",
            labels=("O", "B-X"),
        ),
        _break("other_task", lambda _: None, "no weights for", task="text-classification", labels=LABELS),
        _break(
            "other_positions", lambda p: change_config(p, position_embedding_type="relative_key"), "only 'absolute' can"
        ),
        _break("decoder", lambda p: change_config(p, is_decoder=True), "has is_decoder True"),
        _break("heads", lambda p: change_config(p, num_attention_heads=5), "cannot be made from"),
        _break("activation", lambda p: change_config(p, hidden_act="foo"), "cannot be made from"),
        _break("problem_type", lambda p: change_config(p, problem_type="foo"), "that transformers refuses: ValueError"),
        _break("more_weights", _add_tensor, "weights that the model has no place for: crf.transitions"),
        _break("one_label", lambda _: None, "Pass --task regression", labels=("O",)),
        _break("label_twice", lambda _: None, "labels must differ, O is there", labels=("O", "O", "B-X")),
        _break("vocab_binary", lambda p: (p / "vocab.txt").write_bytes(b"\xff\xfe\x00"), "tokenizer"),
        _break("vocab_empty", lambda p: (p / "vocab.txt").write_bytes(b""), "tokenizer"),
        _break("other_layers", lambda p: change_config(p, num_hidden_layers=3), "no weights for .*layer"),
        _break(
            "other_width", lambda p: change_config(p, intermediate_size=32), "other shapes .*intermediate.dense.weight"
        ),
    ],
)
def test_what_is_no_checkpoint(
    checkpoint: Write, change: Callable[[Path], object], options: dict[str, Any], message: str
) -> None:
    """A checkpoint that does not hold together is one clear error; nothing is half loaded."""
    path = checkpoint()
    change(path)
    with pytest.raises(CheckpointError, match=message):
        load(path, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(_safetensors_header(b"[]"), "model.safetensors has a malformed header", id="header_list"),
        pytest.param(_safetensors_header(b'{"a": {}}'), "expected data_offsets for each tensor", id="no_offsets"),
        pytest.param(_safetensors_header(b""), "has a malformed header", id="empty_header"),
        pytest.param(_truncated_safetensors, "its header says", id="truncated"),
        pytest.param(_write("modules.json", {"a": 1}), "modules.json is not sentence-tr", id="modules_object"),
        pytest.param(_write("modules.json", [1]), "expected a list of objects", id="modules_numbers"),
        pytest.param(_write("1_Pooling/config.json", []), "expected an object", id="pooling_list"),
    ],
)
def test_inspect_refuses_malformed_files(checkpoint: Write, change: Callable[[Path], object], message: str) -> None:
    """`inspect` says what is wrong with a file that is cut off, or not what its name says."""
    path = checkpoint()
    change(path)
    with pytest.raises(CheckpointError, match=message):
        inspect_checkpoint(path, LoadOptions())


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("pad_token_id", "0", "a whole number, at least 0, or null"),
        ("pad_token_id", -1, "a whole number, at least 0, or null"),
        ("pad_token_id", 10**6, "one below vocab_size"),
        ("model_type", ["bert"], "one of bert"),
        ("hidden_size", "32", "a whole number above 0"),
        ("num_hidden_layers", True, "a whole number above 0"),
        ("intermediate_size", "64", "a whole number above 0"),
        ("type_vocab_size", "2", "a whole number, at least 0"),
        ("layer_norm_eps", "1e-12", "a number above 0"),
        ("hidden_act", None, "the name of an activation"),
        ("hidden_dropout_prob", "0.1", "a number from 0 to 1"),
    ],
)
def test_settings_have_types(key: str, value: Any, expected: str) -> None:
    """A setting of the wrong type or range is one error: its name, what was found, what was expected."""
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
    config: dict[str, Any] = {"model_type": "bert", **dict.fromkeys(sizes, 8)}
    check_config(config | {"hidden_act": "gelu", "pad_token_id": None, "layer_norm_eps": 1e-12}, "config.json")
    with pytest.raises(CheckpointError, match=rf"has {key} .*, expected {expected}"):
        check_config(config | {key: value}, "config.json")


@needs_torch
@pytest.mark.parametrize("content", [{"model": {}, "epoch": 3}, [1, 2]], ids=["training_state", "list"])
def test_pickle_that_is_no_state_dict(tmp_path: Path, content: Any) -> None:
    """A pickle of something else than tensors by name is refused, with what it is and what to save."""
    import torch

    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"is not a state dict, .*Save the state dict alone"):
        read_pytorch((tmp_path / "pytorch_model.bin",))


@pytest.mark.parametrize("problem", [None, "regression"])
def test_regression(checkpoint: Write, problem: str | None) -> None:
    """One class is a regression, stated or not: as a classification it would answer 1.0 to everything."""
    path = checkpoint("BertForSequenceClassification", labels=("LABEL_0",))
    change_config(path, problem_type=problem)
    assert load(path).task == "regression"


@pytest.mark.parametrize("given", [None, False, True])
def test_multi_label(checkpoint: Write, given: bool | None) -> None:
    """A live model and its checkpoint are multi-label alike: as problem_type says, unless the user says otherwise."""
    from bertbundle_export.checkpoints.live import live_model

    path = checkpoint("BertForSequenceClassification")
    change_config(path, problem_type="multi_label_classification")
    loaded = load(path, multi_label=given)
    live = live_model(loaded.keras, LoadOptions(task="text-classification", multi_label=given), loaded.tokenizer)
    assert loaded.multi_label == live.multi_label == (given is not False)


def test_features_leave_the_head_behind(checkpoint: Write) -> None:
    """A tagger's encoder exports as features when asked for; its head may stay behind."""
    path = checkpoint()
    to_safetensors(path)
    assert load(path, task="feature-extraction").task == "feature-extraction"


def test_pickle_without_torch(checkpoint: Write) -> None:
    """Without torch a PyTorch pickle is an error that says what to install; nothing else needs torch."""
    path = checkpoint()
    (path / "tf_model.h5").unlink()
    (path / "pytorch_model.bin").write_bytes(b"not looked at")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from bertbundle_export.checkpoints.readers.weight_files import read_pytorch\n"
        f"read_pytorch((Path({str(path / 'pytorch_model.bin')!r}),))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "CheckpointError: pytorch_model.bin is a PyTorch pickle and needs torch: pip install" in run.stderr


@needs_torch
def test_pickle_that_is_code(checkpoint: Write) -> None:
    """A pickle that would run code is refused."""
    import torch

    path = checkpoint()
    (path / "tf_model.h5").unlink()
    torch.save({"weight": os.system}, path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be read as PyTorch weights") as refused:
        load(path, allow_pickle=True)
    assert "weights_only" not in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(CheckpointError, match="safetensors, or pass --allow-pickle"):
        load(path)


@pytest.mark.parametrize(
    ("files", "options", "expected"),
    [
        pytest.param({}, {}, ("mean", False), id="plain"),
        pytest.param(
            {
                "modules.json": [
                    {"type": "sentence_transformers.models.Transformer"},
                    {"type": "x.Pooling"},
                    {"type": "x.Normalize"},
                ],
                "1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
            },
            {},
            ("cls", True),
            id="sentence_transformers",
        ),
        pytest.param(
            {"modules.json": [{"type": "x.Normalize"}]}, {"normalize": False}, ("mean", False), id="overridden"
        ),
        pytest.param(
            {"1_Pooling/config.json": {"pooling_mode_cls_token": True}},
            {"pooling": "mean"},
            ("mean", False),
            id="pooling",
        ),
    ],
)
def test_pooling(checkpoint: Write, files: dict[str, Any], options: dict[str, Any], expected: tuple[str, bool]) -> None:
    """Pooling and normalisation are what sentence-transformers stored, unless the user says otherwise."""
    path = checkpoint("BertModel")
    for name, content in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps(content), encoding="utf-8")
    model = load(path, **options)
    assert (model.pooling, model.normalized) == expected


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"1_Pooling/config.json": {"pooling_mode_lasttoken": True}}, id="last"),
        pytest.param({"modules.json": [{"type": "sentence_transformers.models.Dense"}]}, id="dense"),
    ],
)
def test_unknown_pooling(checkpoint: Write, files: dict[str, Any]) -> None:
    """A sentence embedding that would come out wrong is refused."""
    path = checkpoint("BertModel")
    for name, content in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match="Pass --pooling"):
        load(path)


def hub(path: Path, root: Path) -> dict[str, str]:
    """Put a checkpoint into a hub cache as `acme/tiny`; gives the environment that uses it without a network."""
    snapshot = root / "hub/models--acme--tiny/snapshots/0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(path, snapshot)
    refs = root / "hub/models--acme--tiny/refs"
    refs.mkdir()
    (refs / "main").write_text(snapshot.name)
    return {**os.environ, "HF_HOME": str(root), "HF_HUB_OFFLINE": "1"}


def test_hub_name(checkpoint: Write, tmp_path: Path) -> None:
    """A hub name is found in a cache of the hub's format."""
    environment = hub(checkpoint(), tmp_path / "home")
    command = [sys.executable, "-m", "bertbundle_export", "inspect", "acme/tiny", "--json"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert (found["architecture"], found["layers"], found["task"]) == (
        "BertForTokenClassification",
        2,
        "token-classification",
    )


def test_hub_name_that_cannot_be_had(checkpoint: Write, tmp_path: Path) -> None:
    """A hub name that is neither a directory nor to be had is one clear error."""
    environment = hub(checkpoint(), tmp_path / "home")
    command = [sys.executable, "-m", "bertbundle_export", "inspect", "acme/other"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "no directory acme/other, and it cannot be had from the hub" in run.stderr
    assert "Traceback" not in run.stderr
