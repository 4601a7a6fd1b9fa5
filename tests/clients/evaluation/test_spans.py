"""Metrics of entities: equal to seqeval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbundle.data.examples import DataTask, Span
from bertbundle.evaluation.spans import SpanMeasurement
from evaluations import dataset, entity_observations, measured_spans, tagged
from optional import require_package

Tags = list[list[str]]
AVERAGES = ("micro", "macro", "weighted")


def pairs_of(roles: str) -> st.SearchStrategy[list[tuple[list[str], list[str]]]]:
    """Return texts with expected and predicted tags of equal length, of which the first has at least one token."""
    tag = st.one_of(st.just("O"), st.builds("{}-{}".format, st.sampled_from(roles), st.sampled_from(("PER", "LOC"))))
    text = st.integers(1, 8).flatmap(lambda size: st.tuples(*[st.lists(tag, min_size=size, max_size=size)] * 2))
    return st.lists(text, min_size=1, max_size=5)


def seqeval_values(gold: Tags, found: Tags, **options: Any) -> dict[str, float]:
    """Return the averages and the F1 of each label according to seqeval."""
    metrics = require_package("seqeval.metrics")
    values = {
        f"{name}_{average}": getattr(metrics, f"{name}_score")(gold, found, average=average, zero_division=0, **options)
        for name in ("precision", "recall", "f1")
        for average in AVERAGES
    }
    report = metrics.classification_report(gold, found, output_dict=True, zero_division=0, **options)
    return values | {f"f1[{label}]": row["f1-score"] for label, row in report.items() if not label.endswith(" avg")}


def assert_equal_values(ours: dict[str, float], expected: dict[str, float]) -> None:
    """Assert that both have the same metrics and values."""
    assert ours == pytest.approx(expected, abs=1e-12)


@given(pairs_of("BIES"))
def test_values_equal_those_of_seqeval(texts: list[tuple[list[str], list[str]]]) -> None:
    """All averages and the F1 of each label are those of seqeval's default mode, for any tags."""
    gold, found = map(list, zip(*texts, strict=True))
    spans = [[tagged(tags) for tags in side] for side in (gold, found)]
    if not any(spans[0] + spans[1]):
        return  # seqeval has no averages without labels
    assert_equal_values(measured_spans(*spans).values(), seqeval_values(gold, found))


@given(pairs_of("BI"))
def test_values_equal_those_of_strict_seqeval(texts: list[tuple[list[str], list[str]]]) -> None:
    """Tags that are read strictly have the values of seqeval's strict mode."""
    scheme = require_package("seqeval.scheme").IOB2
    gold, found = map(list, zip(*texts, strict=True))
    spans = [[tagged(tags, "BIO") for tags in side] for side in (gold, found)]
    if not any(spans[0] + spans[1]):
        return
    assert_equal_values(measured_spans(*spans).values(), seqeval_values(gold, found, mode="strict", scheme=scheme))


def test_the_example_of_seqeval() -> None:
    """The first example of seqeval's documentation: micro F1 0.5, PER 1.0, MISC 0.0."""
    gold = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    values = measured_spans(map(tagged, gold), map(tagged, found)).values()
    assert (values["f1_micro"], values["f1_macro"], values["f1[PER]"], values["f1[MISC]"]) == (0.5, 0.5, 1.0, 0.0)


def test_text_without_entities_is_no_error() -> None:
    """Without any expected or predicted entity, all values are 0 and there is no label."""
    measured = measured_spans([()], [()])
    assert set(measured.values().values()) == {0.0}
    assert measured.details() == {"labels": []}
    assert measured.errors().tolist() == [0]


def test_errors_count_wrong_and_missing_spans() -> None:
    """A span with a wrong label or end is one wrong and one missing span; a text that is all correct has no error."""
    gold = [(Span("PER", 0, 2), Span("LOC", 3, 5)), (Span("PER", 0, 2),), ()]
    found: Sequence[Sequence[Span]] = [[Span("PER", 0, 2), Span("LOC", 3, 6)], [Span("PER", 0, 2)], [Span("LOC", 1, 2)]]
    assert measured_spans(gold, found).errors().tolist() == [2, 0, 1]


def test_labels_that_are_left_out_do_not_count() -> None:
    """A predicted label that the data leaves out is no mistake."""
    found = entity_observations([[Span("PER", 0, 2), Span("LOC", 3, 5)]])
    data = dataset([(Span("PER", 0, 2),)], left_out=("LOC",))
    values = SpanMeasurement(DataTask("token-classification"), data, found).values()
    assert values["precision_micro"] == 1.0
    assert not any(math.isnan(value) for value in values.values())
