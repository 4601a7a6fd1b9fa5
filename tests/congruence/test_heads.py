"""A model with four heads, served by every server: each head's answers equal those of the source model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Client, Entity, RestTransport
from bertbundle.contract.manifest import Manifest
from bertbundle_export import HeadSpec, export_bundle
from joint_models import INTENTS, MOODS, OUTPUTS, SourceAnswers, functional_model, softmax, write_vocabulary
from local_server import serving
from optional import needs_openvino
from tiny_checkpoints import LABELS

pytestmark = pytest.mark.slow

TEXTS = [
    "Book a table in Rome.",
    "王建国毕业于清华大学",
    "Please send the invoice to Maria, 27 Baker St.",
    "OK",
]
HEADS = {
    "intent": ("text-classification", INTENTS),
    "slots": HeadSpec(task="token-classification", labels=LABELS, label_decoding="argmax"),
    "moods": HeadSpec(task="text-classification", labels=MOODS, multi_label=True),
    "urgency": "regression",
}


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory, tensorflow: Any) -> tuple[SourceAnswers, Path]:
    """The source's answers, and the version directory of the bundle."""
    del tensorflow
    root = tmp_path_factory.mktemp("joint")
    vocabulary, model = write_vocabulary(root), functional_model(OUTPUTS)
    options: dict[str, Any] = {"tokenizer": vocabulary, "max_length": 48, "lengths": [16], "heads": HEADS}
    exported = export_bundle(model, name="joint", output=root / "models", **options)
    return SourceAnswers(model, vocabulary), exported.path


def check_heads(client: Client, source: SourceAnswers) -> None:
    """Compare the results of all heads, together and each by its method, with the source's."""
    results = client.heads(TEXTS)
    for text, result in zip(TEXTS, results, strict=True):
        assert [*result] == [*HEADS]
        logits = source.logits(text)
        scores = result["intent"].scores
        np.testing.assert_allclose([scores[name] for name in INTENTS], softmax(logits["intent"]), atol=1e-5)
        assert result["intent"].label == INTENTS[logits["intent"].argmax()]
        moods = 1 / (1 + np.exp(-logits["moods"]))
        np.testing.assert_allclose([result["moods"].scores[name] for name in MOODS], moods, atol=1e-5)
        assert {*result["moods"].labels} == {name for name, score in zip(MOODS, moods, strict=True) if score >= 0.5}
        assert result["urgency"] == pytest.approx(logits["urgency"][0], abs=1e-4)
        expected = source.entities(text)
        assert [without_spaces(entity) for entity in result["slots"]] == [item[:2] for item in expected]
        assert [entity.score for entity in result["slots"]] == pytest.approx([item[2] for item in expected], abs=1e-5)
    assert any(result["slots"] for result in results)
    assert client.entities(TEXTS) == [result["slots"] for result in results]
    assert client.regress(TEXTS) == [result["urgency"] for result in results]
    for head in ("intent", "moods"):
        assert client.classify(TEXTS, head=head) == [result[head] for result in results]


def without_spaces(entity: Entity) -> tuple[str, str]:
    """Return the label and the text of an entity, without the spaces between its tokens."""
    return entity.label, "".join(entity.text.split())


def test_every_server(
    joint: tuple[SourceAnswers, Path], serve: Callable[[Path], str], rest_url: Callable[[str], str]
) -> None:
    """The answers through gRPC and REST equal the source's, from each runtime and from TensorFlow Serving."""
    source, path = joint
    address = serve(path)
    with Client(address, "joint") as client:
        check_heads(client, source)
    with Client("", "joint", transport=RestTransport(rest_url(address))) as client:
        assert client.heads(TEXTS[0])["slots"] == client.entities(TEXTS[0])


@pytest.fixture
def openvino(joint: tuple[SourceAnswers, Path]) -> Iterator[str]:
    """The address of a server with OpenVINO."""
    with serving(model_name="joint", model_base_path=joint[1].parent, runtime="openvino") as address:
        yield address


@needs_openvino
def test_openvino(joint: tuple[SourceAnswers, Path], openvino: str) -> None:
    """OpenVINO computes the same answers."""
    with Client(openvino, "joint") as client:
        check_heads(client, joint[0])


def test_parity_of_each_head(joint: tuple[SourceAnswers, Path]) -> None:
    """Every output of every head was compared in every format; labels and classes agree."""
    manifest = Manifest.read(joint[1])
    outputs = {
        *("intent.scores", "intent.logits", "moods.scores", "moods.logits", "urgency.value"),
        *("slots.label_ids", "slots.label_scores", "slots.logits"),
    }
    assert {spec.name for spec in manifest.outputs} == outputs
    for name in ("saved_model", "onnx", "onnx_standard"):
        rows = [row for row in manifest.parity if row.format == name]
        assert {row.output for row in rows} == outputs
        assert min(row.agreement for row in rows) == 1.0
