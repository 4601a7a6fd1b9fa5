"""A complete export: the files of a bundle, the verification of each format, and failures that leave no files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle.contract.manifest import Manifest
from bertbundle_export import Exported, export_bundle
from bertbundle_export.errors import ExportError, ToleranceError
from tiny_checkpoints import LABELS, vocabulary

pytestmark = pytest.mark.slow


OUTPUTS = {
    "token-classification": {"label_ids", "label_scores", "logits"},
    "text-classification": {"logits", "scores"},
    "feature-extraction": {"last_hidden_state", "pooler_output", "sentence_embedding"},
}


def test_bundle_has_its_files(tiny_bundle: Exported) -> None:
    """A bundle is a valid TensorFlow Serving version directory, with the files of other runtimes beside it."""
    files = {path.relative_to(tiny_bundle.path).as_posix() for path in tiny_bundle.path.rglob("*") if path.is_file()}
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
    assert tiny_bundle.path.name == "1"
    assert tiny_bundle.path.parent.name == "tiny"


def test_nothing_else_is_left(tiny_bundle: Exported) -> None:
    """The staging directory is removed."""
    assert [path.name for path in tiny_bundle.path.parent.parent.iterdir()] == ["tiny"]


def test_returned_manifest(tiny_bundle: Exported) -> None:
    """bundle.json, its copy in the assets, and the returned manifest are equal."""
    text = (tiny_bundle.path / "bundle.json").read_text(encoding="utf-8")
    assert Manifest.from_json(text) == tiny_bundle.manifest
    assert (tiny_bundle.path / "assets/bundle.json").read_text(encoding="utf-8") == text


def test_digests(tiny_bundle: Exported) -> None:
    """The manifest's digests are those of the files."""
    assert "model.onnx" in tiny_bundle.manifest.files
    for name, info in tiny_bundle.manifest.files.items():
        data = (tiny_bundle.path / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (info.size, info.sha256), name


def test_parity_covers_every_format_signature_and_output(tiny_bundle: Exported) -> None:
    """Each output of each signature of each format has been compared and is within its tolerance."""
    manifest = tiny_bundle.manifest
    outputs = OUTPUTS[manifest.task]
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
    with_all_texts = ("length_8", "length_16", "length_32")
    assert all(row.rows > (10 if row.signature in with_all_texts else 2) for row in manifest.parity)


class RecordingReporter:
    """Records the names of the stages and the notes."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Record the name."""
        self.stages.append(name)
        return nullcontext()

    def note(self, text: str) -> None:
        """Record the note."""
        self.notes.append(text)


def test_stages_and_notes(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """Each format is verified before the next one is written; the reported notes are those of the manifest."""
    reporter = RecordingReporter()
    options: dict[str, Any] = {"max_length": 16, "lengths": (), "precision": "auto"}
    source = checkpoint(hidden_act="swish", num_hidden_layers=1)
    manifest = export_bundle(source, name="t", output=tmp_path / "m", reporter=reporter, **options).manifest
    assert reporter.stages == [
        "load the checkpoint",
        "run the source model on real texts",
        "trace the serving function",
        "write the SavedModel",
        "compare the SavedModel with the source",
        "convert to ONNX",
        "compare the ONNX models with the source",
        "write warmup records and the manifest",
    ]
    assert reporter.notes == list(manifest.notes)
    assert reporter.notes[0].startswith("precision auto: ")


def test_versions_count_up(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """Versions count up; a given version is used, and refused at once if it exists."""
    source, output = checkpoint(num_hidden_layers=1), tmp_path / "models"
    options: dict[str, Any] = {"name": "tiny", "output": output, "lengths": (), "formats": ("onnx",)}
    assert export_bundle(source, **options).path == output / "tiny/1"
    assert export_bundle(source, **options, version=5).path == output / "tiny/5"
    assert export_bundle(source, **options).path == output / "tiny/6"
    with pytest.raises(ExportError, match="exists already"):
        export_bundle(source, **options, version=5)


class InconsistentModel:
    """A model whose outputs can differ when it is traced, so that no export of it is correct."""

    def __init__(self, tensorflow: Any, output: Callable[[Any, Any], Any]) -> None:
        self._tf, self._output = tensorflow, output
        self.embedding = tensorflow.Variable(np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32))
        self.variables = [self.embedding]

    def __call__(self, inputs: dict[str, Any], *, training: bool) -> dict[str, Any]:
        """Return logits ``[batch, length, 5]``."""
        del training
        return {"logits": self._output(self._tf, self._tf.gather(self.embedding, inputs["input_ids"]))}


def _different_in_a_graph(tf: Any, logits: Any) -> Any:
    return logits if tf.executing_eagerly() else logits + 1e-2


def _unsupported_by_onnx(tf: Any, logits: Any) -> Any:
    return tf.math.bessel_i0e(logits)


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        pytest.param(_different_in_a_graph, ToleranceError, "saved_model length_8 output logits differs", id="parity"),
        pytest.param(_unsupported_by_onnx, ExportError, "tf2onnx cannot convert the model: .*BesselI0e", id="onnx"),
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
    """Exporting a model whose formats disagree, or that ONNX does not support, fails and leaves no files."""
    model = InconsistentModel(tensorflow, output)
    with pytest.raises(error, match=message):
        export_bundle(
            model,
            name="inconsistent",
            output=tmp_path / "models",
            task="token-classification",
            labels=LABELS,
            tokenizer=checkpoint(),
            label_decoding="argmax",
            max_length=32,
        )
    assert list((tmp_path / "models").rglob("*")) == []


def test_export_without_onnx(checkpoint: Callable[..., Path], tmp_path: Path, tensorflow: Any) -> None:
    """A model that ONNX does not support can be exported with the suggested option, as a SavedModel only."""
    exported = export_bundle(
        InconsistentModel(tensorflow, _unsupported_by_onnx),
        name="inconsistent",
        output=tmp_path / "models",
        task="token-classification",
        labels=LABELS,
        tokenizer=checkpoint(),
        max_length=32,
        formats=("saved_model",),
    )
    assert not (exported.path / "model.onnx").exists()
    assert {row.format for row in exported.manifest.parity} == {"saved_model"}


def test_generator_versions_are_stated(tiny_bundle: Exported) -> None:
    """The manifest names the versions of the packages that created the bundle."""
    generator = json.loads((tiny_bundle.path / "bundle.json").read_text(encoding="utf-8"))["generator"]
    assert generator["tensorflow"].startswith("2.")
    assert generator["transformers"].startswith("4.")


def _marked(path: Path, *, special: bool) -> None:
    """Add two entity markers to a checkpoint, as two of its last, unused tokens."""
    from bertbundle_export.tensorflow_import import transformers

    tokenizer = transformers.BertTokenizerFast(str(path / "vocab.txt"))
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": ["[E1]", "[/E1]"]})
    else:
        tokenizer.add_tokens(["[E1]", "[/E1]"])
    tokenizer.save_pretrained(str(path))


@pytest.mark.parametrize("definition", [True, False], ids=["tokenizer.json", "slow"])
@pytest.mark.parametrize("special", [True, False], ids=["special", "plain"])
@pytest.mark.parametrize("choice", ["match", "text"])
def test_added_tokens(
    checkpoint: Callable[..., Path], tmp_path: Path, choice: str, *, special: bool, definition: bool
) -> None:
    """Entity markers in a text are recognized as by transformers' slow tokenizer, or tokenized like any text."""
    from bertbundle import Client
    from bertbundle_export.tensorflow_import import transformers

    path = checkpoint("BertForSequenceClassification", labels=("no", "yes"), vocab_size=len(vocabulary()) + 2)
    _marked(path, special=special)
    if not definition:
        (path / "tokenizer.json").unlink()
    exported = export_bundle(path, name="m", output=tmp_path / "m", formats=("onnx",), lengths=(), added_tokens=choice)
    assert exported.manifest.added_tokens == (("[E1]", "[/E1]") if choice == "match" else ())
    slow = transformers.BertTokenizer.from_pretrained(str(path))
    if choice == "text":
        slow = transformers.BertTokenizer(str(path / "vocab.txt"))  # knows no markers
    text = "the [E1] OK [/E1] was born"
    model = transformers.TFBertForSequenceClassification.from_pretrained(str(path))
    logits = model(dict(slow(text, return_tensors="tf")), training=False).logits.numpy()[0]
    with Client.local(exported.path) as client:
        found = client.classify(text)
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose([found.scores["no"], found.scores["yes"]], expected, rtol=1e-4)


def test_tokenizer_without_token_types(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """If the tokenizer makes no token_type_ids, the second text of a pair has type 0, as in transformers."""
    from bertbundle import Client
    from bertbundle_export.tensorflow_import import transformers

    path = checkpoint("BertForSequenceClassification", labels=("no", "yes"))
    settings = {"model_input_names": ["input_ids", "attention_mask"], "model_max_length": 40}
    (path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    exported = export_bundle(path, name="m", output=tmp_path / "m", formats=("onnx",), lengths=())
    assert [spec.name for spec in exported.manifest.inputs] == ["input_ids", "attention_mask"]
    assert exported.manifest.max_length == 40
    slow = transformers.BertTokenizer.from_pretrained(str(path))
    model = transformers.TFBertForSequenceClassification.from_pretrained(str(path))
    logits = model(dict(slow("ok ok", "the", return_tensors="tf")), training=False).logits.numpy()[0]
    with Client.local(exported.path) as client:
        found = client.classify(("ok ok", "the"))
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose([found.scores["no"], found.scores["yes"]], expected, rtol=1e-4)
