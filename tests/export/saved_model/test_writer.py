"""The SavedModel, run in a plain session: signatures, fused operations, one copy of the weights."""

from __future__ import annotations

import collections
import functools
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle._shared.cpu_features import fast_int8
from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import Arrays
from bertbundle_export import Exported, LoadOptions, export_bundle
from bertbundle_export.checkpoints import load_checkpoint
from bertbundle_export.encoder.kernels import has_onednn
from bertbundle_export.saved_model.tracing import trace
from bertbundle_export.saved_model.writer import save_model
from bertbundle_export.tasks import HeadConfig
from optional import skip_without
from tiny_checkpoints import LABELS, write_checkpoint

pytestmark = pytest.mark.slow


LAYERS = 2


@pytest.fixture(scope="module")
def save(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Callable[[str], Path]:
    """Write the SavedModel of a checkpoint with two layers in a precision, once; return its path."""
    del tensorflow

    @functools.cache
    def write(precision: str) -> Path:
        root = tmp_path_factory.mktemp(precision)
        source = load_checkpoint(write_checkpoint(root / "checkpoint"), "x", LoadOptions())
        traced = trace(source, HeadConfig(labels=LABELS), precision=precision)
        for name in ("bundle.json", "tokenizer.json"):
            (root / name).write_text("{}", encoding="utf-8")
        path = root / "saved"
        save_model(path, traced, source.inputs, signatures={"length_16": 16, "length_32": 32}, assets=root)
        return path

    return write


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Path:
    """Export a checkpoint with 12 layers in int8; return the version directory."""
    del tensorflow
    if fast_int8() is None:
        skip_without("a processor with int8 products")
    root = tmp_path_factory.mktemp("int8")
    options: dict[str, Any] = {"precision": "int8", "max_length": 16, "lengths": (), "formats": ("saved_model",)}
    source = write_checkpoint(root / "checkpoint", initializer_range=0.05, num_hidden_layers=12)
    return export_bundle(source, name="t", output=root / "m", **options).path


def optimized_operations(tensorflow: Any, path: Path) -> collections.Counter[str]:
    """Run a signature in a plain session; count the operations of the graph that TensorFlow optimized."""
    v1 = tensorflow.compat.v1
    with v1.Session(graph=tensorflow.Graph()) as session, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signatures = v1.saved_model.loader.load(session, ["serve"], str(path)).signature_def
        signature = signatures["length_16" if "length_16" in signatures else "serving_default"]
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
    """Return whether TensorFlow's optimizer uses oneDNN, by default only on newer CPUs."""
    from tensorflow.python.util import _pywrap_util_port

    return bool(_pywrap_util_port.IsMklEnabled())


def test_float32_is_fused_by_tensorflow(tensorflow: Any, save: Callable[[str], Path]) -> None:
    """TensorFlow fuses each product with its bias, gelu and residual into one operation."""
    path = save("float32")
    if not uses_onednn():
        skip_without("oneDNN in TensorFlow's graph optimizer")
    found = optimized_operations(tensorflow, path)
    product = "_MklNativeFusedMatMul+BiasAdd"
    # Query, key and value are one product; the head is a separate operation.
    assert found[product] + found[f"{product}+Add"] == 3 * LAYERS
    assert found[f"{product}+GeluExact"] == LAYERS
    assert found["_MklSoftmax"] == LAYERS + 1  # one more for the labels' scores
    assert found["_MklMatMul"] == 1  # the head
    assert not found["Erf"] + found["Erfc"]
    # Attention heads are split and joined by gathering whole heads, and never transposed.
    score_gathers = 3  # of the labels' scores, in the tagger's head
    assert found["GatherV2"] == 2 * LAYERS + score_gathers
    assert not found["Transpose"] + found["_MklTranspose"]


def test_bfloat16_is_fused_in_the_file(tensorflow: Any, save: Callable[[str], Path]) -> None:
    """The file itself has oneDNN's fused operations over variables, which are rearranged once, not per call."""
    from tensorflow.core.protobuf import saved_model_pb2

    del tensorflow
    if not has_onednn("bfloat16"):
        skip_without("a TensorFlow with oneDNN")
    saved = saved_model_pb2.SavedModel.FromString((save("bfloat16") / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    nodes = [node for function in functions for node in function.node_def if node.op.startswith("_Mkl")]
    expected = {"_MklNativeFusedMatMul": 4 * LAYERS, "_MklLayerNorm": 2 * LAYERS + 1, "_MklFusedBatchMatMulV2": LAYERS}
    assert collections.Counter(node.op for node in nodes) == expected
    assert all(node.attr["is_filter_const"].b for node in nodes if node.op == "_MklNativeFusedMatMul")


def test_int8_products(tensorflow: Any, int8: Path) -> None:
    """With 12 layers, 48 products are int8, each with all that follows it; no encoder kernel is left in float32."""
    found = optimized_operations(tensorflow, int8)
    product = "_QuantizedMatMul+BiasAdd"
    assert found[f"{product}+Dequantize"] == 12  # query, key and value; the guard is computed while optimizing
    assert found[f"{product}+Add+Dequantize"] == 24
    assert found[f"{product}+GeluExact+Dequantize"] == 12
    reader = tensorflow.train.load_checkpoint(str(int8 / "variables" / "variables"))
    matrices = [name for name, shape in reader.get_variable_to_shape_map().items() if len(shape) == 2]
    # Three tables of embeddings and the head are float32.
    types = collections.Counter(reader.get_tensor(name).dtype.name for name in matrices)
    assert types == {"int8": 48, "float32": 4}


_RUN = """
import sys, numpy as np, tensorflow as tf
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    signature = tf.compat.v1.saved_model.load(session, ["serve"], sys.argv[1]).signature_def["serving_default"]
    feeds = {item.name: np.ones((1, 16), np.int32) for item in signature.inputs.values()}
    session.run([item.name for item in signature.outputs.values()], feeds)
"""


def test_int8_refuses_processors_that_overflow(tensorflow: Any, int8: Path) -> None:
    """In any server, an int8 SavedModel fails on a processor without VNNI or AMX instead of computing wrong numbers."""
    Session(tensorflow, int8).run("serving_default", inputs(1, 16))  # this processor has one of them
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    result = subprocess.run([sys.executable, "-c", _RUN, int8], capture_output=True, text=True, env=environment)
    assert result.returncode == 1, result.stderr
    assert "products of this SavedModel overflow on this processor" in result.stderr


class Session:
    """A SavedModel in a TensorFlow 1 session, as TensorFlow Serving's C++ loads and runs it."""

    def __init__(self, tensorflow: Any, path: Path) -> None:
        v1 = tensorflow.compat.v1
        self._session = v1.Session(graph=tensorflow.Graph())
        with self._session.graph.as_default(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.signatures = v1.saved_model.loader.load(self._session, ["serve"], str(path)).signature_def

    def run(self, signature: str, inputs: Arrays) -> dict[str, Any]:
        """Run a signature without the shape checks of the Python API."""
        from tensorflow.python.client import pywrap_tf_session

        spec, graph = self.signatures[signature], self._session.graph

        def handle(info: Any) -> Any:
            return graph.get_tensor_by_name(info.name)._as_tf_output()

        feeds = {handle(spec.inputs[name]): value for name, value in inputs.items()}
        names = sorted(spec.outputs)
        self._session._extend_graph()
        values = pywrap_tf_session.TF_SessionRun_wrapper(
            self._session._session, None, feeds, [handle(spec.outputs[name]) for name in names], [], None
        )
        return dict(zip(names, values, strict=True))


@pytest.fixture
def session(tiny_bundle: Exported, tensorflow: Any, tmp_path: Path) -> Session:
    """Load the bundle from a path that differs from the one it was written to."""
    return Session(tensorflow, Path(shutil.copytree(tiny_bundle.path, tmp_path / "moved" / "1")))


def inputs(rows: int, length: int) -> dict[str, Any]:
    """Return valid inputs."""
    ids = np.full((rows, length), 7, np.int32)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def test_session_runs_every_signature(session: Session, tiny_bundle: Exported) -> None:
    """In a plain session every signature returns the manifest's shapes, also for an empty batch."""
    for name, length in tiny_bundle.manifest.signatures.items():
        for rows in (0, 1, 3):
            sizes = {"batch": rows, "length": length}
            expected = {
                s.name: [sizes.get(d) if d in sizes else int(d) for d in s.shape] for s in tiny_bundle.manifest.outputs
            }
            found = session.run(name, inputs(rows, length))
            assert {key: list(value.shape) for key, value in found.items()} == expected


def test_session_refuses_a_wrong_length(session: Session, tensorflow: Any) -> None:
    """The graph itself rejects another length, which TensorFlow Serving does not check."""
    with pytest.raises(tensorflow.errors.InvalidArgumentError, match=r"\[2,7\] is not compatible .*\[\?,16\]"):
        session.run("length_16", inputs(2, 7))


def test_bundle_info_returns_the_manifest(session: Session, tiny_bundle: Exported) -> None:
    """`bundle_info` reads the final manifest and the tokenizer after the bundle was moved."""
    found = session.run("bundle_info", {"row": np.zeros(2, np.int32)})
    assert [Manifest.from_json(text) for text in found["manifest"]] == [tiny_bundle.manifest] * 2
    assert found["tokenizer"][0] == (tiny_bundle.path / "tokenizer.json").read_bytes()


def test_weights_are_on_disk_once(tiny_bundle: Exported) -> None:
    """All signatures share one copy of the weights."""
    weights = tiny_bundle.manifest.source.parameters * 4
    variables = tiny_bundle.manifest.files["variables/variables.data-00000-of-00001"].size
    assert weights <= variables <= weights * 1.05 + 10_000


def test_graph_has_no_weights(tiny_bundle: Exported, tensorflow: Any) -> None:
    """The graph has no large constants, whatever the number of signatures."""
    from tensorflow.core.protobuf import saved_model_pb2

    graph = (
        saved_model_pb2.SavedModel.FromString((tiny_bundle.path / "saved_model.pb").read_bytes())
        .meta_graphs[0]
        .graph_def
    )
    nodes = [node for function in graph.library.function for node in function.node_def] + list(graph.node)
    floats = [
        node for node in nodes if node.op == "Const" and node.attr["dtype"].type == tensorflow.float32.as_datatype_enum
    ]
    assert max(node.ByteSize() for node in floats) < 1024


@pytest.mark.parametrize(("precision", "size"), [("float32", 4), ("bfloat16", 2)], ids=["float32", "bfloat16"])
def test_weights_are_saved_in_their_precision(
    tensorflow: Any, save: Callable[[str], Path], precision: str, size: int
) -> None:
    """The encoder's weights are saved once, in their precision, whatever the number of signatures."""
    path = save(precision)
    stored = tensorflow.train.load_checkpoint(str(path / "variables/variables")).get_variable_to_dtype_map()
    shapes = tensorflow.train.load_checkpoint(str(path / "variables/variables")).get_variable_to_shape_map()
    kernels = [name for name, shape in shapes.items() if len(shape) == 2 and shape != [32, len(LABELS)]]
    # Three tables, and four kernels per layer.
    assert len(kernels) == 3 + 4 * LAYERS
    assert {stored[name].size for name in kernels} == {size}
