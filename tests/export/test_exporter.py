"""A whole export: the files of a bundle, the verification of each format, and failures that leave no files behind."""

from __future__ import annotations

import collections
import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import Arrays
from bertbundle_export import Exported, export_bundle
from bertbundle_export.errors import ExportError, ToleranceError
from tiny_checkpoints import LABELS, write_checkpoint

pytestmark = pytest.mark.slow


TASKS: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "token-classification": ("BertForTokenClassification", {}, {"label_ids", "label_scores", "logits"}),
    "text-classification": ("BertForSequenceClassification", {"labels": ("bad", "good", "odd")}, {"logits", "scores"}),
    "feature-extraction": ("BertModel", {}, {"last_hidden_state", "pooler_output", "sentence_embedding"}),
}


@pytest.fixture(scope="module", params=TASKS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> Exported:
    """Export a tiny checkpoint of each task."""
    del tensorflow
    directory = tmp_path_factory.mktemp("export")
    architecture, options, _ = TASKS[request.param]
    source = write_checkpoint(directory / "checkpoint", architecture, **options)
    return export_bundle(source, name="tiny", output=directory / "models")


def test_bundle_has_its_files(exported: Exported) -> None:
    """A bundle is a legal TensorFlow Serving version directory with the other runtimes' files beside it."""
    files = {path.relative_to(exported.path).as_posix() for path in exported.path.rglob("*") if path.is_file()}
    assert files == {
        "assets.extra/tf_serving_warmup_requests",
        "assets/bundle.json",
        "assets/tokenizer.json",
        "bundle.json",
        "fingerprint.pb",
        "model.onnx",
        "model.onnx.data",
        "model_standard.onnx",
        "saved_model.pb",
        "tokenizer.json",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    }
    assert exported.path.name == "1"
    assert exported.path.parent.name == "tiny"


def test_nothing_else_is_left(exported: Exported) -> None:
    """The staging directory is gone."""
    assert [path.name for path in exported.path.parent.parent.iterdir()] == ["tiny"]


def test_manifest_is_what_was_returned(exported: Exported) -> None:
    """bundle.json, its copy among the assets, and the returned manifest are the same."""
    text = (exported.path / "bundle.json").read_text(encoding="utf-8")
    assert Manifest.from_json(text) == exported.manifest
    assert (exported.path / "assets/bundle.json").read_text(encoding="utf-8") == text


def test_digests_hold(exported: Exported) -> None:
    """The manifest's digests are those of the files."""
    assert "model.onnx" in exported.manifest.files
    for name, info in exported.manifest.files.items():
        data = (exported.path / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (info.size, info.sha256), name


def test_parity_covers_every_format_signature_and_output(exported: Exported) -> None:
    """Each output of each signature of each format was compared, within the stated tolerance."""
    manifest = exported.manifest
    outputs = TASKS[manifest.task][2]
    assert {spec.name for spec in manifest.outputs} == outputs
    assert manifest.signatures == {f"length_{n}": n for n in (8, 16, 24, 32, 40)} | {"serving_default": 48}
    expected = {
        (kind, name, out)
        for kind in ("saved_model", "onnx", "onnx_standard")
        for name in manifest.signatures
        for out in outputs
    }
    assert {(row.format, row.signature, row.output) for row in manifest.parity} == expected
    assert all(row.max_abs < 1e-3 and row.agreement >= 0.999 for row in manifest.parity)
    whole = ("length_8", "length_16", "length_32")
    assert all(row.rows > (10 if row.signature in whole else 2) for row in manifest.parity)


def test_weights_are_on_disk_once(exported: Exported) -> None:
    """Three signatures share one copy of the weights."""
    weights = exported.manifest.source.parameters * 4
    variables = exported.manifest.files["variables/variables.data-00000-of-00001"].size
    assert weights <= variables <= weights * 1.05 + 10_000


def test_graph_has_no_weights(exported: Exported, tensorflow: Any) -> None:
    """No large constant is in the graph, however many signatures there are."""
    from tensorflow.core.protobuf import saved_model_pb2

    graph = (
        saved_model_pb2.SavedModel.FromString((exported.path / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    )
    nodes = [node for function in graph.library.function for node in function.node_def] + list(graph.node)
    floats = [
        node for node in nodes if node.op == "Const" and node.attr["dtype"].type == tensorflow.float32.as_datatype_enum
    ]
    assert max(node.ByteSize() for node in floats) < 1024


def test_warmup_is_what_tensorflow_serving_reads(exported: Exported, tensorflow: Any) -> None:
    """The warmup file holds one PredictionLog per signature, in the official package's terms."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorflow_serving.apis import prediction_log_pb2

    path = exported.path / "assets.extra/tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(item.numpy()) for item in tensorflow.data.TFRecordDataset(str(path))
    ]
    requests = [log.predict_log.request for log in logs]
    shapes = {
        request.model_spec.signature_name: [dim.size for dim in request.inputs["input_ids"].tensor_shape.dim]
        for request in requests
    }
    assert shapes == {name: [1, length] for name, length in exported.manifest.signatures.items()}
    assert {request.model_spec.name for request in requests} == {"tiny"}


def test_onnx_is_standard(exported: Exported) -> None:
    """The ONNX file for any runtime has only standard operators - no Erfc - and symbolic batch and length."""
    import onnx

    proto = onnx.load(str(exported.path / "model_standard.onnx"))
    onnx.checker.check_model(proto, full_check=True)
    assert {node.domain for node in proto.graph.node} == {""}
    assert "Erfc" not in {node.op_type for node in proto.graph.node}
    shapes = {item.name: [d.dim_param for d in item.type.tensor_type.shape.dim] for item in proto.graph.input}
    assert shapes == {name: ["batch", "length"] for name in ("input_ids", "attention_mask", "token_type_ids")}


def test_onnx_is_fused(exported: Exported) -> None:
    """The ONNX file for onnxruntime has one operator for each attention, each layer normalisation, each gelu."""
    import onnx

    proto = onnx.load(str(exported.path / "model.onnx"), load_external_data=False)
    fused = collections.Counter(node.op_type for node in proto.graph.node if node.domain == "com.microsoft")
    # The checkpoint has two layers. BERT-base's twelve give 12, 24, 1 and 12.
    assert fused == {"Attention": 2, "SkipLayerNormalization": 4, "EmbedLayerNormalization": 1, "BiasGelu": 2}
    assert not {"LayerNormalization", "Erf"} & {node.op_type for node in proto.graph.node}


def test_onnx_files_share_their_weights(exported: Exported) -> None:
    """Both ONNX files read one file of weights, and hold next to none themselves."""
    files, weights = exported.manifest.files, exported.manifest.source.parameters * 4
    # Each array begins at a page.
    assert weights * 0.9 <= files["model.onnx.data"].size <= weights + 64 * 4096
    assert files["model.onnx"].size + files["model_standard.onnx"].size < 100_000


class Session:
    """A SavedModel in a TensorFlow 1 session: how TensorFlow Serving's C++ loads and runs it."""

    def __init__(self, tensorflow: Any, path: Path) -> None:
        v1 = tensorflow.compat.v1
        self._session = v1.Session(graph=tensorflow.Graph())
        with self._session.graph.as_default(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.signatures = v1.saved_model.loader.load(self._session, ["serve"], str(path)).signature_def

    def run(self, signature: str, inputs: Arrays) -> dict[str, Any]:
        """Run a signature without the Python side's check of shapes."""
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
def session(exported: Exported, tensorflow: Any, tmp_path: Path) -> Session:
    """Load the bundle from another place than it was written to."""
    import shutil

    return Session(tensorflow, Path(shutil.copytree(exported.path, tmp_path / "moved" / "1")))


def inputs(rows: int, length: int) -> dict[str, Any]:
    """Return valid inputs."""
    ids = np.full((rows, length), 7, np.int32)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def test_session_runs_every_signature(session: Session, exported: Exported) -> None:
    """In a plain session every signature answers with the manifest's shapes, a batch of none, too."""
    for name, length in exported.manifest.signatures.items():
        for rows in (0, 1, 3):
            sizes = {"batch": rows, "length": length}
            expected = {
                s.name: [sizes.get(d) if d in sizes else int(d) for d in s.shape] for s in exported.manifest.outputs
            }
            found = session.run(name, inputs(rows, length))
            assert {key: list(value.shape) for key, value in found.items()} == expected


def test_session_refuses_a_wrong_length(session: Session, tensorflow: Any) -> None:
    """The graph itself refuses another length, as a stock TensorFlow Serving checks none."""
    with pytest.raises(tensorflow.errors.InvalidArgumentError, match=r"\[2,7\] is not compatible .*\[\?,16\]"):
        session.run("length_16", inputs(2, 7))


def test_session_gives_the_manifest(session: Session, exported: Exported) -> None:
    """`bundle_info` reads the finished manifest and the tokenizer, wherever the bundle was moved to."""
    found = session.run("bundle_info", {"row": np.zeros(2, np.int32)})
    assert [Manifest.from_json(text) for text in found["manifest"]] == [exported.manifest] * 2
    assert found["tokenizer"][0] == (exported.path / "tokenizer.json").read_bytes()


def test_versions_count_up(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """The next export of a name is the next version; a version given is taken; one that is there is refused at once."""
    source, output = checkpoint(), tmp_path / "models"
    options: dict[str, Any] = {"name": "tiny", "output": output, "lengths": (), "formats": ("onnx",)}
    assert export_bundle(source, **options).path == output / "tiny/1"
    assert export_bundle(source, **options, version=5).path == output / "tiny/5"
    assert export_bundle(source, **options).path == output / "tiny/6"
    with pytest.raises(ExportError, match="exists already"):
        export_bundle(source, **options, version=5)


class Fickle:
    """A model that answers otherwise when it is traced than when it is run: no export of it can be right."""

    def __init__(self, tensorflow: Any, output: Callable[[Any, Any], Any]) -> None:
        self._tf, self._output = tensorflow, output
        self.embedding = tensorflow.Variable(np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32))
        self.variables = [self.embedding]

    def __call__(self, inputs: dict[str, Any], *, training: bool) -> dict[str, Any]:
        """Return logits ``[batch, length, 5]``."""
        del training
        return {"logits": self._output(self._tf, self._tf.gather(self.embedding, inputs["input_ids"]))}


def _off_in_a_graph(tf: Any, logits: Any) -> Any:
    return logits if tf.executing_eagerly() else logits + 1e-2


def _unknown_to_onnx(tf: Any, logits: Any) -> Any:
    return tf.math.bessel_i0e(logits)


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        pytest.param(_off_in_a_graph, ToleranceError, "saved_model length_8 output logits differs", id="parity"),
        pytest.param(_unknown_to_onnx, ExportError, "tf2onnx cannot convert the model: .*BesselI0e", id="onnx"),
        pytest.param(lambda _, x: x[..., :3], ExportError, "has 3 classes, but 5 labels were given", id="classes"),
        pytest.param(lambda _, x: x / 0, ExportError, "that are not finite", id="nan"),
    ],
)
def test_failed_export_leaves_nothing(
    checkpoint: Callable[..., Path],
    tmp_path: Path,
    tensorflow: Any,
    output: Callable[[Any, Any], Any],
    error: type[ExportError],
    message: str,
) -> None:
    """A model whose formats disagree, or that ONNX cannot hold, is refused, and no file of it stays."""
    model = Fickle(tensorflow, output)
    with pytest.raises(error, match=message):
        export_bundle(
            model,
            name="fickle",
            output=tmp_path / "models",
            task="token-classification",
            labels=LABELS,
            tokenizer=checkpoint(),
            label_decoding="argmax",
            max_length=32,
        )
    assert list((tmp_path / "models").rglob("*")) == []


def test_what_onnx_cannot_hold_exports_without(
    checkpoint: Callable[..., Path], tmp_path: Path, tensorflow: Any
) -> None:
    """The way out that the message names works: the SavedModel alone."""
    exported = export_bundle(
        Fickle(tensorflow, _unknown_to_onnx),
        name="fickle",
        output=tmp_path / "models",
        task="token-classification",
        labels=LABELS,
        tokenizer=checkpoint(),
        max_length=32,
        formats=("saved_model",),
    )
    assert not (exported.path / "model.onnx").exists()
    assert {row.format for row in exported.manifest.parity} == {"saved_model"}


def test_generator_versions_are_stated(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """The manifest says what made it."""
    exported = export_bundle(checkpoint(), name="t", output=tmp_path / "m", lengths=(), formats=("onnx",))
    made_by = json.loads((exported.path / "bundle.json").read_text(encoding="utf-8"))["generator"]
    assert made_by["tensorflow"].startswith("2.")
    assert made_by["transformers"].startswith("4.")
