"""The index of TensorFlow checkpoints, read without TensorFlow, compared with TensorFlow's own reader."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export.checkpoints.readers import _tensorflow_pb2 as ours
from bertbundle_export.checkpoints.readers.tensor_bundle import read_index, read_tensors
from bertbundle_export.errors import CheckpointError
from generated_code import descriptors
from paths import ROOT

EXPORT = ROOT / "export"
Write = Callable[..., Path]


def save(tf: Any, prefix: Path, tensors: dict[str, Any]) -> Path:
    """Write tensors as a checkpoint; return its prefix."""
    names = sorted(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=[tensors[n] for n in names]
    )
    return prefix


@pytest.mark.slow
def test_index_equals_list_variables(tensorflow: Any, tmp_path: Path) -> None:
    """Names and shapes are those that TensorFlow lists, for many blocks, several ranks and dtypes."""
    many = {f"scope_{n // 50}/variable_{n}/kernel": np.full((n % 3 + 1, 2), n, np.float32) for n in range(500)}
    kinds = {
        "step": np.int64(3),
        "on": np.True_,
        "text": np.array([b"a", b"bc"]),
        "half": np.ones((2, 2, 2), np.float16),
    }
    prefix = save(tensorflow, tmp_path / "model.ckpt-3", many | kinds)
    found = read_index(prefix)
    assert {name: list(entry.shape) for name, entry in found.entries.items()} == dict(
        tensorflow.train.list_variables(str(prefix))
    )
    assert {name for name, entry in found.entries.items() if not entry.is_float} == {"step", "on", "text"}


@pytest.mark.slow
def test_partitioned_variable(tensorflow: Any, tmp_path: Path) -> None:
    """A variable saved in slices is listed and read as one."""
    prefix, parts = tmp_path / "sliced", [np.zeros((2, 4), np.float32), np.ones((3, 4), np.float32)]
    tensorflow.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=["w", "w"], shape_and_slices=["5 4 0,2:0,4", "5 4 2,3:0,4"], tensors=parts
    )
    found = read_index(prefix)
    assert [(name, entry.shape) for name, entry in found.entries.items()] == [("w", (5, 4))]
    np.testing.assert_array_equal(read_tensors(found, ["w"])["w"], np.concatenate(parts))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_floats_become_float32(tensorflow: Any, tmp_path: Path, dtype: str) -> None:
    """Weights of every floating point type are read as float32."""
    prefix = save(tensorflow, tmp_path / "x", {"w": tensorflow.constant([0.5, -2.0], dtype)})
    value = read_tensors(read_index(prefix), ["w"])["w"]
    assert (str(value.dtype), value.tolist()) == ("float32", [0.5, -2.0])


@pytest.mark.slow
def test_describe_does_not_import_tensorflow(tf1: Write, tf_hub: Write) -> None:
    """Describing Google's formats does not import TensorFlow, which takes seconds."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from bertbundle_export.checkpoints.base import LoadOptions\n"
        "from bertbundle_export.checkpoints.registry import describe_checkpoint\n"
        f"formats = [describe_checkpoint(Path(path), LoadOptions()).format for path in {[str(tf1()), str(tf_hub())]}]\n"
        "print(*formats, 'tensorflow' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["tf1", "tf-hub", "False"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        pytest.param("x.index", lambda data: data[: len(data) // 2], "x.index .* is not the index", id="index_cut"),
        pytest.param("x.index", lambda _: b"", "x.index .0 bytes. is not the index", id="index_empty"),
        pytest.param(
            "x.index", lambda data: b"\xff" * 60 + data[-48:], "x.index .* is not the index", id="index_garbage"
        ),
        pytest.param(
            "x.data-00000-of-00001", lambda data: data[:-1], "has 39999 bytes, its index says 40000", id="cut"
        ),
        pytest.param("x.index", None, "no file .*x.index", id="no_index"),
        pytest.param("x.data-00000-of-00001", None, "no x.data-00000-of-00001 beside it", id="no_data"),
    ],
)
def test_missing_and_truncated_files(
    tensorflow: Any, tmp_path: Path, file: str, change: Callable[[bytes], bytes] | None, message: str
) -> None:
    """The message names a missing or truncated file; no tensor is read."""
    save(tensorflow, tmp_path / "x", {"w": np.zeros((100, 100), np.float32)})
    path = tmp_path / file
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckpointError, match=message):
        read_index(tmp_path / "x")


@pytest.mark.slow
def test_flipped_bits_in_the_index(tensorflow: Any, tmp_path: Path) -> None:
    """With any byte of the index damaged, reading fails or returns the original tensor."""
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = Path(f"{save(tensorflow, tmp_path / 'x', {'weight': weight})}.index")
    original, refused = path.read_bytes(), 0
    for position, byte in enumerate(original):
        path.write_bytes(original[:position] + bytes([byte ^ 1 << position % 8]) + original[position + 1 :])
        try:
            found = read_tensors(read_index(tmp_path / "x"), ["weight"])
        except CheckpointError:
            refused += 1
        else:
            np.testing.assert_array_equal(found["weight"], weight)
    assert refused > len(original) // 3  # a third is padding, and blocks that nothing reads


def test_generated_code_is_up_to_date() -> None:
    """_tensorflow_pb2.py is what _tensorflow.proto compiles to: run `make proto` after a change."""
    compiled, committed = descriptors(EXPORT, "bertbundle_export/checkpoints/readers/_tensorflow.proto", ours)
    assert committed == compiled


@pytest.mark.slow
@pytest.mark.parametrize(
    ("message", "official"),
    [
        pytest.param("BundleHeader", "tensor_bundle_pb2.BundleHeaderProto", id="BundleHeader"),
        pytest.param("BundleEntry", "tensor_bundle_pb2.BundleEntryProto", id="BundleEntry"),
        pytest.param(
            "TrackableObjectGraph", "trackable_object_graph_pb2.TrackableObjectGraph", id="TrackableObjectGraph"
        ),
        pytest.param("SavedModel", "saved_model_pb2.SavedModel", id="SavedModel"),
    ],
)
def test_fields_match_tensorflow(tensorflow: Any, message: str, official: str) -> None:
    """Every field has the number and the type of TensorFlow's own message."""
    del tensorflow
    import importlib

    module, name = official.split(".")
    theirs = getattr(importlib.import_module(f"tensorflow.core.protobuf.{module}"), name).DESCRIPTOR
    _check_fields(getattr(ours, message).DESCRIPTOR, theirs)


def _check_fields(mine: Any, theirs: Any) -> None:
    for field in mine.fields:
        other = theirs.fields_by_name[field.name]
        assert field.number == other.number
        if field.message_type:
            _check_fields(field.message_type, other.message_type)
        else:
            assert field.type == other.type or (field.type == field.TYPE_INT32 and other.enum_type)
