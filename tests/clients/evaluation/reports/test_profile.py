"""Profiles without labels, and how much two of them differ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbundle.contract.types import Entity
from bertbundle.data.examples import DataTask
from bertbundle.errors import InputError
from bertbundle.evaluation.reports.profile import compare_profiles, jensen_shannon, make_profile, read_profile
from evaluations import classes, observation
from fakes import make_manifest
from optional import require_package

TAGGER = DataTask("token-classification", ("PER", "LOC"))
COUNTS = st.lists(st.integers(0, 30), min_size=4, max_size=4).filter(any)


def test_profile_of_entities() -> None:
    """Labels, scores and lengths are counted; the signatures have 4, 8 and 12 tokens."""
    person = Entity("PER", "wang", 0, 4, 0.95)
    observations = [
        observation([person, person], lengths=(4,), unknown=1),
        observation([], lengths=(5,)),
        observation([Entity("PER", "x", 0, 1, 0.05)], lengths=(13,), too_long=True),
    ]
    profile = make_profile(TAGGER, make_manifest(), observations)
    assert profile.labels == {"PER": 3, "LOC": 0, "(none)": 1}
    assert profile.histograms()["score"] == {
        "< 0.1": 1,
        **dict.fromkeys([f"0.{low} - 0.{low + 1}" for low in range(1, 9)], 0),
        ">= 0.9": 2,
    }
    assert profile.lengths == {"4": 1, "8": 1, "12": 0, "longer": 1}
    assert profile.tokens == {"min": 4, "median": 5, "p95": 13, "max": 13, "sum": 22}
    assert (profile.unknown_share, profile.longer_share) == (1 / 22, 1 / 3)


def test_profile_of_other_tasks() -> None:
    """Classes are counted by predicted label; numbers have bins of equal counts; a vector has no score."""
    found = classes(("no", "yes"), [[0.2, 0.8], [0.7, 0.3]], [["yes"], []])
    task = DataTask("text-classification", ("no", "yes"), multi_label=True)
    assert make_profile(task, make_manifest(), found).labels == {"no": 0, "yes": 1, "(none)": 1}
    numbers = make_profile(DataTask("regression"), make_manifest(), [observation(float(n)) for n in range(100)])
    assert set(numbers.scores) == {10}
    assert numbers.labels == {}
    vectors = [observation(np.zeros(3))]
    assert set(make_profile(DataTask("feature-extraction"), make_manifest(), vectors).histograms()) == {
        "signature, tokens"
    }


@given(COUNTS, COUNTS)
def test_divergence_equals_that_of_scipy(one: list[int], other: list[int]) -> None:
    """It is the square of scipy's distance with base 2."""
    expected = require_package("scipy.spatial.distance").jensenshannon(one, other, base=2) ** 2
    assert jensen_shannon(np.array(one), np.array(other)) == pytest.approx(expected, abs=1e-7)


def test_divergence_of_the_same_and_of_disjoint_distributions() -> None:
    """It is 0 for equal shares, and 1 for distributions that share nothing."""
    assert jensen_shannon(np.array([1, 2, 0]), np.array([10, 20, 0])) == 0
    assert jensen_shannon(np.array([1, 2, 0]), np.array([0, 0, 5])) == 1


def test_same_texts_do_not_drift_and_others_do() -> None:
    """A profile does not differ from itself; one with other labels and scores differs by more than chance."""
    before = make_profile(TAGGER, make_manifest(), [observation([Entity("PER", "x", 0, 1, 0.95)])] * 50)
    after = make_profile(TAGGER, make_manifest(), [observation([Entity("LOC", "x", 0, 1, 0.55)])] * 50, before.edges)
    assert all(drift.divergence == 0 <= drift.by_chance for drift in compare_profiles(before, before))
    found = {drift.name: drift for drift in compare_profiles(before, after)}
    assert found["labels"].divergence == found["scores"].divergence == 1
    assert found["labels"].by_chance < 0.2
    assert found["lengths"].divergence == 0


def test_baseline_is_read_back(tmp_path: Path) -> None:
    """The profile of a JSON report is the one that was written; other files have one message."""
    path = tmp_path / "report.json"
    profile = make_profile(TAGGER, make_manifest(), [observation([Entity("PER", "x", 0, 1, 0.95)])])
    path.write_text(json.dumps({"profile": profile.to_dict()}), encoding="utf-8")
    assert read_profile(str(path), TAGGER).to_dict() == profile.to_dict()
    with pytest.raises(InputError, match="is for token-classification, the model is for regression"):
        read_profile(str(path), DataTask("regression"))
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="is not a report of bertbundle evaluate --json"):
        read_profile(str(path), TAGGER)
    with pytest.raises(InputError, match=r"missing\.json cannot be read: No such file"):
        read_profile(str(tmp_path / "missing.json"), TAGGER)


def test_lengths_of_other_signatures_are_not_compared() -> None:
    """Two models with other signatures have other bins: their divergence is not defined, the others are."""
    observations = [observation([Entity("PER", "x", 0, 1, 0.95)])] * 50
    other = make_manifest(signatures={"serving_default": 12})
    before, after = (make_profile(TAGGER, manifest, observations) for manifest in (make_manifest(), other))
    found = {drift.name: drift.divergence for drift in compare_profiles(before, after)}
    assert np.isnan(found.pop("lengths"))
    assert found == {"labels": 0, "scores": 0, "unknown tokens": 0}
