"""Constrained decoding: the reference is compared with brute force, and the graph with the reference."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbundle.contract.labels import parse_labels
from bertbundle_export.tasks.viterbi import (
    FORBIDDEN,
    constraint_tables,
    outside_index,
    viterbi_graph,
    viterbi_reference,
)

BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
BIOES = ("O", "B-X", "I-X", "E-X", "S-X")
BMES = ("B-X", "M-X", "E-X", "S-X", "O")


def allowed(labels: tuple[str, ...], path: tuple[int, ...], scheme: str) -> bool:
    """Return whether a label sequence follows its scheme."""
    tags = parse_labels(labels, scheme)
    inside: str | None = None
    for tag in (tags[index] for index in path):
        if tag.role in "IE" and inside != tag.type:
            return False
        if scheme != "BIO" and inside is not None and tag.role not in "IE":
            return False
        inside = tag.type if tag.role in "BI" else None
    return True


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        pytest.param(BIO, "BIO", id="BIO"),
        pytest.param(BIOES, "BIOES", id="BIOES"),
        pytest.param(BMES, "BMES", id="BMES"),
    ],
)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 5))
@settings(deadline=None)
def test_reference_finds_the_best_allowed_sequence(
    labels: tuple[str, ...], scheme: str, seed: int, length: int
) -> None:
    """No sequence that the scheme allows has a higher score than the result."""
    emissions = np.random.default_rng(seed).normal(size=(length, len(labels)))
    found = tuple(viterbi_reference(emissions, *constraint_tables(labels)).tolist())
    assert allowed(labels, found, scheme)
    candidates = (p for p in itertools.product(range(len(labels)), repeat=length) if allowed(labels, p, scheme))
    best = max(candidates, key=lambda path: sum(emissions[step, label] for step, label in enumerate(path)))
    assert found == best


def test_crf_scores_are_used() -> None:
    """Learned start and transition scores are used, too: a hand-computed case."""
    emissions = np.zeros((2, 2))
    start = np.array([0.0, 1.0], np.float32)
    transitions = np.array([[5.0, 0.0], [0.0, 3.0]], np.float32)
    # 0 0: 0 + 5; 1 1: 1 + 3; the others have less.
    assert viterbi_reference(emissions, start, transitions).tolist() == [0, 0]


def test_tables_of_bio() -> None:
    """BIO restricts only I-: it must follow B- or I- of its own type."""
    start, transitions = constraint_tables(BIO)
    assert start.tolist() == [0, 0, FORBIDDEN, 0, FORBIDDEN]
    assert transitions[:, 2].tolist() == [FORBIDDEN, 0, 0, FORBIDDEN, FORBIDDEN]
    assert (transitions[:, [0, 1, 3]] == 0).all()


def test_types_without_begin_are_unrestricted() -> None:
    """IO has no restrictions, and a type without a B- label may start with I-."""
    assert not constraint_tables(("O", "PER", "LOC"))[1].any()
    assert not constraint_tables(BIO, "IO")[1].any()
    start, transitions = constraint_tables(("O", "B-PER", "I-PER", "I-LOC"))
    assert start.tolist() == [0, 0, FORBIDDEN, 0]
    assert transitions[:, 3].tolist() == [0, 0, 0, 0]


def test_labels_without_a_role_are_outside() -> None:
    """Among prefixed labels, labels such as X or [CLS] are outside labels; O is preferred to them."""
    labels = ("X", "[CLS]", "O", "B-PER", "I-PER")
    assert outside_index(labels, "BIO") == 2
    assert constraint_tables(labels)[1][0].tolist() == [0, 0, 0, 0, FORBIDDEN]


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 2, 17, 128])
@pytest.mark.parametrize("labels", [BIO, BIOES], ids=["BIO", "BIOES"])
def test_graph_equals_reference(tensorflow: Any, labels: tuple[str, ...], length: int) -> None:
    """The graph decodes each row of a batch as the reference does."""
    random = np.random.default_rng(length)
    scores = random.normal(scale=3, size=(8, length, len(labels))).astype(np.float32)
    emissions = tensorflow.nn.log_softmax(scores).numpy()
    tables = constraint_tables(labels)
    graph = tensorflow.function(lambda value: viterbi_graph(value, *tables), autograph=False)
    expected = np.stack([viterbi_reference(row, *tables) for row in emissions])
    np.testing.assert_array_equal(graph(emissions).numpy(), expected)


@pytest.mark.slow
def test_graph_accepts_arbitrary_transitions(tensorflow: Any) -> None:
    """The graph decodes with learned start and transition scores as the reference does."""
    random = np.random.default_rng(7)
    emissions, start, transitions = (
        random.normal(size=shape).astype(np.float32) for shape in ((4, 31, 6), (6,), (6, 6))
    )
    expected = np.stack([viterbi_reference(row, start, transitions) for row in emissions])
    found = viterbi_graph(tensorflow.constant(emissions), start, transitions).numpy()
    np.testing.assert_array_equal(found, expected)
