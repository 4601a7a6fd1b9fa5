"""The checks of a source model's outputs."""

from __future__ import annotations

import numpy as np
import pytest

from bertbundle_export.errors import ExportError
from bertbundle_export.tasks import TASKS
from bertbundle_export.tasks.checks import check_operations, check_outputs
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
        check_outputs({"logits": np.ones(shape, np.float32)}, TASKS[task], LABELS, length=4)


def test_probabilities_are_refused() -> None:
    """A head that ends in softmax is refused: the bundle would apply softmax twice."""
    logits = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    check_outputs({"logits": logits}, TASKS["text-classification"], LABELS, length=4)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    with pytest.raises(ExportError, match="remove activation='softmax'"):
        check_outputs({"logits": probabilities}, TASKS["text-classification"], LABELS, length=4)


def test_spans() -> None:
    """Logits of spans may mask spans by minus infinity; other values that are not finite are refused."""
    logits = np.random.default_rng(0).normal(size=(2, len(LABELS), 4, 4)).astype(np.float32)
    logits[:, :, 1, 0] = -np.inf
    check_outputs({"logits": logits}, TASKS["span-classification"], LABELS, length=4)
    for value in (np.nan, np.inf):
        logits[0, 0, 0, 0] = value
        with pytest.raises(ExportError, match="not finite"):
            check_outputs({"logits": logits}, TASKS["span-classification"], LABELS, length=4)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        pytest.param((2, 4, 4, len(LABELS)), rf"the model has 4 classes, but {len(LABELS)} labels", id="labels_last"),
        pytest.param((2, len(LABELS), 3, 3), r"needs \[texts, labels, 4, 4\]", id="other_length"),
        pytest.param((2, len(LABELS), 4, 3), r"needs \[texts, labels, 4, 4\]", id="not_square"),
        pytest.param((2, 4, len(LABELS)), r"needs 4 dimensions", id="labels_of_tokens"),
    ],
)
def test_shape_of_span_logits(shape: tuple[int, ...], message: str) -> None:
    """Logits of spans have the axes text, label, first token, last token."""
    with pytest.raises(ExportError, match=message):
        check_outputs({"logits": -np.ones(shape, np.float32)}, TASKS["span-classification"], LABELS, length=4)


def test_probabilities_of_spans_are_refused() -> None:
    """A head for spans that ends in a sigmoid is refused: all of its values exceed a threshold of 0."""
    probabilities = np.random.default_rng(0).random((2, len(LABELS), 4, 4)).astype(np.float32)
    with pytest.raises(ExportError, match="remove the sigmoid"):
        check_outputs({"logits": probabilities}, TASKS["span-classification"], LABELS, length=4)


def test_sigmoid_of_independent_classes_is_refused() -> None:
    """A multi-label head that ends in a sigmoid is refused: the bundle would apply it twice."""
    logits = np.random.default_rng(0).normal(size=(18, 5)).astype(np.float32)
    task = TASKS["text-classification"]
    check_outputs({"logits": logits}, task, LABELS, length=4, multi_label=True)
    probabilities = 1 / (1 + np.exp(-logits))
    check_outputs(
        {"logits": probabilities}, task, LABELS, length=4
    )  # classes that exclude each other: these may be logits
    with pytest.raises(ExportError, match="remove activation='sigmoid'"):
        check_outputs({"logits": probabilities}, task, LABELS, length=4, multi_label=True)


@pytest.mark.parametrize(
    ("task", "operation", "message"),
    [
        pytest.param("text-classification", "Sigmoid", r"sigmoid.*also pass --multi-label", id="text_sigmoid"),
        pytest.param("token-classification", "Sigmoid", r"remove activation='sigmoid'", id="token_sigmoid"),
        pytest.param("fill-mask", "Softmax", r"remove activation='softmax'", id="softmax"),
    ],
)
def test_operations_of_probabilities(task: str, operation: str, message: str) -> None:
    """Logits that a sigmoid or softmax computes are refused, whatever their values are."""
    with pytest.raises(ExportError, match=message):
        check_operations({"logits": operation}, TASKS[task])


@pytest.mark.parametrize("operation", ["Sigmoid", "Tanh", "Relu", "BiasAdd"])
def test_operations_of_values(operation: str) -> None:
    """The value of a regression may end in any activation."""
    assert not check_operations({"logits": operation}, TASKS["regression"])


def test_operations_of_logits() -> None:
    """Logits may be computed by a tanh; a relu is in a note."""
    assert not check_operations({"logits": "Tanh"}, TASKS["token-classification"])
    assert not check_operations({"logits": "BiasAdd"}, TASKS["text-classification"])
    (note,) = check_operations({"logits": "Relu"}, TASKS["token-classification"])
    assert "Relu" in note


def test_operations_of_answers() -> None:
    """Both logits of question answering are checked."""
    with pytest.raises(ExportError, match="end_logits are computed by a softmax"):
        check_operations({"start_logits": "BiasAdd", "end_logits": "Softmax"}, TASKS["question-answering"])
