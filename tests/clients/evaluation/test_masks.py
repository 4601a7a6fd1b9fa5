"""Metrics of fill-mask."""

from __future__ import annotations

from bertbundle.contract.types import Fill
from bertbundle.data.examples import DataTask
from bertbundle.evaluation.masks import MaskMeasurement, rank_of
from evaluations import dataset, observation


def fills(*tokens: str) -> list[Fill]:
    """Return the tokens for one mask, best first."""
    return [Fill(token, index, "", 0, 6, 0.5) for index, token in enumerate(tokens)]


def test_masks_count_not_texts() -> None:
    """Of three masks in two texts, one has the right token first, and one second."""
    results = [observation([fills("paris", "rome"), fills("a", "b")]), observation([fills("x", "y")])]
    data = dataset([("Paris", "c"), ("y",)])
    measured = MaskMeasurement(DataTask("fill-mask"), data, results)
    assert measured.values() == {"accuracy_at_1": 1 / 3, "accuracy_at_2": 2 / 3}
    assert measured.errors().tolist() == [2, 1]


def test_rank_ignores_case_and_spaces() -> None:
    """Tokens of an uncased model, or with a space in front, are found."""
    assert rank_of("Paris", fills("rome", " paris")) == 1
    assert rank_of("Oslo", fills("rome")) is None


def test_masks_that_were_truncated_are_wrong() -> None:
    """A mask behind the end of a truncated text has no tokens, and counts."""
    results = [observation([fills("a", "b")]), observation([])]
    data = dataset([("a", "b"), ("c",)])
    values = MaskMeasurement(DataTask("fill-mask"), data, results).values()
    assert values == {"accuracy_at_1": 1 / 3, "accuracy_at_2": 1 / 3}
