"""The task of several heads: the outputs of each, computed by its own task."""

from __future__ import annotations

from typing import Any

import numpy as np

from bertbundle_export.tasks import HEAD_TASKS, TASKS, HeadConfig, HeadSpec, outputs_of_head, task_of
from tiny_checkpoints import LABELS

HEADS = {
    "slots": HeadSpec(task="token-classification", labels=LABELS),
    "names": HeadSpec(task="token-classification", labels=LABELS),
    "intent": HeadSpec(task="text-classification", labels=("a", "b", "c")),
    "urgency": HeadSpec(task="regression"),
}
CONFIG = HeadConfig(
    heads={
        "slots": HeadConfig(labels=LABELS, label_scheme="BIO", label_decoding="argmax"),
        "names": HeadConfig(labels=LABELS, label_scheme="BIO", label_decoding="viterbi"),
        "intent": HeadConfig(labels=("a", "b", "c"), multi_label=True),
        "urgency": HeadConfig(),
    }
)


def raw_outputs() -> dict[str, np.ndarray[Any, Any]]:
    """Return random logits of each head for two texts of six tokens."""
    shapes = {"slots": (2, 6, 5), "names": (2, 6, 5), "intent": (2, 3), "urgency": (2, 1)}
    random = np.random.default_rng(0)
    return {f"{name}.logits": random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_each_head_is_computed_by_its_task() -> None:
    """The outputs of a head are those of its task for its logits, behind its name."""
    raw, task = raw_outputs(), task_of("", HEADS)
    inputs = {"input_ids": np.ones((2, 6), np.int32), "attention_mask": np.ones((2, 6), np.int32)}
    outputs = task.reference(raw, inputs, CONFIG)
    for name, spec in HEADS.items():
        expected = TASKS[spec.task].reference({"logits": raw[f"{name}.logits"]}, inputs, CONFIG.heads[name])
        found = outputs_of_head(outputs, name)
        assert found.keys() == expected.keys()
        for output, value in expected.items():
            np.testing.assert_array_equal(found[output], value)
    assert len(outputs) == 3 + 3 + 2 + 1
    assert (outputs["slots.label_ids"] != outputs["names.label_ids"]).any()


def test_parity_rules_of_each_head() -> None:
    """Parity compares the classes of each head, and its scores where its labels agree."""
    task = task_of("", HEADS)
    assert set(task.class_outputs) == {"slots.logits", "names.logits", "intent.logits", "intent.scores"}
    assert task.score_outputs == {
        "slots.label_scores": "slots.label_ids",
        "names.label_scores": "names.label_ids",
    }
    assert set(task.required_outputs) == {f"{name}.logits" for name in HEADS}


def test_a_name_that_begins_as_another() -> None:
    """Outputs belong to the head before the first dot, also if its name begins with another head's."""
    outputs = {"slots.logits": 1, "slots-b.logits": 2, "slots_c.logits": 3}
    assert outputs_of_head(outputs, "slots") == {"logits": 1}
    assert outputs_of_head(outputs, "slots-b") == {"logits": 2}


def test_one_task() -> None:
    """Without heads it is the task of that name; each task that a head may have needs its logits only."""
    assert task_of("regression", {}) is TASKS["regression"]
    assert all(task.required_outputs == ("logits",) for task in HEAD_TASKS.values())
