"""The checks of a source model's outputs."""

from __future__ import annotations

import numpy as np
import pytest

from bertbundle_export.errors import ExportError
from bertbundle_export.tasks import TASKS
from bertbundle_export.tasks.checks import check_outputs
from tiny_checkpoints import LABELS


@pytest.mark.parametrize(
    ("task", "shape", "message"),
    [
        pytest.param("text-classification", (2, 4, 5), r"needs 2 dimensions", id="tokens_as_texts"),
        pytest.param("token-classification", (2, 5), r"needs 3 dimensions", id="texts_as_tokens"),
        pytest.param("regression", (2, 4, 1), r"needs 2 dimensions", id="values_of_tokens"),
    ],
)
def test_rank_of_the_logits(task: str, shape: tuple[int, ...], message: str) -> None:
    """A head for tokens is refused for a task on texts, and the reverse."""
    with pytest.raises(ExportError, match=message):
        check_outputs({"logits": np.ones(shape, np.float32)}, TASKS[task], LABELS)


def test_probabilities_are_refused() -> None:
    """A head that ends in softmax is refused: the bundle would apply softmax twice."""
    logits = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    check_outputs({"logits": logits}, TASKS["text-classification"], LABELS)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    with pytest.raises(ExportError, match="remove activation='softmax'"):
        check_outputs({"logits": probabilities}, TASKS["text-classification"], LABELS)


def test_sigmoid_of_independent_classes_is_refused() -> None:
    """A multi-label head that ends in a sigmoid is refused: the bundle would apply it twice."""
    logits = np.random.default_rng(0).normal(size=(18, 5)).astype(np.float32)
    task = TASKS["text-classification"]
    check_outputs({"logits": logits}, task, LABELS, multi_label=True)
    probabilities = 1 / (1 + np.exp(-logits))
    check_outputs({"logits": probabilities}, task, LABELS)  # classes that exclude each other: these may be logits
    with pytest.raises(ExportError, match="remove activation='sigmoid'"):
        check_outputs({"logits": probabilities}, task, LABELS, multi_label=True)
