"""A live Keras model with a head for spans, and a CRF of bert4keras: every runtime answers what the models compute."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert4keras_heads import crf_weights, write_bert4keras
from bertbundle import Client, Entity, InputError
from bertbundle.text.tokenizer import Tokenizer
from bertbundle_export import Exported, LoadOptions, export_bundle
from bertbundle_export.checkpoints import load_checkpoint
from bertbundle_export.source.model import SourceModel, run_source
from local_server import serving
from tiny_checkpoints import write_checkpoint

pytestmark = pytest.mark.slow

TYPES = ("PER", "LOC")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TEXTS = ["Ann is in Rome.", "He", "Paris and Rome, Ann said."]
THRESHOLD = 1.0
approx: Any = pytest.approx


def span_model(tensorflow: Any, source: SourceModel) -> Any:
    """Return a functional model with logits for spans, masked as GlobalPointer masks them."""
    import tf_keras

    random = np.random.default_rng(1)
    starts, ends = (random.normal(size=(32, len(TYPES))).astype(np.float32) for _ in range(2))
    inputs = {spec.name: tf_keras.Input((None,), dtype="int32", name=spec.name) for spec in source.inputs}
    hidden = source.keras(inputs).last_hidden_state
    first, last = (tensorflow.transpose(hidden @ kernel, [0, 2, 1]) for kernel in (starts, ends))
    mask = inputs["attention_mask"] == 1
    pairs = tensorflow.linalg.band_part(tensorflow.cast(mask[:, :, None] & mask[:, None, :], tensorflow.float32), 0, -1)
    logits = first[:, :, :, None] + last[:, :, None, :] - 3.0
    return tf_keras.Model(inputs, tensorflow.where(pairs[:, None] > 0, logits, -np.inf))


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> tuple[Exported, SourceModel, Any]:
    """The bundle of a live model, the source of its encoder and tokenizer, and the model itself."""
    root = tmp_path_factory.mktemp("spans")
    source = load_checkpoint(write_checkpoint(root / "checkpoint", "BertModel"), "x", LoadOptions())
    model = span_model(tensorflow, source)
    exported = export_bundle(
        model,
        name="spans",
        output=root / "models",
        task="span-classification",
        labels=TYPES,
        tokenizer=source.tokenizer,
        max_length=24,
        lengths=[8],
        span_threshold=THRESHOLD,
        top_k=300,
    )
    return exported, source, model


@pytest.fixture(scope="module", params=["onnx", "saved_model", "auto"])
def client(request: pytest.FixtureRequest, spans: tuple[Exported, SourceModel, Any]) -> Iterator[Client]:
    """A client of a server of the bundle with each runtime; auto is OpenVINO if it is installed."""
    base = spans[0].path.parent
    with (
        serving(model_name="spans", model_base_path=base, runtime=request.param) as address,
        Client(address, "spans") as connected,
    ):
        yield connected


def search(model: Any, tokenizer: Any, text: str) -> list[Entity]:
    """Return the entities of a text by a search over the model's logits."""
    encoding = Tokenizer(tokenizer.to_str(), max_length=24).encode([text])[0]
    ids = np.array([encoding.ids], np.int32)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    (logits,) = np.asarray(model(inputs, training=False))
    found = []
    for label, name in enumerate(TYPES):
        for first in range(1, len(encoding) - 1):
            for last in range(first, len(encoding) - 1):
                if logits[label, first, last] > THRESHOLD:
                    start, end = encoding.offsets[first][0], encoding.offsets[last][1]
                    score = 1 / (1 + np.exp(-logits[label, first, last]))
                    found.append(Entity(name, text[start:end], start, end, approx(score, abs=1e-4)))
    return sorted(found, key=lambda entity: (entity.start, -entity.end, entity.label))


def test_live_model(spans: tuple[Exported, SourceModel, Any], client: Client) -> None:
    """The entities are those of a search over the logits of the model itself, nested ones included."""
    _, source, model = spans
    expected = [search(model, source.tokenizer, text) for text in TEXTS]
    assert client.entities(TEXTS) == expected
    assert len(expected[0]) > 1
    assert any(first.end >= second.end for first, second in zip(expected[0], expected[0][1:], strict=False))


def test_long_text(client: Client) -> None:
    """The entities of a long text are in order, and none appears twice."""
    found = client.entities(" ".join(TEXTS * 4))
    keys = [(entity.start, -entity.end, entity.label) for entity in found]
    assert keys == sorted(set(keys))
    assert found


def test_manifest(spans: tuple[Exported, SourceModel, Any]) -> None:
    """The manifest has the threshold, the number of rows, and outputs whose shapes do not depend on the length."""
    manifest = spans[0].manifest
    assert (manifest.task, manifest.labels, manifest.span_threshold, manifest.top_k) == (
        "span-classification",
        TYPES,
        THRESHOLD,
        300,
    )
    assert {spec.name: spec.shape for spec in manifest.outputs} == {
        "span_counts": ("batch",),
        "span_scores": ("batch", "300"),
        "spans": ("batch", "300", "3"),
        "start_logits": ("batch", "length", "2"),
    }


def test_too_many_spans(spans: tuple[Exported, SourceModel, Any], tmp_path: Path) -> None:
    """An export with few rows notes that the texts have more spans; the client refuses such a text."""
    _, source, model = spans
    exported = export_bundle(
        model,
        name="few",
        output=tmp_path,
        task="span-classification",
        labels=TYPES,
        tokenizer=source.tokenizer,
        max_length=24,
        lengths=[],
        formats=["onnx"],
        top_k=2,
    )
    assert "the outputs have room for 2" in " ".join(exported.manifest.notes)
    with (
        serving(model_name="few", model_base_path=exported.path.parent) as address,
        Client(address, "few") as client,
        pytest.raises(InputError, match=r"a text has \d+ spans, this model returns at most 2"),
    ):
        client.entities(TEXTS)


def test_crf_of_bert4keras(tmp_path: Path, tensorflow: Any) -> None:
    """A bert4keras model with a CRF is served: labels are the best sequence by a search over all sequences."""
    del tensorflow
    path = write_bert4keras(tmp_path / "model.weights", crf_weights(len(TAGS)))
    load = LoadOptions(labels=TAGS, init_args={"lr_multiplier": 3})
    model = load_checkpoint(path, "x", load)
    exported = export_bundle(
        path, name="crf", output=tmp_path / "models", load=load, max_length=8, lengths=[], formats=["onnx"]
    )
    assert exported.manifest.label_decoding == "crf"
    encoding = Tokenizer(model.tokenizer.to_str(), max_length=8).encode(["Rome"])[0]
    ids = np.array([encoding.ids], np.int32)
    raw = run_source(
        model, {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    )
    count = len(encoding)
    paths = np.array(list(itertools.product(range(len(TAGS)), repeat=count)))
    scores = raw["logits"][0][np.arange(count), paths].sum(1) + raw["transitions"][paths[:, :-1], paths[:, 1:]].sum(1)
    best = [TAGS[label] for label in paths[scores.argmax()]]
    with serving(model_name="crf", model_base_path=exported.path.parent) as address, Client(address, "crf") as client:
        found = client.entities("Rome")
    types = ["O"] * count
    for entity in found:
        inside = [i for i, (start, end) in enumerate(encoding.offsets) if entity.start <= start < end <= entity.end]
        types = [entity.label if position in inside else label for position, label in enumerate(types)]
    assert types[1:-1] == [label.rpartition("-")[2] for label in best[1:-1]]
    assert set(types) != {"O"}
