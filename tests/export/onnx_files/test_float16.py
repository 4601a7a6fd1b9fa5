"""ONNX files in float16: what is float16 in them, how they are verified, and models that do not fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import onnxruntime
import pytest

from bertbundle.contract.manifest import Manifest
from bertbundle_export import export_bundle
from bertbundle_export.errors import ExportError, ToleranceError
from bertbundle_export.onnx_files.float16 import write_rounding
from bertbundle_export.options import ExportOptions

FLOAT32, FLOAT16, INT32 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT32
FILES = ("model.onnx", "model_standard.onnx")
OPTIONS: dict[str, Any] = {"max_length": 16, "lengths": (), "precision": "float16"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Path:
    """Export a tiny tagger in float16; return the version directory."""
    del tensorflow
    from tiny_checkpoints import write_checkpoint

    path = tmp_path_factory.mktemp("float16")
    source = write_checkpoint(path / "checkpoint", initializer_range=0.05)
    return export_bundle(source, name="t", output=path / "m", **OPTIONS).path


def session(path: Path) -> Any:
    """Load a file on the CPU."""
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_encoder_is_float16(exported: Path, file: str) -> None:
    """All weights of the encoder are float16 and those of the head float32; inputs stay integers, outputs float32."""
    proto = onnx.load(exported / file, load_external_data=False).graph
    types = {tensor.name: tensor.data_type for tensor in proto.initializer if tensor.name.startswith("encoder_")}
    assert set(types.values()) == {FLOAT16}
    heads = {t.data_type for t in proto.initializer if not t.name.startswith("encoder_") and len(t.dims) == 2}
    assert heads == {FLOAT32}
    assert {item.type.tensor_type.elem_type for item in proto.input} == {INT32}
    assert {item.type.tensor_type.elem_type for item in proto.output} == {FLOAT32, INT32}
    constants = [
        attribute.t.data_type
        for node in proto.node
        if node.op_type == "Constant" and node.name.startswith("call_")
        for attribute in node.attribute
    ]
    assert FLOAT32 not in constants


@pytest.mark.slow
def test_manifest(exported: Path) -> None:
    """The manifest says float16, and that the SavedModel is float32; both ONNX files are off by rounding to float16."""
    manifest = Manifest.read(exported)
    assert manifest.precision == "float16"
    assert "the ONNX files are float16, the SavedModel is float32." in manifest.notes
    differences: dict[str, float] = {}
    for row in manifest.parity:
        if row.output == "logits":
            differences[row.format] = max(row.max_rel, differences.get(row.format, 0.0))
    assert differences["saved_model"] < 1e-5
    # The rounding error of one operation is at most 2^-11 of the value.
    assert all(2**-13 < differences[name] < 0.015 for name in ("onnx", "onnx_standard"))
    assert not list(exported.glob("*rounding*"))


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_padded_rows_are_finite(exported: Path, file: str, tmp_path: Path) -> None:
    """A row without a token has finite outputs, also where every result is rounded to float16."""
    write_rounding(exported / file, tmp_path / file)
    shutil.copyfile(exported / "model.onnx.data", tmp_path / "model.onnx.data")
    ids = np.arange(32, dtype=np.int32).reshape(2, 16)
    mask = np.ones_like(ids)
    mask[1] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    for path in (exported / file, tmp_path / file):
        loaded = session(path)
        names = [item.name for item in loaded.get_inputs()]
        for values in loaded.run(None, {name: inputs[name] for name in names}):
            assert np.isfinite(values).all()


def test_rounding(tmp_path: Path) -> None:
    """A copy rounds each result to float16, as numpy does, where onnxruntime's provider for CPUs does not."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=FLOAT16),
        helper.make_node("Mul", ["half", "large"], ["product"]),
        helper.make_node("Mul", ["product", "small"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], ["y"], to=FLOAT32),
    ]
    large, small = np.float16(300), np.float16(0.01)
    weights = [onnx.numpy_helper.from_array(value, name) for name, value in (("large", large), ("small", small))]
    x, y = (helper.make_tensor_value_info(name, FLOAT32, [None]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "a.onnx")
    write_rounding(tmp_path / "a.onnx", tmp_path / "b.onnx")
    values = np.array([1 / 3, 0.1, 300], np.float32)
    with np.errstate(over="ignore"):
        expected = (values.astype(np.float16) * large * small).astype(np.float32)
    assert np.isinf(expected[2])
    (rounded,) = session(tmp_path / "b.onnx").run(None, {"x": values})
    np.testing.assert_array_equal(rounded, expected)
    (unrounded,) = session(tmp_path / "a.onnx").run(None, {"x": values})
    assert np.isfinite(unrounded).all()


def set_weights(checkpoint: Path, values: dict[str, float]) -> Path:
    """Fill weights of a tf_model.h5 whose names end so."""
    with h5py.File(checkpoint / "tf_model.h5", "r+") as file:
        changed = []

        def change(name: str, item: Any) -> None:
            for ending, value in values.items():
                if name.endswith(f"{ending}:0"):
                    item[...] = value
                    changed.append(ending)

        file.visititems(change)
    assert set(changed) == set(values)
    return checkpoint


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        pytest.param(
            {"layer_._0/intermediate/dense/bias": 7e4},
            ExportError,
            r"weight layer_0/up_bias has the value 70000, float16 ends at 65504\. Export with --precision float32",
            id="weight",
        ),
        pytest.param(
            {"layer_._0/output/dense/bias": 65e3, "layer_._0/attention/output/LayerNorm/gamma": 2e3},
            ToleranceError,
            r"not finite.* or a value is larger than its largest, 65504\. Export with --precision float32",
            id="activation",
        ),
    ],
)
def test_overflow(
    checkpoint: Callable[..., Path], tmp_path: Path, weights: dict[str, float], error: type[Exception], message: str
) -> None:
    """Weights and activations beyond float16's largest number are refused; nothing is written."""
    source = set_weights(checkpoint(), weights)
    with pytest.raises(error, match=message):
        export_bundle(source, name="t", output=tmp_path / "m", formats=("onnx",), **OPTIONS)
    assert list((tmp_path / "m").rglob("*")) == []


def test_float16_needs_onnx() -> None:
    """float16 without ONNX files is refused before the source is read; the message says what to do."""
    with pytest.raises(ExportError, match=r"formats has none of them\. Add onnx to --formats, or leave --precision"):
        ExportOptions(precision="float16", formats=("saved_model",))


@pytest.mark.slow
def test_float16_needs_a_supported_encoder(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """A model with an unsupported encoder cannot be exported in float16; the message says what to do."""
    with pytest.raises(ExportError, match=r"precision float16 is not possible: .*Export with --precision float32"):
        export_bundle(checkpoint(hidden_act="swish"), name="t", output=tmp_path / "m", **OPTIONS)
    assert list((tmp_path / "m").rglob("*")) == []
