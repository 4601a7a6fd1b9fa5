"""ONNX files in int8: the quantized products, and the weights, which are stored once."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from bertbundle_export import export_bundle
from bertbundle_export.errors import ExportError, ToleranceError

pytestmark = pytest.mark.slow


LAYERS, HIDDEN = 2, 32


FLOAT32, INT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Path:
    """Export a tiny encoder in int8; return the version directory."""
    del tensorflow
    from tiny_checkpoints import write_checkpoint

    path = tmp_path_factory.mktemp("int8")
    source = write_checkpoint(path / "checkpoint", "BertModel", initializer_range=0.05)
    return export_bundle(source, name="t", output=path / "m", max_length=16, lengths=(), precision="int8").path


def graph(path: Path) -> Any:
    """Return a file's graph without the weights."""
    return onnx.load(path, load_external_data=False).graph


def operators(proto: Any) -> collections.Counter[str]:
    """Count the operators of the encoder call."""
    return collections.Counter(node.op_type for node in proto.node if node.name.startswith("call_0/"))


def test_products_of_layers_are_int8(exported: Path) -> None:
    """All four products of a layer are int8 in both files; attention's own two are float32."""
    fused, standard = (graph(exported / name) for name in ("model.onnx", "model_standard.onnx"))
    assert operators(fused)["DynamicQuantizeMatMul"] == 4 * LAYERS
    assert operators(fused)["MatMul"] == 2 * LAYERS
    # Each product reads a rounded tensor and an int8 kernel.
    assert operators(standard)["QuantizeLinear"] == 4 * LAYERS
    assert operators(standard)["DequantizeLinear"] == 2 * 4 * LAYERS
    assert not {node.domain for node in standard.node} - {"", "ai.onnx"}
    for proto in (fused, standard):
        types = {tensor.name: tensor.data_type for tensor in proto.initializer}
        read = [name for node in proto.node for name in node.input if name.endswith(("/qkv", "/out", "/up", "/down"))]
        assert [types[name] for name in read] == [INT8] * 4 * LAYERS


def test_other_weights_are_float32(exported: Path) -> None:
    """Embeddings and norms are float32; int8 kernels are stored once for both files."""
    proto = graph(exported / "model.onnx")
    by_type = collections.defaultdict(set)
    for tensor in proto.initializer:
        by_type[tensor.data_type].add(tensor.name)
    assert {f"encoder_0/{name}" for name in ("words", "positions", "types", "gamma", "beta")} <= by_type[FLOAT32]
    assert len(by_type[INT8]) == 4 * LAYERS
    external = {t.name: {e.key: e.value for e in t.external_data} for t in proto.initializer if t.external_data}
    assert external == {
        t.name: {e.key: e.value for e in t.external_data}
        for t in graph(exported / "model_standard.onnx").initializer
        if t.external_data
    }
    assert {data["location"] for data in external.values()} == {"model.onnx.data"}
    end = max(int(data["offset"]) + int(data["length"]) for data in external.values())
    assert (exported / "model.onnx.data").stat().st_size == end


def test_formats_agree(exported: Path) -> None:
    """The manifest has the figures of all three graphs, and the same kernels and ranges make two of them alike."""
    from bertbundle.contract.manifest import Manifest

    manifest = Manifest.read(exported)
    assert manifest.precision == "int8"
    assert any("needs TensorFlow 2.17 or newer" in note for note in manifest.notes)
    differences = {row.format: row.max_rel for row in manifest.parity if row.output == "sentence_embedding"}
    assert all(1e-4 < difference < 0.2 for difference in differences.values())
    assert differences["saved_model"] == pytest.approx(differences["onnx_standard"], rel=0.3)


def test_imprecise_model_is_refused(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """If int8 outputs differ by more than the tolerance, the error says what to do."""
    # The model is untrained, and its weights are ten times as large as trained ones, which magnifies rounding errors.
    options: dict[str, Any] = {"max_length": 16, "lengths": (), "formats": ("onnx",)}
    with pytest.raises(ToleranceError, match=r"int8 is too imprecise for this model .*--precision float32"):
        export_bundle(checkpoint("BertModel"), name="t", output=tmp_path / "m", precision="int8", **options)
    assert list((tmp_path / "m").rglob("*")) == []


def test_int8_needs_a_supported_encoder(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """A model with an unsupported encoder cannot be exported in int8; the error says what to do."""
    with pytest.raises(ExportError, match=r"precision int8 is not possible: .*Export with --precision float32"):
        export_bundle(checkpoint(hidden_act="swish"), name="t", output=tmp_path / "m", precision="int8")
    assert list((tmp_path / "m").rglob("*")) == []
