"""The heads of a live model: matched with its outputs by name or by shape, else refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle import Client
from bertbundle_export import CheckpointError, ExportError, HeadSpec, export_bundle
from bertbundle_export.job.heads import bind_heads, checked_heads
from bertbundle_export.saved_model.tracing import trace
from bertbundle_export.source.model import SourceModel
from bertbundle_export.tasks import HeadConfig
from bertbundle_export.tasks.crf import crf_reference
from joint_models import INTENTS, MOODS, JointModel, SourceAnswers, functional_model, softmax, write_vocabulary
from tiny_checkpoints import LABELS

pytestmark = pytest.mark.slow

INTENT = ("text-classification", INTENTS)
SLOTS = ("token-classification", LABELS)
HEADS = {"intent": INTENT, "slots": SLOTS}


@pytest.fixture
def bind(tmp_path: Path, tensorflow: Any) -> Callable[..., SourceModel]:
    """Return a function that matches heads with the outputs of a Keras model."""
    del tensorflow
    from bertbundle_export import LoadOptions
    from bertbundle_export.checkpoints.live import live_model

    def run(keras: Any, heads: dict[str, Any] | None = None) -> SourceModel:
        specs = checked_heads(HEADS if heads is None else heads)
        return bind_heads(live_model(keras, LoadOptions(heads=specs), write_vocabulary(tmp_path)))

    return run


class Fake:
    """A model that returns what it was made with: for each output a shape, or an array."""

    def __init__(self, outputs: Any, output_names: list[str] | None = None) -> None:
        self._outputs = outputs
        self.variables: list[Any] = []
        if output_names:
            self.output_names = output_names

    def __call__(self, inputs: Any, *, training: bool) -> Any:
        """Return zeros of the shapes, whose first dimensions are the number of texts and of tokens."""
        del training
        import tensorflow as tf

        texts, tokens = inputs["input_ids"].shape
        sizes = {"texts": texts, "tokens": tokens}

        def make(shape: Any) -> Any:
            return tf.zeros([sizes.get(size, size) for size in shape]) if isinstance(shape, tuple) else shape

        if isinstance(self._outputs, dict):
            return {name: make(shape) for name, shape in self._outputs.items()}
        return [make(shape) for shape in self._outputs] if isinstance(self._outputs, list) else make(self._outputs)


SLOT_SHAPE, INTENT_SHAPE = ("texts", "tokens", len(LABELS)), ("texts", len(INTENTS))


# ---- matching


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(Fake({"slots": SLOT_SHAPE, "intent": INTENT_SHAPE}), ("intent", "slots"), id="dict"),
        pytest.param(
            Fake({"slots_logits": SLOT_SHAPE, "intent_logits": INTENT_SHAPE}),
            ("intent_logits", "slots_logits"),
            id="dict-suffix",
        ),
        pytest.param(Fake([SLOT_SHAPE, INTENT_SHAPE], ["slots", "intent"]), (1, 0), id="list-names"),
        pytest.param(Fake([INTENT_SHAPE, SLOT_SHAPE]), (0, 1), id="list-shapes"),
        pytest.param(Fake([SLOT_SHAPE, INTENT_SHAPE], ["output_1", "output_2"]), (1, 0), id="list-other-order"),
    ],
)
def test_outputs_are_found(bind: Callable[..., SourceModel], model: Fake, expected: tuple[Any, Any]) -> None:
    """Outputs are found by the names of a dict or of Keras, or by shapes that only one output has, in any order."""
    bound = bind(model)
    assert bound.head_outputs == {"intent.logits": expected[0], "slots.logits": expected[1]}


def test_list_of_equal_shapes_with_names(bind: Callable[..., SourceModel]) -> None:
    """Outputs of one shape are told apart by the names that Keras has for them, never by their order."""
    heads = {"mood": INTENT, "intent": INTENT}
    names = ["intent", "mood"]
    assert bind(Fake([INTENT_SHAPE] * 2, names), heads).head_outputs == {"mood.logits": 1, "intent.logits": 0}
    with pytest.raises(ExportError, match=r"it is unclear which is which head: mood, intent\. Return a dict"):
        bind(Fake([INTENT_SHAPE] * 2), heads)


def test_notes(bind: Callable[..., SourceModel]) -> None:
    """A match by shapes, and outputs that no head uses, are notes for the user."""
    bound = bind(Fake([SLOT_SHAPE, INTENT_SHAPE, ("texts", 99)]))
    assert "told apart by their shapes: intent is output 1 [1, 4], slots is output 0 [1, 16, 5]" in bound.notes[0]
    assert (
        bound.notes[1] == "the model also returns output 2 [1, 99], which is not in the bundle: it belongs to no head."
    )
    hidden = {"slots": SLOT_SHAPE, "intent": INTENT_SHAPE, "last_hidden_state": ("texts", "tokens", 7)}
    assert bind(Fake(hidden)).notes == ()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        pytest.param(Fake(SLOT_SHAPE), r"the model returns one output, of shape \[1, 16, 5\]. Pass task and", id="one"),
        pytest.param(
            Fake({"slots": SLOT_SHAPE, "other": INTENT_SHAPE}),
            "returns no output called intent: its outputs are slots, other. Name each head as its output",
            id="dict-name",
        ),
        pytest.param(
            Fake([SLOT_SHAPE, INTENT_SHAPE], ["slots", "dense"]), "returns no output called intent", id="one-name"
        ),
        pytest.param(
            Fake({"slots": SLOT_SHAPE, "intent": INTENT_SHAPE, "intent_logits": INTENT_SHAPE}),
            "outputs intent and intent_logits could both be the intent.logits",
            id="twice",
        ),
        pytest.param(
            Fake([SLOT_SHAPE, ("texts", 3)]), "it is unclear which is which head: intent, slots", id="columns"
        ),
        pytest.param(Fake([SLOT_SHAPE, SLOT_SHAPE, INTENT_SHAPE]), "it is unclear which is which", id="two-slots"),
    ],
)
def test_unclear_outputs(bind: Callable[..., SourceModel], model: Fake, message: str) -> None:
    """What cannot be matched for sure is refused, with the outputs that the model has."""
    with pytest.raises(ExportError, match=message):
        bind(model)


def test_tables_of_a_crf(bind: Callable[..., SourceModel]) -> None:
    """A CRF's tables belong to the head in their name; without one, to the only tagger."""
    table = (len(LABELS), len(LABELS))
    outputs = {"slots": SLOT_SHAPE, "intent": INTENT_SHAPE}
    for name in ("slots.transitions", "slots_transitions", "transitions"):
        assert bind(Fake({**outputs, name: table})).head_outputs["slots.transitions"] == name
    taggers = {"slots": SLOTS, "names": SLOTS}
    two = {"slots": SLOT_SHAPE, "names": SLOT_SHAPE, "transitions": table}
    with pytest.raises(ExportError, match=r"has the taggers slots, names\. Name each table .*: slots\.transitions"):
        bind(Fake(two), taggers)
    ambiguous = {"start": SLOTS, "intent": INTENT}
    with pytest.raises(ExportError, match=r"transitions could be start\.transitions or start\.start_transitions"):
        bind(Fake({"start": SLOT_SHAPE, "intent": INTENT_SHAPE, "start_transitions": table}), ambiguous)


def test_one_of_several_outputs(bind: Callable[..., SourceModel]) -> None:
    """One head of a model that returns several outputs is found by its name; a note names the others."""
    model = bind(Fake({"slots": SLOT_SHAPE, "intent": INTENT_SHAPE}), {"intent": INTENT})
    assert model.head_outputs == {"intent.logits": "intent"}
    assert model.notes == ("the model also returns slots, which is not in the bundle: it belongs to no head.",)


# ---- what the user states


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        pytest.param({"a b": SLOTS, "c": INTENT}, "'a b' is not a valid name of a head", id="name"),
        pytest.param(
            {**HEADS, "x": "fill-mask"}, "head x has the task 'fill-mask': one of several heads may", id="task"
        ),
        pytest.param({**HEADS, "x": ("a", "b", "c")}, "head x is .*, expected a task and its labels", id="form"),
        pytest.param({**HEADS, "x": ("text-classification", "abc")}, "head x: labels are 'abc'", id="text"),
        pytest.param({**HEADS, "x": "token-classification"}, "head x: it has no labels. Give them", id="labels"),
        pytest.param({**HEADS, "x": ("text-classification", ["a", "a"])}, "head x: labels must differ", id="twice"),
        pytest.param({**HEADS, "x": ("regression", ["a"])}, "head x: --labels .* applies to", id="regression"),
        pytest.param(
            {**HEADS, "x": HeadSpec(task="text-classification", labels=INTENTS, label_scheme="BIO")},
            "head x: --label-scheme .* applies to token-classification",
            id="option",
        ),
        pytest.param(
            {**HEADS, "x": HeadSpec(task="token-classification", labels=LABELS, word_labels="last")},
            "head x: word_labels must be one of",
            id="choice",
        ),
    ],
)
def test_invalid_heads(heads: dict[str, Any], message: str) -> None:
    """Names, tasks, labels and options of heads are checked, and the message names the head."""
    with pytest.raises((ExportError, CheckpointError), match=message):
        checked_heads(heads)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"task": "token-classification"}, "task cannot be given together with heads", id="task"),
        pytest.param({"labels": LABELS}, "labels cannot be given together with heads", id="labels"),
        pytest.param({"label_scheme": "BIO"}, "the task is multi-task. State it for a head", id="scheme"),
        pytest.param({"crf_transitions": "crf"}, "the task is multi-task. State it for a head", id="crf"),
        pytest.param({"top_k": 3}, "the task is multi-task. Leave it out", id="top_k"),
    ],
)
def test_options_of_one_head(tmp_path: Path, tensorflow: Any, options: dict[str, Any], message: str) -> None:
    """An option of one head is not given for all."""
    del tensorflow
    model = Fake({"slots": SLOT_SHAPE, "intent": INTENT_SHAPE})
    tokenizer = write_vocabulary(tmp_path)
    with pytest.raises((ExportError, CheckpointError), match=message):
        export_bundle(model, name="x", output=tmp_path / "m", heads=HEADS, tokenizer=tokenizer, **options)
    assert not (tmp_path / "m").exists()


# ---- the graph, and exports


def test_one_encoder_pass(bind: Callable[..., SourceModel]) -> None:
    """All heads are computed from one call of the encoder."""
    bound = bind(functional_model(("slots", "intent")))
    configs = {
        "intent": HeadConfig(labels=INTENTS),
        "slots": HeadConfig(labels=LABELS, label_scheme="BIO", label_decoding="viterbi", special_ids=(0, 2, 3)),
    }
    traced = trace(bound, HeadConfig(heads=configs))
    (encoder,) = traced.encoders
    assert encoder.calls == 1
    names = [f"slots.{name}" for name in ("label_ids", "label_scores", "logits")]
    assert sorted(traced.function.structured_outputs) == ["intent.logits", "intent.scores", *names]


@pytest.fixture
def export(tmp_path: Path, tensorflow: Any) -> Callable[..., Any]:
    """Return a function that exports a model with heads."""
    del tensorflow

    def run(model: Any, heads: dict[str, Any], **options: Any) -> Any:
        settings = {"tokenizer": write_vocabulary(tmp_path), "max_length": 16, "lengths": [], **options}
        return export_bundle(model, name="joint", output=tmp_path / "models", heads=heads, **settings)

    return run


@pytest.mark.parametrize("separator", [".", "_"])
def test_crf_of_one_head(export: Callable[..., Any], tmp_path: Path, separator: str) -> None:
    """The CRF of a head decodes its labels in all formats; the client's entities are those of the reference."""
    model = JointModel.build(separator=separator)
    exported = export(model, HEADS)
    head = exported.manifest.heads["slots"]
    assert (head.label_decoding, head.label_scheme) == ("crf", "BIO")
    assert exported.manifest.heads["intent"].label_decoding == "none"
    text = "Maria, Rome"
    logits = SourceAnswers(model, write_vocabulary(tmp_path)).logits(text)
    emissions, tables = logits["slots"][None], model.tables["slots"].numpy()
    labels, _ = crf_reference(emissions.astype(np.float32), np.ones(emissions.shape[:2], np.int32), tables)
    with Client.local(exported.path) as client:
        result = client.heads(text)
    begins = [LABELS[label] for label in labels[0, 1:-1] if label]
    assert sum(len(entity.text.replace(" ", "")) for entity in result["slots"]) == len(begins)
    assert result["intent"].score == pytest.approx(softmax(logits["intent"]).max(), abs=1e-5)


def test_two_crfs(export: Callable[..., Any]) -> None:
    """Two taggers have a CRF each; one by an attribute that the user names."""
    model = JointModel.build(crfs=("slots", "names"))
    heads = {"slots": SLOTS, "names": SLOTS, "intent": INTENT}
    manifest = export(model, heads, formats=["saved_model"]).manifest
    assert [manifest.heads[name].label_decoding for name in ("slots", "names")] == ["crf", "crf"]


def test_crf_that_is_not_returned(export: Callable[..., Any]) -> None:
    """A table that no output depends on is an error that says how to name it; named, it decodes."""
    model = JointModel.build()
    call = model.call
    model.call = lambda inputs, training=False: {
        name: value for name, value in call(inputs, training).items() if "." not in name
    }
    with pytest.raises(ExportError, match=r"head slots: the model's outputs do not depend on its weight .*slots_table"):
        export(model, HEADS)
    model.crf = model.tables["slots"]
    slots = HeadSpec(task="token-classification", labels=LABELS, crf_transitions="crf")
    manifest = export(model, {"intent": INTENT, "slots": slots}, formats=["saved_model"]).manifest
    assert manifest.heads["slots"].label_decoding == "crf"


def test_probabilities_of_one_head(export: Callable[..., Any], tmp_path: Path) -> None:
    """A head that returns a softmax is refused by its name, as for one head."""
    with pytest.raises(ExportError, match="head intent: the model returns probabilities: they sum to 1"):
        export(functional_model(("slots", "intent"), activation="softmax"), HEADS)
    moods = HeadSpec(task="text-classification", labels=MOODS, multi_label=True)
    with pytest.raises(ExportError, match=r"head moods: the model returns probabilities: .*activation='sigmoid'"):
        export(functional_model(("urgency", "moods"), activation="sigmoid"), {"urgency": "regression", "moods": moods})
    assert not list((tmp_path / "models").iterdir())


def test_list_without_heads(tmp_path: Path, tensorflow: Any) -> None:
    """A list that is exported as one task is refused, and the message names heads=; so is a dict without logits."""
    del tensorflow
    options: dict[str, Any] = {"task": "token-classification", "labels": LABELS, "max_length": 16}
    options["tokenizer"] = write_vocabulary(tmp_path)
    for kind, message in (("list", "pass heads= to export several"), ("dict", "or one of them, pass heads=")):
        model = functional_model(("slots", "intent"), kind=kind)
        with pytest.raises(ExportError, match=message):
            export_bundle(model, name="x", output=tmp_path / "m", **options)
