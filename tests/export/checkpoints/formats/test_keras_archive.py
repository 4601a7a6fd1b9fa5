"""The .keras archives of keras-hub."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.registry import describe_checkpoint, find_format
from bertbundle_export.errors import CheckpointError
from keras_archives import write_archive
from keras_files import head_weights, random_weights, write_beside
from source_models import load, run

pytestmark = pytest.mark.slow


# First values computed by keras-hub 0.32.0 on Keras 3.15.1 with these files, loaded by keras.saving.load_model.
FEATURES = [0.22394903, 0.07813855, 0.27472383, -0.283626, -0.13723879, -0.38373664]


POOLED = [-0.3978629, -0.01648344, 0.68669, 0.6997839, 0.707352, -0.64390755]


LOGITS = [1.6614926, 1.8864951, -2.4628484, 5.086863, 2.1141334, 1.6814642]


@pytest.fixture
def archive(tmp_path: Path, tensorflow: Any) -> Callable[[int], Path]:
    """Write a BertBackbone, or a BertTextClassifier with a number of classes, and a vocab.txt; return its path."""
    del tensorflow
    write_beside(tmp_path / "model.keras")

    def write(classes: int = 0) -> Path:
        head = head_weights("classifier", classes) if classes else {}
        return write_archive(tmp_path / "model.keras", {**random_weights(), **head}, classes=classes)

    return write


def test_backbone_equals_keras_hub(archive: Callable[..., Path]) -> None:
    """A BertBackbone gives keras-hub's features."""
    found = run(load(archive()))
    np.testing.assert_allclose(found["last_hidden_state"].reshape(-1)[:6], FEATURES, atol=1e-5)
    np.testing.assert_allclose(found["pooler_output"].reshape(-1)[:6], POOLED, atol=1e-5)


def test_classifier_equals_keras_hub(archive: Callable[..., Path]) -> None:
    """A BertTextClassifier gives keras-hub's logits, and states its task."""
    np.testing.assert_allclose(run(load(archive(5)))["logits"].reshape(-1)[:6], LOGITS, atol=1e-5)


def _rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "relu"])
def test_classifier_activation(archive: Callable[..., Path], activation: str) -> None:
    """The bundle applies a classifier's activation itself, sigmoid for independent classes; others are refused."""
    path = archive(5)
    _rewrite(path, lambda it: it["config"].update(activation=activation))
    if activation == "relu":
        with pytest.raises(CheckpointError, match="activation relu after its layer logits"):
            describe_checkpoint(path, LoadOptions())
        return
    expected = "multi_label_classification" if activation == "sigmoid" else None
    assert describe_checkpoint(path, LoadOptions()).config.get("problem_type") == expected


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:5000]), "cannot be read as a .keras archive"),
    "flipped": (_flip, "cannot be read as a .keras archive: Bad CRC-32 for file 'model.weights.h5'"),
    "no_sizes": (lambda path: _rewrite(path, lambda it: it["config"].pop("num_heads")), "config.json.*num_heads"),
    "layers": (
        lambda path: _rewrite(path, lambda it: it["config"].update(num_layers=3)),
        r"no weights for .*layer_\._2",
    ),
    "width": (
        lambda path: _rewrite(path, lambda it: it["config"].update(intermediate_dim=48)),
        r"intermediate\.dense\.weight \[32, 64\], expected \[32, 48\]",
    ),
    "another": (
        lambda path: _rewrite(path, lambda it: it.update(class_name="Functional")),
        "has a Functional, expected",
    ),
    "vocabulary": (
        lambda path: (path.parent / "vocab.txt").write_text("[UNK]\n[CLS]\n"),
        "the tokenizer has 5 tokens, the model",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_archives(archive: Callable[..., Path], broken: str) -> None:
    """An archive that is damaged, inconsistent or of another model raises one error that names it."""
    change, message = BROKEN[broken]
    path = archive()
    change(path)
    assert find_format(path).name == "keras-v3"
    with pytest.raises(CheckpointError, match=message):
        run(load(path))
