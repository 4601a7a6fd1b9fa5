"""The shares of classes and ranks that agree."""

from __future__ import annotations

from typing import Any

import numpy as np

from bertbundle.contract.manifest import OutputSpec
from bertbundle_export.parity.agreement import same_classes, same_ranks

SPECS = (
    OutputSpec("logits", "float32", ("batch", "length", "3")),
    OutputSpec("label_ids", "int32", ("batch", "length")),
    OutputSpec("pooler_output", "float32", ("batch", "4")),
)


SCORED = {"label_ids": "int32", "label_scores": "float32"}


Outputs = dict[str, np.ndarray[Any, Any]]


def expected() -> Outputs:
    """Return what the source answers: two rows of length 4, the second one padded by two."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 4, 3)).astype(np.float32)
    pooled = random.normal(size=(2, 4)).astype(np.float32)
    return {"logits": logits, "label_ids": logits.argmax(-1).astype(np.int32), "pooler_output": pooled}


def test_near_ties_may_change_places() -> None:
    """Classes that the source scores alike, to the tolerance, may be either's best; others may not."""
    for gap, agreement in ((5e-5, 1.0), (5e-2, 0.875)):
        source = expected()["logits"]
        source[0, 0] = [1.0, 1.0 + gap, 0.0]
        swapped = source.copy()
        swapped[0, 0] = [1.0 + gap, 1.0, 0.0]
        assert same_classes(swapped, source) == agreement


def test_ranks_that_are_apart_must_agree() -> None:
    """Of ranked ids only those that score nearly alike may change places; what is beyond the last rank is not known."""
    scores = np.array([[0.5, 0.3, 0.29999, 0.1]], np.float32)
    ids = np.array([[7, 8, 9, 4]])
    assert same_ranks(np.array([[7, 9, 8, 5]]), ids, scores) == 1.0
    assert same_ranks(np.array([[8, 7, 9, 4]]), ids, scores) == 0.0
