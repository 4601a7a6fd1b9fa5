"""The traced model: its precision and its encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertbundle_export import export_bundle
from bertbundle_export.encoder.kernels import has_onednn
from bertbundle_export.errors import ExportError
from optional import skip_without

pytestmark = pytest.mark.slow


LAYERS = 2


def test_bfloat16_on_real_weights(tmp_path: Path, tensorflow: Any) -> None:
    """A real tagger can be exported in bfloat16: its labels agree, and ONNX stays float32 with float32's tolerance."""
    del tensorflow
    if not has_onednn("bfloat16"):
        skip_without("a TensorFlow with oneDNN")
    from real_weights import fetch

    options: dict[str, Any] = {"precision": "bfloat16", "word_labels": "first-labelled", "label_scheme": "IO"}
    manifest = export_bundle(
        fetch("rampart"), name="rampart", output=tmp_path, max_length=32, lengths=(), **options
    ).manifest
    assert manifest.precision == "bfloat16"
    labels = {row.format: row for row in manifest.parity if row.output == "label_ids"}
    assert labels["saved_model"].agreement >= 0.99
    logits = {row.format: row for row in manifest.parity if row.output == "logits"}
    assert 1e-4 < logits["saved_model"].max_abs <= logits["saved_model"].atol
    assert logits["onnx"].max_abs < 1e-4 == logits["onnx"].atol


def test_bfloat16_needs_a_supported_encoder(checkpoint: Callable[..., Path], tmp_path: Path, tensorflow: Any) -> None:
    """A model with an unsupported encoder cannot be exported in bfloat16; the error says what to do."""
    del tensorflow
    source = checkpoint(hidden_act="swish")
    with pytest.raises(ExportError, match=r"precision bfloat16 is not possible: .*Export with --precision float32"):
        export_bundle(source, name="t", output=tmp_path / "m", precision="bfloat16")
    assert list((tmp_path / "m").rglob("*")) == []


@pytest.mark.parametrize("kind", ["Roberta", "DistilBert", "Electra"])
def test_bert_like_encoders_are_patched(
    checkpoint: Callable[..., Path], tmp_path: Path, tensorflow: Any, kind: str
) -> None:
    """RoBERTa, DistilBERT and ELECTRA can be exported in int8: all products are quantized, and ELECTRA's projection."""
    import onnx

    del tensorflow
    options: dict[str, Any] = {"precision": "int8", "formats": ("onnx",), "max_length": 16, "lengths": ()}
    source = checkpoint(f"{kind}Model", initializer_range=0.05)
    path = export_bundle(source, name="t", output=tmp_path / "m", **options).path
    nodes = onnx.load(str(path / "model.onnx"), load_external_data=False).graph.node
    count = sum(node.op_type == "DynamicQuantizeMatMul" for node in nodes)
    assert count == 4 * LAYERS + (kind == "Electra")
