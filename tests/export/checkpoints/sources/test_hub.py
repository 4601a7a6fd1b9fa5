"""Sources by name: the Hugging Face hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bertbundle_export.checkpoints.sources.hub import open_source
from bertbundle_export.errors import CheckpointError

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


def hub(path: Path, root: Path) -> dict[str, str]:
    """Write a checkpoint to a hub cache as `acme/tiny`; return the environment variables that use it offline."""
    snapshot = root / "hub/models--acme--tiny/snapshots/0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(path, snapshot)
    refs = root / "hub/models--acme--tiny/refs"
    refs.mkdir()
    (refs / "main").write_text(snapshot.name)
    return {**os.environ, "HF_HOME": str(root), "HF_HUB_OFFLINE": "1"}


def test_hub_name(checkpoint: Write, tmp_path: Path) -> None:
    """A hub name is found in the hub's local cache."""
    environment = hub(checkpoint(), tmp_path / "home")
    command = [sys.executable, "-m", "bertbundle_export", "inspect", "acme/tiny", "--json"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert (found["architecture"], found["layers"], found["task"]) == (
        "BertForTokenClassification",
        2,
        "token-classification",
    )


def test_hub_name_that_cannot_be_downloaded(checkpoint: Write, tmp_path: Path) -> None:
    """A hub name that cannot be downloaded raises one clear error."""
    environment = hub(checkpoint(), tmp_path / "home")
    command = [sys.executable, "-m", "bertbundle_export", "inspect", "acme/other"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "there is no directory acme/other, and it cannot be downloaded from the hub" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the hub's repository `acme/tiny`; only what is asked for is downloaded, to `tmp_path`/snapshot."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    source, snapshot = tmp_path / "repository", tmp_path / "snapshot"

    def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert (name, revision) == ("acme/tiny", None)
        files = [file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file()]
        for file in filter_repo_objects(files, allow_patterns=allow_patterns):
            (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / file, snapshot / file)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    return source


def write_files(root: Path, *names: str) -> None:
    """Write small files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}", encoding="utf-8")


@pytest.mark.parametrize("folder", ["0_BERT", "0_Transformer", "encoder"])
def test_encoder_in_a_folder(repository: Path, folder: str) -> None:
    """The files of the folder that modules.json names are downloaded, and one format of its weights."""
    modules = [{"type": "sentence_transformers.models.BERT", "path": folder}]
    write_files(repository, f"{folder}/config.json", f"{folder}/vocab.txt", f"{folder}/model.safetensors")
    write_files(repository, f"{folder}/pytorch_model.bin", "1_Pooling/config.json", "onnx/model.onnx", "README.md")
    (repository / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with open_source("acme/tiny") as path:
        found = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    expected = {"config.json", "vocab.txt", "model.safetensors"}
    assert found == {"modules.json", "1_Pooling/config.json", *(f"{folder}/{name}" for name in expected)}


def test_dense_modules(repository: Path) -> None:
    """The weights of Dense modules are downloaded, in whichever format they are."""
    kinds = {"": "Transformer", "2_Dense": "Dense", "other": "Dense"}
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for path, kind in kinds.items()]
    weights = {"2_Dense/pytorch_model.bin", "other/model.safetensors", "model.safetensors"}
    write_files(repository, "config.json", "2_Dense/config.json", "onnx/model.onnx", *weights)
    (repository / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with open_source("acme/tiny") as path:
        found = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    assert found == {"modules.json", "config.json", "2_Dense/config.json", *weights}


def test_encoder_at_the_top(repository: Path) -> None:
    """Weights in other folders are not downloaded if the encoder is at the top."""
    write_files(repository, "config.json", "vocab.txt", "model.safetensors", "tf_model.h5", "old/model.safetensors")
    with open_source("acme/tiny") as path:
        found = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    assert found == {"config.json", "vocab.txt", "model.safetensors"}


def test_damaged_modules(repository: Path) -> None:
    """A modules.json that cannot be read is named as it is, not as a problem of the network."""
    write_files(repository, "modules.json", "vocab.txt")
    with (
        pytest.raises(CheckpointError, match=r"modules\.json is not in sentence-transformers' format"),
        open_source("acme/tiny"),
    ):
        pass
