"""The commands of docs/checkpoints.md work as described."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bert4keras_heads import pointer_weights, write_bert4keras
from documents import read_blocks
from google_checkpoints import tf1_weights, write_tf1
from kashgari_models import CLASSES, write_kashgari
from keras_files import as_keras_h5
from tiny_checkpoints import pytorch_weights, vocabulary, write_checkpoint

pytestmark = pytest.mark.slow

COMMANDS = [
    command for block in read_blocks("docs/checkpoints.md") if block.language == "sh" for command in block.commands
]
SHORT = ("--max-length", "32")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def command_of(start: str) -> list[str]:
    """Return the arguments of the only command that begins with `start`."""
    (found,) = [command for command in COMMANDS if command.startswith(start)]
    return shlex.split(found)


def export(arguments: list[str], directory: Path) -> dict[str, Any]:
    """Run the command in a directory, for short texts to save time; return the manifest of its bundle."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    program = str(Path(sys.executable).parent / arguments[0])
    done = subprocess.run(
        [program, *arguments[1:], *SHORT], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
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


def test_weights_of_global_pointer(tensorflow: Any, tmp_path: Path) -> None:
    """Weights of a GlobalPointer need the settings that they do not state."""
    del tensorflow
    write_bert4keras(tmp_path / "best_model.weights", pointer_weights(3, 64))
    manifest = export(command_of("bertbundle-export best_model.weights"), tmp_path)
    assert (manifest["task"], manifest["labels"]) == ("span-classification", ["PER", "LOC", "ORG"])


def test_fine_tuned_google_checkpoint(tensorflow: Any, tmp_path: Path) -> None:
    """A fine-tuned TF1 checkpoint is exported with configuration and vocabulary of the model it was trained from."""
    del tensorflow
    source = write_checkpoint(tmp_path / "source", labels=("O", "B-PER", "I-PER"))
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    written = write_tf1(
        tmp_path / "output", tf1_weights(pytorch_weights(source)), config, vocabulary(), prefix="model.ckpt-1234"
    )
    (tmp_path / "chinese_L-12_H-768_A-12").mkdir()
    for name in ("bert_config.json", "vocab.txt"):
        shutil.move(written / name, tmp_path / "chinese_L-12_H-768_A-12" / name)
    manifest = export(command_of("bertbundle-export output/"), tmp_path)
    assert (manifest["task"], manifest["labels"]) == ("token-classification", ["O", "B-PER", "I-PER"])


def test_keras_weights(tensorflow: Any, tmp_path: Path) -> None:
    """Weights in an .h5 file are exported with a configuration, a vocabulary, a task, labels and a pooling."""
    del tensorflow
    labels = ("negative", "positive")
    source = write_checkpoint(tmp_path / "source", "BertForSequenceClassification", labels=labels)
    written, _ = as_keras_h5(source, tmp_path)
    written.rename(tmp_path / "weights.h5")
    (tmp_path / "config.json").rename(tmp_path / "bert_config.json")
    manifest = export(command_of("bertbundle-export weights.h5"), tmp_path)
    assert (manifest["task"], manifest["labels"]) == ("text-classification", [*labels])


def test_kashgari(tensorflow: Any, tmp_path: Path) -> None:
    """A directory of Kashgari needs no other options."""
    del tensorflow
    write_kashgari(tmp_path / "path/to/kashgari_model", "BiLSTM classifier")
    manifest = export(command_of("bertbundle-export path/to/kashgari_model"), tmp_path)
    assert (manifest["task"], manifest["labels"]) == ("text-classification", [*CLASSES])


def test_custom_model(tensorflow: Any, tmp_path: Path) -> None:
    """A directory of `save_pretrained` is exported with the class of the model."""
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
    manifest = export(command_of("bertbundle-export path/to/saved"), tmp_path)
    assert manifest["task"] == "token-classification"
