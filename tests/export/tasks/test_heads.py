"""The task of several heads: the outputs of each, computed by its own task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertbundle_export.errors import ExportError
from bertbundle_export.tasks import (
    HEAD_TASKS,
    TASKS,
    HeadConfig,
    HeadSpec,
    as_labels,
    outputs_of_head,
    read_heads,
    task_of,
)
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


# ---- what the user states


def test_forms_of_a_head() -> None:
    """A head is a task, a task with its labels (None for none), or a HeadSpec; labels become a tuple."""
    given = {"a": "regression", "b": ("regression", None), "c": ["text-classification", ["x", "y"]], **HEADS}
    expected = {
        "a": HeadSpec(task="regression"),
        "b": HeadSpec(task="regression"),
        "c": HeadSpec(task="text-classification", labels=("x", "y")),
        **HEADS,
    }
    assert read_heads(given, HEAD_TASKS) == expected


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        pytest.param({}, r"heads are \{\}, expected a dict .* For a model with one head pass task", id="none"),
        pytest.param(["a", "b"], r"heads are \['a', 'b'\], expected a dict", id="list"),
        pytest.param({3: "regression"}, "3 is not a valid name of a head", id="number"),
        pytest.param({"a b" * 200: "regression"}, r"^'a ba[^']{40,60}\.\.\. is not a valid name", id="long"),
        pytest.param({"a": ("question-answering", None)}, "head a has the task 'question-answering'", id="task"),
        pytest.param({"a": (["regression"], None)}, r"head a: the task is \['regression'\], expected a str", id="kind"),
        pytest.param({"a": ("text-classification", [0, 1])}, r"head a: labels are \[0, 1\], expected", id="numbers"),
        pytest.param({"a": ("text-classification", "xy")}, "head a: labels are 'xy', expected a list", id="text"),
        pytest.param({"a": {"task": "x" * 99}}, r"head a is \{'task': 'x{40,60}\.\.\., expected a task", id="dict"),
    ],
)
def test_heads_of_wrong_types(heads: Any, message: str) -> None:
    """What is no head is an error that says what is expected, and cuts long values."""
    with pytest.raises(ExportError, match=message):
        read_heads(heads, HEAD_TASKS)


@pytest.mark.parametrize("labels", ["vwxyz", b"ab", [0, 1], {"a": 0}, {"a", "b"}, 3])
def test_labels_that_are_no_list(labels: Any) -> None:
    """Labels are str in an order: neither the characters of a str, nor the keys of a dict."""
    for use in (as_labels, lambda given: HeadSpec(task="text-classification", labels=given)):
        with pytest.raises(ExportError, match=r"labels are .*, expected a list of str"):
            use(labels)
