"""Fixtures for tiny checkpoints of Google, TF Hub and Keras."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from google_checkpoints import tf1_weights, write_hub, write_tf1
from keras_files import CONFIG, Naming, write_beside, write_h5
from tiny_checkpoints import Weights, pytorch_weights, vocabulary, write_checkpoint

Write = Callable[..., Path]


@pytest.fixture
def tf1(checkpoint: Write, tmp_path: Path) -> Write:
    """Write a tiny checkpoint in Google's format, with `more` weights, see `write_tf1`; return its directory."""

    def write(architecture: str = "BertModel", *, more: Weights | None = None, **options: Any) -> Path:
        source = checkpoint(architecture)
        weights = tf1_weights(pytorch_weights(source)) | (more or {})
        return write_tf1(tmp_path / "tf1", weights, sizes(source), vocabulary(), **options)

    return write


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> tuple[Weights, dict[str, Any]]:
    """The weights of a tiny encoder with Google's names, and its bert_config.json."""
    del tensorflow
    source = write_checkpoint(tmp_path_factory.mktemp("encoder") / "checkpoint", "BertModel")
    return tf1_weights(pytorch_weights(source)), sizes(source)


@pytest.fixture(scope="session")
def written_hub(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Write:
    """Write a tiny SavedModel of TF Hub, once for the same arguments; return its directory, not to be changed."""
    del tensorflow

    @functools.cache
    def write(style: str = "dict", *, approximate: bool = False, lowercase: bool = True, **config: Any) -> Path:
        root = tmp_path_factory.mktemp("hub")
        source = write_checkpoint(root / "checkpoint", "BertModel")
        weights = tf1_weights(pytorch_weights(source))
        options: dict[str, Any] = {"style": style, "approximate": approximate, "lowercase": lowercase}
        return write_hub(root / "hub", weights, sizes(source) | config, vocabulary(), **options)

    return write


@pytest.fixture
def tf_hub(written_hub: Write, tmp_path: Path) -> Write:
    """Make a tiny SavedModel of TF Hub, see `write_hub`; return its directory."""

    def make(*arguments: Any, **options: Any) -> Path:
        return shutil.copytree(written_hub(*arguments, **options), tmp_path / "hub")

    return make


def sizes(path: Path) -> dict[str, Any]:
    """Return the settings of a Hugging Face directory's config.json that bert_config.json has, too."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return {key: value for key, value in config.items() if key not in ("architectures", "id2label", "label2id")}


@pytest.fixture
def write_keras_h5(tmp_path: Path, tensorflow: Any) -> Write:
    """Write weights as model.h5, with a bert_config.json and a vocab.txt beside it; return its path."""
    del tensorflow

    def write(weights: Weights, naming: Naming) -> Path:
        write_beside(tmp_path / "model.h5", CONFIG)
        return write_h5(tmp_path / "model.h5", weights, naming)

    return write
