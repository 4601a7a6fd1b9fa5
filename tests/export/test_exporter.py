"""A whole export: what is in a bundle, that each format is proved, and that a failure leaves nothing."""

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
from bertbundle_export import Exported, LoadOptions, export_bundle
from bertbundle_export.errors import CheckpointError, ExportError, ToleranceError
from bertbundle_export.options import ExportOptions, signature_lengths
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


# ---- choices


def test_versions_count_up(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """The next export of a name is the next version; a version given is taken; one that is there is refused at once."""
    source, output = checkpoint(), tmp_path / "models"
    options: dict[str, Any] = {"name": "tiny", "output": output, "lengths": (), "formats": ("onnx",)}
    assert export_bundle(source, **options).path == output / "tiny/1"
    assert export_bundle(source, **options, version=5).path == output / "tiny/5"
    assert export_bundle(source, **options).path == output / "tiny/6"
    with pytest.raises(ExportError, match="is there already"):
        export_bundle(source, **options, version=5)


def shorter(*lengths: int) -> dict[str, int]:
    """Return the signatures of some lengths."""
    return {f"length_{length}": length for length in lengths}


@pytest.mark.parametrize(
    ("options", "limit", "expected"),
    [
        pytest.param({}, 512, shorter(*range(8, 65, 8), 80, 96, 112) | {"serving_default": 128}, id="default"),
        pytest.param({}, 48, shorter(8, 16, 24, 32, 40) | {"serving_default": 48}, id="short_model"),
        pytest.param(
            {"max_length": 512},
            512,
            shorter(*range(8, 65, 8), *range(80, 129, 16), *range(160, 257, 32), 320, 384, 448)
            | {"serving_default": 512},
            id="long",
        ),
        pytest.param({"max_length": 8}, 512, {"serving_default": 8}, id="shortest"),
        pytest.param(
            {"max_length": 100, "lengths": (50, 100, 20)},
            512,
            {"length_20": 20, "length_50": 50, "serving_default": 100},
            id="given",
        ),
        pytest.param({"precision": "bfloat16"}, 512, shorter(16, 32, 64) | {"serving_default": 128}, id="bfloat16"),
        pytest.param({"max_length": 36}, None, shorter(8, 16, 24, 32) | {"serving_default": 36}, id="no_limit_known"),
    ],
)
def test_lengths(options: dict[str, Any], limit: int | None, expected: dict[str, int]) -> None:
    """Signatures are every 8 tokens, further apart the longer they are, or as asked for; fewer if each costs much."""
    assert signature_lengths(ExportOptions(**options), limit) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"max_length": 1000}, "max_length 1000 is over the model's max_position_embeddings 512", id="long"
        ),
        pytest.param({"lengths": (16, 256)}, "length 256 cannot be", id="over_max"),
        pytest.param({"lengths": (0,)}, "length 0 cannot be", id="zero"),
        pytest.param({"max_length": 2}, "length 2 cannot be", id="no_room"),
    ],
)
def test_lengths_that_cannot_be(options: dict[str, Any], message: str) -> None:
    """A length the model cannot take is refused."""
    with pytest.raises(ExportError, match=message):
        signature_lengths(ExportOptions(**options), 512)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"word_labels": "last"}, id="word_labels"),
        pytest.param({"label_decoding": "beam"}, id="label_decoding"),
        pytest.param({"label_scheme": "XYZ"}, id="label_scheme"),
        pytest.param({"formats": ()}, id="no_format"),
        pytest.param({"formats": ("tflite",)}, id="format"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    """An unknown choice is refused with the choices there are."""
    with pytest.raises(ExportError, match="must be"):
        ExportOptions(**options)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(LABELS, ("BIO", "viterbi"), id="BIO"),
        pytest.param(("O", "PER", "LOC", "ORG", "X"), ("IO", "argmax"), id="IO"),
        pytest.param(("B-P", "M-P", "E-P", "S-P", "O"), ("BMES", "viterbi"), id="BMES"),
    ],
)
def test_label_scheme_decides_the_decoding(
    checkpoint: Callable[..., Path], tmp_path: Path, labels: tuple[str, ...], expected: tuple[str, str]
) -> None:
    """Labels with a beginning are decoded by Viterbi, others by argmax."""
    source = checkpoint(labels=labels)
    manifest = export_bundle(source, name="t", output=tmp_path / "m", lengths=(), formats=("onnx",)).manifest
    assert (manifest.label_scheme, manifest.label_decoding) == expected


def test_characters(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """With `characters` each character is a token, with its offset."""
    import tokenizers

    exported = export_bundle(
        checkpoint(), name="t", output=tmp_path / "m", lengths=(), formats=("onnx",), characters=True
    )
    tokenizer = tokenizers.Tokenizer.from_file(str(exported.path / "tokenizer.json"))
    found = tokenizer.encode("1966年 OK")
    assert found.tokens == ["[CLS]", "1", "9", "6", "6", "年", "o", "k", "[SEP]"]
    assert found.offsets[1:-1] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (6, 7), (7, 8)]


def test_limits_inside_a_tokenizer_are_dropped(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """A tokenizer.json that truncates silently, as sentence-transformers' do, does not in a bundle."""
    import tokenizers

    source = checkpoint()
    from bertbundle_export.source.tokenization import load_tokenizer

    tokenizer = load_tokenizer(source)
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=5)
    tokenizer.save(str(source / "tokenizer.json"))
    exported = export_bundle(source, name="t", output=tmp_path / "m", lengths=(), formats=("onnx",))
    loaded = tokenizers.Tokenizer.from_file(str(exported.path / "tokenizer.json"))
    assert len(loaded.encode("a b c d e f g h").ids) == 10


# ---- live models


def test_live_model(checkpoint: Callable[..., Path], tmp_path: Path, tensorflow: Any) -> None:
    """A subclass of TFBertPreTrainedModel in a training script exports by one call."""
    del tensorflow
    from bertbundle_export.source.tokenization import load_tokenizer
    from ner_model import small_model  # the field's BertNerModel, of the example

    tokenizer = load_tokenizer(checkpoint())
    model = small_model(LABELS, vocab_size=tokenizer.get_vocab_size(), max_length=32)
    exported = export_bundle(
        model, name="live", output=tmp_path / "m", task="token-classification", labels=LABELS, tokenizer=tokenizer
    )
    assert exported.manifest.source.format == "live"
    assert exported.manifest.labels == LABELS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({}, "does not say its task. Pass task=", id="task"),
        pytest.param({"task": "token-classification"}, "has no labels for token-classification", id="labels"),
        pytest.param({"task": "feature-extraction"}, "needs its tokenizer. Pass tokenizer=", id="tokenizer"),
    ],
)
def test_live_model_without(
    checkpoint: Callable[..., Path], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """What a live model does not say itself is asked for."""
    from bertbundle_export.checkpoints import load_checkpoint

    model = load_checkpoint(checkpoint("BertModel"), "x", LoadOptions()).keras
    model.config.id2label = {0: "LABEL_0", 1: "LABEL_1"}
    with pytest.raises(CheckpointError, match=message):
        export_bundle(model, name="live", output=tmp_path / "m", **options)


def test_source_that_is_nothing(tmp_path: Path) -> None:
    """A source that is neither a path nor a model is one clear error."""
    with pytest.raises(CheckpointError, match="a int is not a source"):
        export_bundle(3, name="x", output=tmp_path / "m", task="feature-extraction")


# ---- failures leave nothing


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
        pytest.param(lambda _, x: x[..., :3], ExportError, "has 3 classes, 5 labels were given", id="classes"),
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
