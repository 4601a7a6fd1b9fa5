"""The commands of docs/checkpoints.md work as described."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from bert4keras_heads import pointer_weights, write_bert4keras
from documents import read_blocks
from export_command import run_export
from google_checkpoints import tf1_weights, write_tf1
from kashgari_models import CLASSES, write_kashgari
from keras_files import as_keras_h5
from tiny_checkpoints import pytorch_weights, vocabulary, write_checkpoint

pytestmark = pytest.mark.slow

COMMANDS = [
    command for block in read_blocks("docs/checkpoints.md") if block.language == "sh" for command in block.commands
]
SHORT = ("--max-length", "32")
Export: TypeAlias = "Callable[[str], dict[str, Any]]"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def command_of(start: str) -> str:
    """Return the only command that begins with `start`."""
    (found,) = [command for command in COMMANDS if command.startswith(start)]
    return found


@pytest.fixture
def export(tensorflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Return a function that runs a command, for short texts to save time, and returns the manifest of its bundle."""
    del tensorflow

    def run(command: str) -> dict[str, Any]:
        monkeypatch.chdir(tmp_path)
        run_export(command, *SHORT)
        return read_manifest(tmp_path)

    return run


def read_manifest(directory: Path) -> dict[str, Any]:
    """Return the manifest of the bundle that the page's commands write."""
    manifest: dict[str, Any] = json.loads((directory / "models/my-model/1/bundle.json").read_text(encoding="utf-8"))
    return manifest


def test_every_command_is_run() -> None:
    """A test below runs each command of the page."""
    starts = (
        "bertbundle-export output/",
        "bertbundle-export weights.h5",
        "bertbundle-export path/to/kashgari_model",
        "bertbundle-export best_model.weights",
        "bertbundle-export path/to/saved",
    )
    assert len(COMMANDS) == len(starts)
    assert all(command_of(start) for start in starts)


def test_weights_of_global_pointer(export: Export, tmp_path: Path) -> None:
    """Weights of a GlobalPointer need the settings that they do not state."""
    write_bert4keras(tmp_path / "best_model.weights", pointer_weights(3, 64))
    manifest = export(command_of("bertbundle-export best_model.weights"))
    assert (manifest["task"], manifest["labels"]) == ("span-classification", ["PER", "LOC", "ORG"])


def test_fine_tuned_google_checkpoint(export: Export, tmp_path: Path) -> None:
    """A fine-tuned TF1 checkpoint is exported with configuration and vocabulary of the model it was trained from."""
    source = write_checkpoint(tmp_path / "source", labels=("O", "B-PER", "I-PER"))
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    written = write_tf1(
        tmp_path / "output", tf1_weights(pytorch_weights(source)), config, vocabulary(), prefix="model.ckpt-1234"
    )
    (tmp_path / "chinese_L-12_H-768_A-12").mkdir()
    for name in ("bert_config.json", "vocab.txt"):
        shutil.move(written / name, tmp_path / "chinese_L-12_H-768_A-12" / name)
    manifest = export(command_of("bertbundle-export output/"))
    assert (manifest["task"], manifest["labels"]) == ("token-classification", ["O", "B-PER", "I-PER"])


def test_keras_weights(export: Export, tmp_path: Path) -> None:
    """Weights in an .h5 file are exported with a configuration, a vocabulary, a task, labels and a pooling."""
    labels = ("negative", "positive")
    source = write_checkpoint(tmp_path / "source", "BertForSequenceClassification", labels=labels)
    written, _ = as_keras_h5(source, tmp_path)
    written.rename(tmp_path / "weights.h5")
    (tmp_path / "config.json").rename(tmp_path / "bert_config.json")
    manifest = export(command_of("bertbundle-export weights.h5"))
    assert (manifest["task"], manifest["labels"]) == ("text-classification", [*labels])


def test_kashgari(export: Export, tmp_path: Path) -> None:
    """A directory of Kashgari needs no other options."""
    write_kashgari(tmp_path / "path/to/kashgari_model", "BiLSTM classifier")
    manifest = export(command_of("bertbundle-export path/to/kashgari_model"))
    assert (manifest["task"], manifest["labels"]) == ("text-classification", [*CLASSES])


def test_custom_model(tensorflow: Any, tmp_path: Path) -> None:
    """A directory of `save_pretrained` is exported with the class of the model, which the program imports."""
    from transformers import BertConfig

    from custom_models import Tagger

    source = write_checkpoint(tmp_path / "path/to/saved")
    config = BertConfig.from_pretrained(source, output_hidden_states=True)
    model = Tagger(config)
    inputs = {name: tensorflow.ones([1, 4], tensorflow.int32) for name in INPUTS}
    model(inputs, training=False)
    model.save_pretrained(str(source))
    package = tmp_path / "my_project"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.py").write_text("from custom_models import Tagger as BertNerModel\n", encoding="utf-8")
    program, *arguments = shlex.split(command_of("bertbundle-export path/to/saved"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [str(Path(sys.executable).parent / program), *arguments, *SHORT]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(tmp_path)
    assert manifest["task"] == "token-classification"
