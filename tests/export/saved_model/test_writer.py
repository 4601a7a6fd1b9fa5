"""The SavedModel's graph as a session runs it: fused operations, and one copy of the weights."""

from __future__ import annotations

import collections
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export import LoadOptions, export_bundle
from bertbundle_export.checkpoints import load_checkpoint
from bertbundle_export.encoder.kernels import have_onednn
from bertbundle_export.errors import ExportError
from bertbundle_export.saved_model.writer import save_model, trace
from bertbundle_export.tasks import Head
from optional import skip_without
from tiny_checkpoints import LABELS

pytestmark = pytest.mark.slow

LAYERS = 2


@pytest.fixture
def save(checkpoint: Callable[..., Path], tmp_path: Path) -> Callable[[str], Path]:
    """Write the SavedModel of a checkpoint with two layers, in a precision; gives its path."""

    def write(precision: str) -> Path:
        source = load_checkpoint(checkpoint(), "x", LoadOptions())
        traced = trace(source, Head(labels=LABELS), precision=precision)
        for name in ("bundle.json", "tokenizer.json"):
            (tmp_path / name).write_text("{}", encoding="utf-8")
        path = tmp_path / "saved"
        save_model(path, traced, source.inputs, signatures={"length_16": 16, "length_32": 32}, asset_directory=tmp_path)
        return path

    return write


def optimized_operations(tensorflow: Any, path: Path) -> collections.Counter[str]:
    """Run a signature in a plain session; count the operations of the graph that TensorFlow made of it."""
    v1 = tensorflow.compat.v1
    with v1.Session(graph=tensorflow.Graph()) as session, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = v1.saved_model.loader.load(session, ["serve"], str(path)).signature_def["length_16"]
        ids = np.full((2, 16), 7, np.int32)
        feeds = {signature.inputs[name].name: ids // 7 for name in signature.inputs}
        metadata, options = v1.RunMetadata(), v1.RunOptions(output_partition_graphs=True)
        session.run(signature.outputs["logits"].name, feeds, options=options, run_metadata=metadata)
    return collections.Counter(
        "+".join([node.op, *(item.decode() for item in node.attr["fused_ops"].list.s)])
        for graph in metadata.partition_graphs
        for node in graph.node
    )


def uses_onednn() -> bool:
    """Return whether TensorFlow's optimiser fuses with oneDNN, as it does by default on newer processors only."""
    from tensorflow.python.util import _pywrap_util_port

    return bool(_pywrap_util_port.IsMklEnabled())


def test_float32_is_fused_by_tensorflow(tensorflow: Any, save: Callable[[str], Path]) -> None:
    """TensorFlow makes one operation of each product with its bias, its gelu and its residual."""
    path = save("float32")
    if not uses_onednn():
        skip_without("oneDNN in TensorFlow's graph optimizer")
    found = optimized_operations(tensorflow, path)
    product = "_MklNativeFusedMatMul+BiasAdd"
    # Query, key and value as one; the head is an operation of its own.
    assert found[product] + found[f"{product}+Add"] == 3 * LAYERS
    assert found[f"{product}+GeluExact"] == LAYERS
    assert found["_MklSoftmax"] == LAYERS + 1  # one more for the labels' scores
    assert found["_MklMatMul"] == 1  # the head
    assert not found["Erf"] + found["Erfc"]
    # Attention's heads are put in their places by copies of whole heads, to split and to join, and never transposed.
    scores = 3  # what the tagger's head gathers its labels' scores with
    assert found["GatherV2"] == 2 * LAYERS + scores
    assert not found["Transpose"] + found["_MklTranspose"]


def test_bfloat16_is_fused_in_the_file(tensorflow: Any, save: Callable[[str], Path]) -> None:
    """Fused operations of oneDNN are in the file itself, over variables, to be rearranged once and not per call."""
    from tensorflow.core.protobuf import saved_model_pb2

    del tensorflow
    if not have_onednn("bfloat16"):
        skip_without("a TensorFlow with oneDNN")
    saved = saved_model_pb2.SavedModel.FromString((save("bfloat16") / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    nodes = [node for function in functions for node in function.node_def if node.op.startswith("_Mkl")]
    expected = {"_MklNativeFusedMatMul": 4 * LAYERS, "_MklLayerNorm": 2 * LAYERS + 1, "_MklFusedBatchMatMulV2": LAYERS}
    assert collections.Counter(node.op for node in nodes) == expected
    assert all(node.attr["is_filter_const"].b for node in nodes if node.op == "_MklNativeFusedMatMul")


@pytest.mark.parametrize(("precision", "size"), [("float32", 4), ("bfloat16", 2)], ids=["float32", "bfloat16"])
def test_weights_are_on_disk_once(tensorflow: Any, save: Callable[[str], Path], precision: str, size: int) -> None:
    """The encoder's weights are saved once, in their precision, whatever the number of signatures."""
    path = save(precision)
    stored = tensorflow.train.load_checkpoint(str(path / "variables/variables")).get_variable_to_dtype_map()
    shapes = tensorflow.train.load_checkpoint(str(path / "variables/variables")).get_variable_to_shape_map()
    kernels = [name for name, shape in shapes.items() if len(shape) == 2 and shape != [32, len(LABELS)]]
    # Three tables, and four kernels a layer.
    assert len(kernels) == 3 + 4 * LAYERS
    assert {stored[name].size for name in kernels} == {size}


@pytest.mark.parametrize("kind", ["Roberta", "DistilBert", "Electra"])
def test_encoders_of_berts_kind_are_made_for_inference(
    checkpoint: Callable[..., Path], tmp_path: Path, tensorflow: Any, kind: str
) -> None:
    """They pass the gate in int8, for which the encoder must be ours; all products are, ELECTRA's projection, too."""
    import onnx

    del tensorflow
    options: dict[str, Any] = {"precision": "int8", "formats": ("onnx",), "max_length": 16, "lengths": ()}
    source = checkpoint(f"{kind}Model", initializer_range=0.05)
    path = export_bundle(source, name="t", output=tmp_path / "m", **options).path
    nodes = onnx.load(str(path / "model.onnx"), load_external_data=False).graph.node
    count = sum(node.op_type == "DynamicQuantizeMatMul" for node in nodes)
    assert count == 4 * LAYERS + (kind == "Electra")


def test_bfloat16_answers_like_float32_on_real_weights(tmp_path: Path, tensorflow: Any) -> None:
    """A real tagger passes the gate in bfloat16: labels agree, and ONNX, which stays float32, is held to float32."""
    del tensorflow
    if not have_onednn("bfloat16"):
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


def test_bfloat16_needs_an_encoder_that_can_be_swapped(
    checkpoint: Callable[..., Path], tmp_path: Path, tensorflow: Any
) -> None:
    """A model whose own encoder runs is float32: asked for bfloat16 that is an error, which says what to do."""
    del tensorflow
    source = checkpoint(hidden_act="swish")
    with pytest.raises(ExportError, match=r"precision bfloat16 cannot be: .*Export with --precision float32"):
        export_bundle(source, name="t", output=tmp_path / "m", precision="bfloat16")
    assert list((tmp_path / "m").rglob("*")) == []
