"""Weight files of different kinds in one directory."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export.errors import CheckpointError
from optional import needs_torch
from source_models import load
from tiny_checkpoints import Weights, pytorch_weights

pytestmark = pytest.mark.slow

Write = Callable[..., Path]


def train(weights: Weights, *, step: float) -> Weights:
    """Return weights after a step of training; the layer normalizations of a new model are constants."""
    generator = np.random.default_rng(0)
    noise = {name: np.asarray(generator.standard_normal(value.shape), np.float32) for name, value in weights.items()}
    return {name: value + noise[name] * np.float32(0.1) + np.float32(step) for name, value in weights.items()}


def write_safetensors(path: Path, weights: Weights, dtype: Any = np.float32) -> None:
    """Write model.safetensors beside other weight files."""
    from safetensors.numpy import save_file

    stored = {name: value.astype(dtype) for name, value in weights.items()}
    save_file(stored, str(path / "model.safetensors"), metadata={"format": "pt"})


def write_archive(path: Path, weights: Weights) -> None:
    """Write the values of a pytorch_model.bin, each a file of a zip archive, without the pickle that names them."""
    with zipfile.ZipFile(path / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
        for number, value in enumerate(weights.values()):
            archive.writestr(f"archive/data/{number}", value.tobytes())


@pytest.mark.parametrize("step", [0.0, 1e-4], ids=["same", "trained"])
def test_pickle_beside_safetensors(checkpoint: Write, step: float) -> None:
    """A pytorch_model.bin with other weights than model.safetensors is refused, without unpickling it."""
    path = checkpoint()
    weights = train(pytorch_weights(path), step=0)
    (path / "tf_model.h5").unlink()
    write_safetensors(path, weights)
    write_archive(path, train(pytorch_weights(checkpoint(name="again")), step=step))
    if not step:
        assert load(path).task == "token-classification"
        return
    with pytest.raises(
        CheckpointError, match=r"model.safetensors and pytorch_model.bin with different weights: .* Rem"
    ):
        load(path)


@pytest.mark.parametrize("step", [0.0, 1e-4], ids=["same", "trained"])
def test_h5_beside_safetensors(checkpoint: Write, step: float) -> None:
    """A tf_model.h5 with other weights than model.safetensors is refused."""
    import h5py

    path = checkpoint()
    with h5py.File(path / "tf_model.h5", "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for index, name in enumerate(name for name in names if name.endswith(":0")):
            file[name][...] = np.random.default_rng(index).standard_normal(file[name].shape)
    write_safetensors(path, {name: value + np.float32(step) for name, value in pytorch_weights(path).items()})
    if not step:
        assert load(path).task == "token-classification"
        return
    with pytest.raises(CheckpointError, match=r"model.safetensors and tf_model.h5 with different weights"):
        load(path)


def test_other_heads_and_precisions(checkpoint: Write) -> None:
    """Files of classes with different heads agree; files in half precision, and older pickles, cannot be compared."""
    path = checkpoint()
    weights = train(pytorch_weights(path), step=0)
    (path / "tf_model.h5").unlink()
    write_safetensors(path, weights)
    write_archive(path, {name: value for name, value in weights.items() if "classifier" not in name})
    assert load(path).task == "token-classification"
    write_archive(path, {name: value.astype(np.float16) + np.float16(1) for name, value in weights.items()})
    assert load(path).task == "token-classification"
    (path / "pytorch_model.bin").write_bytes(b"\x80\x02a pickle of PyTorch 1.5")
    assert load(path).task == "token-classification"


@needs_torch
@pytest.mark.parametrize("step", [0.0, 1e-4], ids=["same", "trained"])
def test_pickle_of_pytorch(checkpoint: Write, step: float) -> None:
    """The values of a pickle that PyTorch wrote are found."""
    import torch

    path = checkpoint()
    weights = train(pytorch_weights(path), step=0)
    (path / "tf_model.h5").unlink()
    write_safetensors(path, weights)
    tensors = {name: torch.from_numpy(value + np.float32(step)) for name, value in weights.items()}
    torch.save(tensors, path / "pytorch_model.bin")
    if not step:
        assert load(path).task == "token-classification"
        return
    with pytest.raises(CheckpointError, match="with different weights"):
        load(path)
