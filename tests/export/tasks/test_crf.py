"""CRF decoding: the reference is compared with brute force, and the graph with the reference."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbundle_export.tasks.crf import crf_graph, crf_reference

SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int, batch: int, length: int, labels: int, scale: float = 2.0) -> dict[str, Any]:
    """Draw logits, tables and a mask of right-padded rows of different lengths."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, length + 1, size=(batch, 1))
    shapes = {
        "logits": (batch, length, labels),
        "transitions": (labels, labels),
        "start": (labels,),
        "end": (labels,),
    }
    tables = {name: random.normal(scale=scale, size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {**tables, "mask": (np.arange(length) < lengths).astype(np.int32)}


def enumerate_paths(case: dict[str, Any], row: int) -> dict[tuple[int, ...], float]:
    """Return the score of every label sequence of a row's tokens, computed by the definition."""
    logits = case["logits"][row, case["mask"][row] == 1].astype(np.float64)

    def score(path: tuple[int, ...]) -> float:
        inner = sum(case["transitions"][before, after] for before, after in itertools.pairwise(path))
        emitted = sum(logits[step, label] for step, label in enumerate(path))
        return float(case["start"][path[0]] + emitted + inner + case["end"][path[-1]])

    return {path: score(path) for path in itertools.product(range(logits.shape[1]), repeat=len(logits))}


@given(seed=SEEDS, length=st.integers(1, 5), labels=st.integers(2, 4))
@settings(deadline=None, max_examples=50)
def test_reference_by_brute_force(seed: int, length: int, labels: int) -> None:
    """The labels are the best of all sequences, and each score is the share of the sequences with that label."""
    case = draw(seed, 2, length, labels)
    label_ids, scores = crf_reference(**case)
    for row in range(2):
        paths = enumerate_paths(case, row)
        best = max(paths, key=lambda path: paths[path])
        total = sum(np.exp(score) for score in paths.values())
        shares = [
            sum(np.exp(score) for path, score in paths.items() if path[step] == label) / total
            for step, label in enumerate(best)
        ]
        assert label_ids[row, : len(best)].tolist() == list(best)
        np.testing.assert_allclose(scores[row, : len(best)], shares, rtol=1e-5)
        assert not label_ids[row, len(best) :].any()
        assert not scores[row, len(best) :].any()


@pytest.fixture(scope="module")
def decode(tensorflow: Any) -> Callable[..., Any]:
    """Return the graph as it is exported: traced once for any batch and length, with 5 labels."""
    specs = [
        tensorflow.TensorSpec([None, None, 5]),
        tensorflow.TensorSpec([None, None], tensorflow.int32),
        tensorflow.TensorSpec([5, 5]),
        tensorflow.TensorSpec([5]),
        tensorflow.TensorSpec([5]),
    ]
    traced = tensorflow.function(crf_graph, input_signature=specs, autograph=False)

    def run(logits: Any, mask: Any, transitions: Any, start: Any, end: Any) -> Any:
        return [value.numpy() for value in traced(logits, mask, transitions, start, end)]

    return run


@pytest.mark.slow
@given(seed=SEEDS, batch=st.integers(1, 4), length=st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_graph_equals_reference(decode: Callable[..., Any], seed: int, batch: int, length: int) -> None:
    """The graph gives the reference's labels and scores for rows of any length."""
    case = draw(seed, batch, length, 5)
    for found, expected in zip(decode(**case), crf_reference(**case), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
@given(seed=SEEDS, length=st.integers(1, 20), extra=st.integers(1, 20))
@settings(deadline=None, max_examples=30)
def test_padding_does_not_matter(decode: Callable[..., Any], seed: int, length: int, extra: int) -> None:
    """More padding, with any logits, changes neither labels nor scores."""
    case = draw(seed, 2, length, 5)
    noise = np.random.default_rng(seed).normal(scale=50, size=(2, length + extra, 5)).astype(np.float32)
    mask = np.pad(case["mask"], ((0, 0), (0, extra)))
    noise[mask == 1] = case["logits"][case["mask"] == 1]
    padded = decode(**{**case, "logits": noise, "mask": mask})
    for found, expected in zip(padded, decode(**case), strict=True):
        np.testing.assert_allclose(found[:, :length], expected, atol=1e-6)
        assert not found[:, length:].any()


@pytest.mark.slow
@pytest.mark.parametrize("forbidden", [pytest.param(-np.inf, id="infinity"), pytest.param(-1e4, id="1e4")])
def test_long_sequences_and_forbidden_transitions(decode: Callable[..., Any], forbidden: float) -> None:
    """512 tokens with large logits lose no precision, and forbidden transitions are never chosen."""
    case = draw(3, 3, 512, 5, scale=8)
    case["transitions"][1, 2] = case["transitions"][4, 0] = case["start"][3] = case["end"][1] = forbidden
    found, expected = decode(**case), crf_reference(**case)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], atol=1e-4)
    for row, is_token in zip(found[0], case["mask"] == 1, strict=True):
        assert not {(1, 2), (4, 0)} & set(itertools.pairwise(row[is_token].tolist()))
