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
    """Return the source model's outputs: two rows of length 4, the second one padded by two."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 4, 3)).astype(np.float32)
    pooled = random.normal(size=(2, 4)).astype(np.float32)
    return {"logits": logits, "label_ids": logits.argmax(-1).astype(np.int32), "pooler_output": pooled}


def test_near_ties_may_swap() -> None:
    """Classes that the source scores equally within the tolerance may swap; others may not."""
    for gap, agreement in ((5e-5, 1.0), (5e-2, 0.875)):
        source = expected()["logits"]
        source[0, 0] = [1.0, 1.0 + gap, 0.0]
        swapped = source.copy()
        swapped[0, 0] = [1.0 + gap, 1.0, 0.0]
        assert same_classes(swapped, source) == agreement


def test_distinct_ranks_must_agree() -> None:
    """Only ranked ids with nearly equal scores may swap; those beyond the last rank are unknown."""
    scores = np.array([[0.5, 0.3, 0.29999, 0.1]], np.float32)
    ids = np.array([[7, 8, 9, 4]])
    assert same_ranks(np.array([[7, 9, 8, 5]]), ids, scores) == 1.0
    assert same_ranks(np.array([[8, 7, 9, 4]]), ids, scores) == 0.0
