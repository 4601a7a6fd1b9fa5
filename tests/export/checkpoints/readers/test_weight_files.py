"""The weight files of Hugging Face directories."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from bertbundle_export.checkpoints.readers.weight_files import read_pytorch, without_wrappers
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.model import run_source
from optional import TORCH_MARKS, needs_torch
from source_models import load
from tiny_checkpoints import to_pytorch, to_safetensors

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


def logits(path: Path) -> np.ndarray[Any, Any]:
    """Return the logits of a checkpoint for a fixed batch."""
    ids = np.arange(3 * 7, dtype=np.int32).reshape(3, 7) + 5
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    return run_source(load(path, allow_pickle=True), inputs)["logits"]


KINDS: dict[str, Callable[[Path], None]] = {
    "safetensors": to_safetensors,
    "safetensors_sharded": lambda path: to_safetensors(path, shards=3),
    "pytorch": to_pytorch,
    "pytorch_sharded": lambda path: to_pytorch(path, shards=3),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=TORCH_MARKS if kind.startswith("pytorch") else ()) for kind in KINDS]
)
def test_every_kind_of_weight_files(checkpoint: Write, kind: str) -> None:
    """A checkpoint gives equal logits from every kind of weight files."""
    path = checkpoint()
    expected = logits(path)
    KINDS[kind](path)
    assert not (path / "tf_model.h5").exists()
    np.testing.assert_allclose(logits(path), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_weights(checkpoint: Write, dtype: Any) -> None:
    """Weights stored in half precision give the logits of the same numbers stored in float32."""
    half, rounded = checkpoint(name="half"), checkpoint(name="rounded")
    to_safetensors(half, dtype=dtype)
    to_safetensors(rounded, rounded_to=dtype)
    np.testing.assert_array_equal(logits(half), logits(rounded))


def test_sharded_h5(checkpoint: Write) -> None:
    """TensorFlow's own shards are read."""
    path = checkpoint()
    model, expected = load(path).keras, logits(path)
    (path / "tf_model.h5").unlink()
    model.save_pretrained(str(path), max_shard_size="20KB")
    assert (path / "tf_model.h5.index.json").is_file()
    np.testing.assert_array_equal(logits(path), expected)


@needs_torch
@pytest.mark.parametrize("content", [{"model": {}, "epoch": 3}, [1, 2]], ids=["training_state", "list"])
def test_pickle_that_is_not_a_state_dict(tmp_path: Path, content: Any) -> None:
    """The message about a pickle that is not a state dict says what it contains and what to save."""
    import torch

    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"is not a state dict of tensors.*: found .*Save only the state dict"):
        read_pytorch((tmp_path / "pytorch_model.bin",))


def test_pickle_without_torch(checkpoint: Write) -> None:
    """If torch is not installed, a PyTorch pickle raises an error that says what to install."""
    path = checkpoint()
    (path / "tf_model.h5").unlink()
    (path / "pytorch_model.bin").write_bytes(b"never read")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from bertbundle_export.checkpoints.readers.weight_files import read_pytorch\n"
        f"read_pytorch((Path({str(path / 'pytorch_model.bin')!r}),))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "CheckpointError: pytorch_model.bin is a PyTorch pickle and needs torch: pip install" in run.stderr


@needs_torch
def test_pickle_with_code(checkpoint: Write) -> None:
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
    "wrapped",
    [
        pytest.param("module.{}", id="DataParallel"),
        pytest.param("_orig_mod.{}", id="compile"),
        pytest.param("_orig_mod.module.{}", id="compiled-DataParallel"),
        pytest.param("model._orig_mod.{}", id="Lightning"),
        pytest.param("_fsdp_wrapped_module.{}", id="FSDP"),
    ],
)
def test_names_of_wrapped_models(checkpoint: Write, wrapped: str) -> None:
    """Weights with the names that PyTorch's wrappers give them are those of the model inside."""
    from safetensors.numpy import load_file, save_file

    path = checkpoint()
    expected = logits(path)
    to_safetensors(path)
    weights = {wrapped.format(name): value for name, value in load_file(path / "model.safetensors").items()}
    save_file(weights, str(path / "model.safetensors"), metadata={"format": "pt"})
    np.testing.assert_allclose(logits(path), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.bert.a", "model.classifier.b"], ["bert.a", "classifier.b"]),
        (["model.bert.a", "classifier.b"], ["model.bert.a", "classifier.b"]),
        (["bert._orig_mod.encoder.layer.0._checkpoint_wrapped_module.a"], ["bert.encoder.layer.0.a"]),
        (["module.a", "a"], ["module.a", "a"]),
        (["my_module.a", "modules.b"], ["my_module.a", "modules.b"]),
        ([], []),
    ],
)
def test_names_without_wrappers(names: list[str], expected: list[str]) -> None:
    """The parts of wrappers are removed anywhere in a name, the model's attribute only from all; never two to one."""
    assert list(without_wrappers(dict.fromkeys(names, np.zeros(1)))) == expected
