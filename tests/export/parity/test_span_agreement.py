"""The agreement of spans: near ties with the threshold may differ, all others may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from bertbundle.contract.manifest import OutputSpec
from bertbundle.contract.types import InputFeatures
from bertbundle_export.errors import ToleranceError
from bertbundle_export.parity.compare import Case, compare
from bertbundle_export.parity.span_agreement import same_counts, same_spans
from bertbundle_export.tasks import TASKS
from bertbundle_export.tolerance import TOLERANCES

TOKENS = 10
Row = Mapping[tuple[int, int, int], float]


def spans(row: Row, room: int = 4) -> tuple[Any, Any]:
    """Return spans and their scores as outputs of one text, best first."""
    ranked = sorted(row.items(), key=lambda item: -item[1])
    empty = room - len(ranked)
    found = [[*span] for span, _ in ranked] + [[-1, -1, -1]] * empty
    return np.array([found], np.int32), np.array([[score for _, score in ranked] + [0.0] * empty], np.float32)


EXPECTED: Row = {(0, 1, 2): 0.9, (1, 1, 1): 0.7, (0, 4, 5): 0.50001}


@pytest.mark.parametrize(
    ("actual", "agreement"),
    [
        pytest.param(EXPECTED, 1.0, id="equal"),
        pytest.param({(1, 1, 1): 0.9, (0, 1, 2): 0.7, (0, 4, 5): 0.50001}, 1.0, id="order"),
        pytest.param({(0, 1, 2): 0.9, (1, 1, 1): 0.7}, 1.0, id="tie_is_missing"),
        pytest.param({**EXPECTED, (2, 8, 8): 0.50005}, 1.0, id="tie_is_added"),
        pytest.param({(0, 1, 2): 0.9, (0, 4, 5): 0.50001}, 0.9, id="span_is_missing"),
        pytest.param({**EXPECTED, (2, 8, 8): 0.6}, 0.9, id="span_is_added"),
        pytest.param({(0, 1, 3): 0.9, (2, 1, 1): 0.7}, 0.9, id="other_end_and_label_at_one_start"),
        pytest.param({(0, 2, 2): 0.9, (1, 1, 1): 0.7}, 0.8, id="other_start"),
    ],
)
def test_same_spans(actual: Row, agreement: float) -> None:
    """The share of tokens counts those where other spans start."""
    assert same_spans(spans(actual), spans(EXPECTED), threshold=0.0, tokens=TOKENS) == pytest.approx(agreement)


def test_ties_follow_the_threshold() -> None:
    """A tie is near the sigmoid of the threshold, whatever that is."""
    outputs = spans({(0, 1, 2): 0.9}), spans({(0, 1, 2): 0.9, (1, 1, 1): 0.7})
    assert same_spans(*outputs, threshold=0.0, tokens=TOKENS) == pytest.approx(0.9)
    assert same_spans(*outputs, threshold=np.log(0.7 / 0.3), tokens=TOKENS) == 1.0


def test_ties_with_the_end_of_a_full_row() -> None:
    """If there are more spans than rows, those near the last one may be left out."""
    full = {(0, 1, 1): 0.9, (0, 2, 2): 0.8}
    for score, agreement in ((0.80001, 1.0), (0.85, 0.9)):
        other = spans({(0, 1, 1): 0.9, (0, 3, 3): score}, room=2)
        assert same_spans(other, spans(full, room=2), threshold=0.0, tokens=TOKENS) == pytest.approx(agreement)


def test_same_counts() -> None:
    """A count is the number of a format's own spans, or more if the row is full."""
    found = np.concatenate([spans(EXPECTED)[0], spans({})[0], spans({(0, i, i): 0.9 for i in range(4)})[0]])
    assert same_counts(np.array([3, 0, 9]), found) == 1.0
    assert same_counts(np.array([2, 0, 3]), found) == pytest.approx(1 / 3)


# ---- within the comparison of a format

SPECS = (
    OutputSpec("span_counts", "int32", ("batch",)),
    OutputSpec("span_scores", "float32", ("batch", "4")),
    OutputSpec("spans", "int32", ("batch", "4", "3")),
    OutputSpec("start_logits", "float32", ("batch", "length", "2")),
)


def outputs_of(row: Row, starts: float = 0.0) -> dict[str, Any]:
    """Return the outputs for one text."""
    found, scores = spans(row)
    logits = np.full((1, TOKENS, 2), 3.0, np.float32)
    logits[0, 1, 0] += starts
    return {
        "spans": found,
        "span_scores": scores,
        "span_counts": np.array([len(row)], np.int32),
        "start_logits": logits,
    }


def run(actual: dict[str, Any], precision: str = "float32", tokens: int = TOKENS) -> dict[str, float]:
    """Compare outputs with the expected ones; return the agreement of each."""
    case = Case(InputFeatures("length_10", {"attention_mask": np.ones((1, tokens), np.int32)}), outputs_of(EXPECTED))
    if tokens != TOKENS:
        for outputs in (case.expected, actual):
            outputs["start_logits"] = np.zeros((1, tokens, 2), np.float32)  # type: ignore[index]
    rows = compare(
        "onnx",
        lambda _: actual,
        [case],
        outputs=SPECS,
        task=TASKS["span-classification"],
        tolerance=TOLERANCES[precision],
    )
    return {row.output: row.agreement for row in rows}


def test_a_tie_at_the_threshold_passes() -> None:
    """A span near the threshold may be missing in a format: its score and its count are no difference either."""
    assert run(outputs_of(EXPECTED)) == dict.fromkeys([spec.name for spec in SPECS], 1.0)
    assert run(outputs_of({key: value for key, value in EXPECTED.items() if value > 0.6}))["spans"] == 1.0


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        pytest.param(outputs_of({(0, 1, 2): 0.9}), "output spans: 90.00% of labels agree", id="missing"),
        pytest.param(outputs_of({**EXPECTED, (0, 1, 2): 0.95}), "output span_scores differs", id="score"),
        pytest.param(
            {**outputs_of(EXPECTED), "span_counts": np.array([2], np.int32)}, "output span_counts", id="count"
        ),
        pytest.param(outputs_of(EXPECTED, starts=0.01), "output start_logits differs", id="logits_of_tokens"),
    ],
)
def test_differences_fail(actual: dict[str, Any], message: str) -> None:
    """Other spans, scores or counts fail; so do the best logits of tokens, also where no span is found."""
    with pytest.raises(ToleranceError, match=message):
        run(actual)


def test_one_span_of_a_less_precise_format() -> None:
    """In int8, one other span counts as one of all tokens: less than a percent of a hundred tokens."""
    actual = outputs_of({key: value for key, value in EXPECTED.items() if key != (1, 1, 1)})
    assert run(dict(actual), "int8", tokens=200)["spans"] == pytest.approx(0.995)
    with pytest.raises(ToleranceError, match="output spans"):
        run(dict(actual), "int8", tokens=50)
    with pytest.raises(ToleranceError, match="output spans"):
        run(dict(actual), "float32", tokens=200)
