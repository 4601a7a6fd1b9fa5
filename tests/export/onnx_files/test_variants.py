"""The two ONNX files of a bundle."""

from __future__ import annotations

import collections

import pytest

from bertbundle_export import Exported

pytestmark = pytest.mark.slow


def test_onnx_is_standard(tiny_bundle: Exported) -> None:
    """The ONNX file for any runtime has only standard operators, no Erfc, and symbolic batch and length."""
    import onnx

    proto = onnx.load(str(tiny_bundle.path / "model_standard.onnx"))
    onnx.checker.check_model(proto, full_check=True)
    assert {node.domain for node in proto.graph.node} == {""}
    assert "Erfc" not in {node.op_type for node in proto.graph.node}
    shapes = {item.name: [d.dim_param for d in item.type.tensor_type.shape.dim] for item in proto.graph.input}
    assert shapes == {name: ["batch", "length"] for name in ("input_ids", "attention_mask", "token_type_ids")}


def test_onnx_is_fused(tiny_bundle: Exported) -> None:
    """The ONNX file for onnxruntime has one operator per attention, layer normalization and gelu."""
    import onnx

    proto = onnx.load(str(tiny_bundle.path / "model.onnx"), load_external_data=False)
    fused = collections.Counter(node.op_type for node in proto.graph.node if node.domain == "com.microsoft")
    # The checkpoint has two layers. BERT-base's twelve give 12, 24, 1 and 12.
    assert fused == {"Attention": 2, "SkipLayerNormalization": 4, "EmbedLayerNormalization": 1, "BiasGelu": 2}
    assert not {"LayerNormalization", "Erf"} & {node.op_type for node in proto.graph.node}


def test_onnx_files_share_their_weights(tiny_bundle: Exported) -> None:
    """Both ONNX files read the same file of weights, and contain almost no weights themselves."""
    files, weights = tiny_bundle.manifest.files, tiny_bundle.manifest.source.parameters * 4
    # Each array begins at a page.
    assert weights * 0.9 <= files["model.onnx.data"].size <= weights + 64 * 4096
    assert files["model.onnx"].size + files["model_standard.onnx"].size < 100_000
