"""Which results agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertbundle import Answer, Classification, Entity, Fill, InputError
from bertbundle.decoding.agreement import agree

WANG, BERLIN = Entity("PER", "Wang", 0, 4, 0.5), Entity("LOC", "Berlin", 14, 20, 0.5)
YES = Classification("yes", 0.75, ("yes",), {"yes": 0.75, "no": 0.25})
FILLS = [Fill("wang", 4, "wang lives", 0, 6, 0.75), Fill("in", 5, "in lives", 0, 6, 0.25)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param([WANG], [Entity("PER", "Wang", 0, 4, 0.9)], id="entities"),
        pytest.param([], [], id="no-entities"),
        pytest.param(YES, Classification("yes", 0.5, ("yes",), {"yes": 0.5, "no": 0.5}), id="class"),
        pytest.param(Answer("a", 0, 1, 0.5, 0.1), Answer("a", 0, 1, 0.25, 0.5), id="answer"),
        pytest.param([FILLS], [FILLS[:1]], id="best-token-of-a-mask"),
        pytest.param(4.0, 4.03, id="number"),
        pytest.param(np.array([1.0, 0.0]), np.array([2.0, 0.1]), id="embedding"),
        pytest.param({"intent": YES, "slots": [WANG]}, {"intent": YES, "slots": [WANG]}, id="heads"),
        pytest.param([{"word": "wang", "score": 0.5}], [{"word": "wang", "score": 0.75}], id="pipeline"),
        pytest.param(InputError("a"), InputError("b"), id="errors"),
    ],
)
def test_agreement(one: Any, other: Any) -> None:
    """Results agree if they say the same, whatever their scores."""
    assert agree(one, other)
    assert agree(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param([WANG], [WANG, BERLIN], id="more-entities"),
        pytest.param([WANG], [Entity("LOC", "Wang", 0, 4, 0.5)], id="label"),
        pytest.param([WANG], [Entity("PER", "Wan", 0, 3, 0.5)], id="end"),
        pytest.param([WANG], [], id="none"),
        pytest.param(YES, Classification("no", 0.75, ("no",), {"no": 0.75, "yes": 0.25}), id="class"),
        pytest.param(Answer("a", 0, 1, 0.5), Answer("a", 2, 3, 0.5), id="another-place"),
        pytest.param([FILLS], [FILLS[::-1]], id="best-token"),
        pytest.param([FILLS], [FILLS, FILLS], id="masks"),
        pytest.param(0.0, 0.02, id="small-numbers"),
        pytest.param(400.0, 410.0, id="large-numbers"),
        pytest.param(np.array([1.0, 0.0]), np.array([1.0, 0.5]), id="embedding"),
        pytest.param(np.ones(2), np.ones(3), id="dimensions"),
        pytest.param({"slots": [WANG]}, {"slots": []}, id="heads"),
        pytest.param([{"word": "wang", "score": 0.5}], [{"word": "in", "score": 0.5}], id="pipeline"),
        pytest.param(InputError("a"), [], id="error"),
    ],
)
def test_disagreement(one: Any, other: Any) -> None:
    """Results disagree if one says what the other does not."""
    assert not agree(one, other)
    assert not agree(other, one)
