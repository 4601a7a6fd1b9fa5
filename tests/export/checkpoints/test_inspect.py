"""The facts that `inspect` reports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.inspect import inspect_checkpoint
from bertbundle_export.errors import CheckpointError
from keras_files import (
    CONFIG,
    NAMINGS,
    head_weights,
    random_weights,
)
from tiny_checkpoints import LABELS, to_safetensors

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


def _truncate(name: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        data = (path / name).read_bytes()
        (path / name).write_bytes(data[: len(data) // 2])

    return change


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(_safetensors_header(b"[]"), "model.safetensors has a malformed header", id="header_list"),
        pytest.param(_safetensors_header(b'{"a": {}}'), "expected data_offsets for each tensor", id="no_offsets"),
        pytest.param(_safetensors_header(b""), "has a malformed header", id="empty_header"),
        pytest.param(_truncated_safetensors, "its header says", id="truncated"),
        pytest.param(_write("modules.json", {"a": 1}), "modules.json is not in sentence-tr", id="modules_object"),
        pytest.param(_write("modules.json", [1]), "expected a list of objects", id="modules_numbers"),
        pytest.param(_write("1_Pooling/config.json", []), "expected an object", id="pooling_list"),
    ],
)
def test_inspect_refuses_malformed_files(checkpoint: Write, change: Callable[[Path], object], message: str) -> None:
    """`inspect` reports a truncated or malformed file."""
    path = checkpoint()
    change(path)
    with pytest.raises(CheckpointError, match=message):
        inspect_checkpoint(path, LoadOptions())


@pytest.mark.parametrize("name", NAMINGS)
def test_inspect_describes_h5_files(write_keras_h5: Write, name: str) -> None:
    """A file is described by its names, shapes and configuration, without TensorFlow."""
    path = write_keras_h5({**random_weights(pooler=False), **head_weights("output", 5)}, NAMINGS[name])
    code = (
        "import sys, pathlib\n"
        "from bertbundle_export.checkpoints.base import LoadOptions\n"
        "from bertbundle_export.checkpoints.registry import describe_checkpoint\n"
        f"print(describe_checkpoint(pathlib.Path({str(path)!r}), LoadOptions()).config['architectures'])\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "['Bert and a Dense layer with 5 columns']"
    found = inspect_checkpoint(path, LoadOptions(task="token-classification", labels=LABELS))
    assert found["format"] == name
    assert [found[key] for key in ("layers", "hidden_size", "heads", "vocab_size", "task")] == [
        2, 32, 2, CONFIG["vocab_size"], "token-classification",
    ]  # fmt: skip
