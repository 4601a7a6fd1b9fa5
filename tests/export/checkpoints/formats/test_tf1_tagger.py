"""TensorFlow 1 taggers with a BiLSTM, a projection and a CRF after Google's BERT."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Client
from bertbundle.contract.types import InputFeatures
from bertbundle_export import LoadOptions, export_bundle
from bertbundle_export.checkpoints.registry import describe_checkpoint
from bertbundle_export.errors import CheckpointError
from bertbundle_export.runners import saved_model_runner
from source_models import example_inputs, load, run
from tf1_taggers import viterbi, write_tagger
from tiny_checkpoints import LABELS, vocabulary

pytestmark = pytest.mark.slow

Write = Callable[..., tuple[Path, np.ndarray[Any, Any], np.ndarray[Any, Any]]]
ALL = ("[PAD]", *LABELS)


@pytest.fixture
def tagger(encoder: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path) -> Write:
    """Write a checkpoint; return its path, and the logits and transitions of its graph for the example inputs."""
    weights, config = encoder

    def write(**options: Any) -> tuple[Path, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        path = tmp_path / "tagger"
        found = write_tagger(path, weights, config, vocabulary(), example_inputs(), labels=len(ALL), **options)
        return path, *found

    return write


@pytest.mark.parametrize("cell", [None, "LSTMCell", "BasicLSTMCell", "GRUCell"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole_rows", "masked"])
def test_logits_of_the_graph(tagger: Write, cell: str | None, masked: bool) -> None:
    """The model that is built from the weights gives the logits and transitions of the checkpoint's own graph."""
    path, logits, transitions = tagger(cell=cell, masked=masked)
    outputs = run(load(path, labels=ALL))
    tokens = example_inputs()["attention_mask"] == 1
    np.testing.assert_allclose(outputs["logits"][tokens], logits[tokens], atol=1e-5)
    np.testing.assert_array_equal(outputs["transitions"], transitions)


@pytest.mark.parametrize("meta", [False, True], ids=["without_graph", "with_graph"])
@pytest.mark.parametrize("tanh", [False, True], ids=["linear", "tanh"])
def test_tanh_after_the_projection(tagger: Write, tanh: bool, meta: bool) -> None:
    """The graph says whether a tanh follows; without it, there is one, as in BERT-BiLSTM-CRF-NER without a BiLSTM."""
    path, logits, _ = tagger(tanh=tanh, meta=meta)
    expected = logits if tanh or meta else np.tanh(logits)
    model = load(path, labels=ALL)
    np.testing.assert_allclose(run(model)["logits"], expected, atol=1e-5)
    assert bool(model.notes) is not meta


def test_without_crf(tagger: Write) -> None:
    """A projection without a CRF is a plain tagger."""
    path, logits, _ = tagger(cell="LSTMCell", crf=False)
    outputs = run(load(path, labels=ALL))
    assert "transitions" not in outputs
    tokens = example_inputs()["attention_mask"] == 1
    np.testing.assert_allclose(outputs["logits"][tokens], logits[tokens], atol=1e-5)


@pytest.mark.parametrize("cell", [None, "LSTMCell"], ids=["crf", "bilstm_crf"])
def test_exported(tagger: Write, tmp_path: Path, cell: str | None) -> None:
    """The bundle's labels are the best path of the CRF, and the client finds entities by them."""
    path, logits, transitions = tagger(cell=cell, tanh=cell is None)
    inputs, length = example_inputs(), example_inputs()["input_ids"].shape[1]
    exported = export_bundle(path, name="ner", output=tmp_path / "out", labels=ALL, max_length=length, lengths=())
    assert exported.manifest.labels == ALL
    assert exported.manifest.label_decoding == "crf"
    label_ids = saved_model_runner(exported.path)(InputFeatures("serving_default", dict(inputs)))["label_ids"]
    for row, mask in enumerate(inputs["attention_mask"].sum(axis=1)):
        assert label_ids[row, :mask].tolist() == viterbi(logits[row], transitions, int(mask))
    with Client.local(tmp_path / "out" / "ner") as client:
        assert {entity.label for entity in client.entities("wang lives")} <= {"PER", "LOC"}


def test_assumption_is_in_the_manifest(tagger: Write, tmp_path: Path) -> None:
    """Without a graph, the manifest says what is assumed about the head."""
    path, *_ = tagger(meta=False)
    options: dict[str, Any] = {"labels": ALL, "max_length": 16, "lengths": (), "formats": ("onnx",)}
    exported = export_bundle(path, name="ner", output=tmp_path / "out", **options)
    assert any("it is assumed to be that of BERT-BiLSTM-CRF-NER" in note for note in exported.manifest.notes)


def _pickle(name: str, content: Any) -> Callable[[Path], object]:
    return lambda path: (path / name).write_bytes(pickle.dumps(content))


@pytest.mark.parametrize(
    ("write", "options"),
    [
        pytest.param(lambda path: (path / "labels.txt").write_text("\n".join(ALL)), {}, id="labels_txt"),
        pytest.param(
            _pickle("label2id.pkl", {label: index for index, label in enumerate(LABELS, 1)}),
            {"allow_pickle": True},
            id="label2id_pkl",
        ),
        pytest.param(_pickle("label_list.pkl", list(ALL)), {"allow_pickle": True}, id="label_list_pkl"),
        pytest.param(lambda _: None, {"labels": ALL}, id="given"),
    ],
)
def test_labels(tagger: Write, write: Callable[[Path], object], options: dict[str, Any]) -> None:
    """Labels are those of the file beside the checkpoint; label 0 is [PAD] if a dict numbers them from 1."""
    path, *_ = tagger()
    write(path)
    assert load(path, **{"labels": None, **options}).labels == ALL


@pytest.mark.parametrize(
    ("write", "options", "message"),
    [
        pytest.param(_pickle("label2id.pkl", {"O": 1}), {}, "or --allow-pickle if you trust it", id="pickle"),
        pytest.param(lambda _: None, {"labels": ("O", "B-X")}, "6 labels, --labels has 2: O, B-X", id="few"),
        pytest.param(lambda path: (path / "labels.txt").write_text("O"), {}, "labels.txt has 1: O", id="file"),
        pytest.param(lambda _: None, {"labels": LABELS}, r"numbered from 1, .* \[PAD\] is the first", id="from_1"),
        pytest.param(
            _pickle("label2id.pkl", {"O": 1, "B-X": 9}), {"allow_pickle": True}, r"the numbers \[1, 9\]", id="numbers"
        ),
        pytest.param(
            lambda path: (path / "labels.txt").write_bytes("B-\u4eba".encode("gbk")),
            {},
            "cannot be read as UTF-8",
            id="gbk",
        ),
        pytest.param(lambda _: None, {}, "Pass --labels", id="none"),
        pytest.param(
            lambda path: (path / "label2id.pkl").write_bytes(b"?"), {"allow_pickle": True}, "has no labels", id="broken"
        ),
    ],
)
def test_invalid_labels(tagger: Write, write: Callable[[Path], object], options: dict[str, Any], message: str) -> None:
    """Labels that are missing, too few or in a pickle are one clear error."""
    path, *_ = tagger()
    write(path)
    with pytest.raises(CheckpointError, match=message):
        load(path, **{"labels": None, **options})


def test_features_of_a_tagger(tagger: Write) -> None:
    """Features are those of the encoder, without the head."""
    path, *_ = tagger(cell="LSTMCell")
    assert describe_checkpoint(path, LoadOptions(task="feature-extraction")).build_model is None
    assert load(path, labels=None, task="feature-extraction").task == "feature-extraction"
