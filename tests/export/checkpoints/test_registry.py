"""The detection of a checkpoint's format."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.registry import describe_checkpoint, find_format
from bertbundle_export.errors import CheckpointError

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


def test_wrong_format(checkpoint: Write) -> None:
    """A given format that does not match is an error that names the detected one."""
    for name in ("keras-bert", "tf1"):
        with pytest.raises(CheckpointError, match=f"looks like huggingface, not {name}: "):
            describe_checkpoint(checkpoint(), LoadOptions(format=name))


def test_beside_hugging_face_weights(tf1: Write, checkpoint: Write) -> None:
    """A directory in both formats is read as Hugging Face's, which states more; --format selects the other."""
    path, source = tf1(), checkpoint()
    for name in ("config.json", "tf_model.h5"):
        shutil.copyfile(source / name, path / name)
    assert describe_checkpoint(path, LoadOptions()).format == "huggingface"
    assert describe_checkpoint(path, LoadOptions(format="tf1")).format == "tf1"


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "config.json", "vocab.txt"])
def test_file_of_a_directory(tmp_path: Path, name: str) -> None:
    """The message about a single file of a Hugging Face directory names the directory to give."""
    (tmp_path / name).write_bytes(b"any")
    with pytest.raises(CheckpointError, match="Give its directory, "):
        find_format(tmp_path / name)


def test_directory_of_checkpoints(checkpoint: Write) -> None:
    """The message about a directory with checkpoints, such as Trainer's, names them."""
    paths = [checkpoint(name=f"output/checkpoint-{step}") for step in (10, 20)]
    with pytest.raises(CheckpointError, match=f"Give one of them: {paths[0]}, {paths[1]}"):
        find_format(paths[0].parent)
