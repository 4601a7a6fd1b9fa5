"""The spans above a threshold: the graph and the reference are compared with a brute-force search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbundle_export.tasks import TASKS, HeadConfig

TASK = TASKS["span-classification"]
PAD, CLS, SEP, WORD = 0, 1, 2, 7
ROOM = 6

Arrays = dict[str, np.ndarray[Any, Any]]


@st.composite
def batches(draw: st.DrawFn) -> tuple[Arrays, HeadConfig]:
    """Return logits and inputs of a few texts, and a configuration; some logits are masked, or equal."""
    labels, length = draw(st.integers(1, 3)), draw(st.integers(3, 7))
    tokens = draw(st.lists(st.integers(1, length - 2), min_size=1, max_size=3))
    ids = np.full((len(tokens), length), PAD, np.int32)
    for row, count in enumerate(tokens):
        ids[row, : count + 2] = [CLS, *[WORD] * count, SEP]
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = (4 * random.normal(size=(len(tokens), labels, length, length))).astype(np.float32)
    masked = draw(st.sampled_from([0.0, 0.3]))
    logits[random.random(logits.shape) < masked] = draw(st.sampled_from([-np.inf, -1e12]))
    if draw(st.booleans()):
        logits = np.round(logits)
    head = HeadConfig(
        labels=("A", "B", "C")[:labels],
        special_ids=(PAD, CLS, SEP),
        top_k=draw(st.sampled_from([1, ROOM, 128])),
        span_threshold=draw(st.sampled_from([0.0, -2.5, 3.0, -100.0])),
    )
    return {"logits": logits, "input_ids": ids, "attention_mask": (ids != PAD).astype(np.int32)}, head


def search(logits: Any, ids: Any, head: HeadConfig) -> list[tuple[float, tuple[int, int, int]]]:
    """Return all spans of one text with a logit above the threshold, best first."""
    found = [
        (-float(logits[label, first, last]), (label, first, last))
        for label in range(len(logits))
        for first in range(len(ids))
        for last in range(first, len(ids))
        if ids[first] == WORD == ids[last] and max(logits[label, first, last], -100) > head.span_threshold
    ]
    return sorted(found)


def check(outputs: Arrays, batch: Arrays, head: HeadConfig) -> None:
    """Compare a task's outputs with the search."""
    for row, (logits, ids) in enumerate(zip(batch["logits"], batch["input_ids"], strict=True)):
        found = search(logits, ids, head)
        assert outputs["span_counts"][row] == len(found)
        kept = found[: head.top_k]
        unused = head.top_k - len(kept)
        assert outputs["spans"][row].tolist() == [[*span] for _, span in kept] + [[-1, -1, -1]] * unused
        scores = [1 / (1 + np.exp(logit)) for logit, _ in kept] + [0.0] * unused
        np.testing.assert_allclose(outputs["span_scores"][row], scores, atol=1e-6)
        words = np.flatnonzero(ids == WORD)
        for position in range(len(ids)):
            expected = np.zeros(len(logits))
            if position in words:
                expected = np.maximum(logits[:, position, [last for last in words if last >= position]], -100).max(
                    axis=1
                )
            np.testing.assert_allclose(outputs["start_logits"][row, position], expected, rtol=1e-6)


@settings(deadline=None)
@given(case=batches())
def test_reference(case: tuple[Arrays, HeadConfig]) -> None:
    """The reference finds each span of the text that exceeds the threshold, best first, and counts all of them."""
    batch, head = case
    outputs = TASK.reference({"logits": batch["logits"]}, batch, head)
    check(outputs, batch, head)
    assert {name: value.dtype.name for name, value in outputs.items()} == {
        "spans": "int32",
        "span_scores": "float32",
        "span_counts": "int32",
        "start_logits": "float32",
    }


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(case=batches())
def test_graph(tensorflow: Any, case: tuple[Arrays, HeadConfig]) -> None:
    """The graph finds the same spans."""
    batch, head = case
    tensors = {name: tensorflow.constant(value) for name, value in batch.items()}
    outputs = TASK.graph({"logits": tensors["logits"]}, tensors, head)
    check({name: value.numpy() for name, value in outputs.items()}, batch, head)


@pytest.mark.slow
def test_shapes_do_not_depend_on_the_length(tensorflow: Any) -> None:
    """The outputs of spans have a fixed number of rows, so that a server may batch them; scores of tokens have not."""
    head = HeadConfig(labels=("A", "B"), special_ids=(PAD, CLS, SEP), top_k=ROOM)
    specs = [
        tensorflow.TensorSpec([None, 2, None, None]),
        tensorflow.TensorSpec([None, None], tensorflow.int32),
        tensorflow.TensorSpec([None, None], tensorflow.int32),
    ]

    def encode(logits: Any, ids: Any, mask: Any) -> Any:
        return TASK.graph({"logits": logits}, {"input_ids": ids, "attention_mask": mask}, head)

    function = tensorflow.function(encode, input_signature=specs).get_concrete_function()
    shapes = {name: tensor.shape.as_list() for name, tensor in function.structured_outputs.items()}
    assert shapes == {
        "spans": [None, ROOM, 3],
        "span_scores": [None, ROOM],
        "span_counts": [None],
        "start_logits": [None, None, 2],
    }
