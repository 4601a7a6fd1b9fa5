"""Metrics of question answering: equal to SQuAD's scripts."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbundle.data.examples import DataTask
from bertbundle.evaluation.answers import AnswerMeasurement, exact_match, normalize_answer, token_f1
from evaluations import answers, dataset
from optional import require_package

TASK = DataTask("question-answering")
ANSWERS = st.lists(st.sampled_from(["The", "a", "cat", "CAT,", "sat", "don't", "!", "北京", "10.5"]), max_size=4).map(
    " ".join
)
QUESTIONS: list[tuple[str, tuple[str, ...]]] = [
    ("the Cat!", ("a cat", "dog")),
    ("sat on the mat", ("the mat",)),
    ("the", ("an",)),
    ("", ("mat",)),
    ("10.5 m", ("10.5",)),
]
"""An answer and the acceptable ones."""


def values(found: list[str], gold: list[tuple[str, ...]], *, version_2: bool = False) -> dict[str, float]:
    """Return the metrics of answers."""
    return AnswerMeasurement(TASK, dataset(gold, version_2=version_2), answers(found)).values()


@given(ANSWERS, ANSWERS)
def test_scores_equal_those_of_transformers(gold: str, found: str) -> None:
    """Normalization, exact match and F1 are those of transformers' copy of the script of version 2.0."""
    metrics = require_package("transformers.data.metrics.squad_metrics")
    assert normalize_answer(gold) == metrics.normalize_answer(gold)
    assert exact_match(gold, found) == metrics.compute_exact(gold, found)
    assert token_f1(gold, found, version_2=True) == pytest.approx(metrics.compute_f1(gold, found))


def test_values_equal_those_of_version_1() -> None:
    """Recorded with exact_match_score and f1_score of evaluate-v1.1.py: F1 1, 0.5, 0, 0 and 2/3, two exact matches.

    Its F1 of "the" and "an" is 0, although they match exactly.
    """
    assert values([found for found, _ in QUESTIONS], [gold for _, gold in QUESTIONS]) == pytest.approx(
        {"exact_match": 0.4, "f1": (1 + 0.5 + 0 + 0 + 2 / 3) / 5}
    )


def test_values_of_random_answers_equal_those_of_version_1() -> None:
    """Recorded on these answers with evaluate-v1.1.py, as in huggingface/evaluate, metrics/squad/compute_score.py."""
    draw = random.Random(0)  # noqa: S311 - no cryptography
    words = ("The", "a", "cat", "CAT,", "sat", "don't", "!", "北京", "10.5")

    def answer() -> str:
        return " ".join(draw.choice(words) for _ in range(draw.randrange(5)))

    rows = [(answer(), tuple(answer() for _ in range(1 + draw.randrange(3)))) for _ in range(2000)]
    assert values([row[0] for row in rows], [row[1] for row in rows]) == pytest.approx(
        {"exact_match": 0.1935, "f1": 0.22795}, abs=1e-12
    )


def test_values_equal_those_of_version_2() -> None:
    """Recorded with compute_exact and compute_f1 of transformers 4.57, averaged as in evaluate-v2.0.py."""
    questions: list[tuple[str, tuple[str, ...]]] = [*QUESTIONS, ("", ()), ("the", ())]
    found, gold = [question[0] for question in questions], [question[1] for question in questions]
    expected = {
        "exact_match": 0.57142857,
        "f1": 0.73809524,
        "exact_match_has_answer": 0.4,
        "f1_has_answer": 0.63333333,
        "exact_match_no_answer": 1.0,
        "f1_no_answer": 1.0,
    }
    assert values(found, gold, version_2=True) == pytest.approx(expected, abs=1e-8)


def test_kind_of_question_that_does_not_occur_is_not_defined() -> None:
    """Without unanswerable questions in a sample, their metrics are NaN."""
    assert math.isnan(values(["cat"], [("cat",)], version_2=True)["f1_no_answer"])
