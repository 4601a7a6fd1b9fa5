"""The description of several heads in a manifest."""

from __future__ import annotations

import json

import pytest

from bertbundle import Head, Manifest, ManifestError
from fakes import HEADS, make_manifest


def test_round_trip() -> None:
    """A manifest with heads is the same after it was written and read."""
    manifest = make_manifest("multi-task")
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.heads == HEADS


def test_older_bundle() -> None:
    """A manifest of an older export has no heads."""
    stored = json.loads(make_manifest().to_json())
    del stored["heads"]
    assert Manifest.from_json(json.dumps(stored)) == make_manifest()


@pytest.mark.parametrize(
    ("task", "heads", "message"),
    [
        pytest.param("multi-task", {}, "heads belong to the task multi-task: got multi-task with heads none", id="no"),
        pytest.param("regression", HEADS, "got regression with heads intent, slots", id="task"),
        pytest.param("multi-task", {"a.b": Head("regression")}, "'a.b' is not a valid name of a head", id="dot"),
        pytest.param("multi-task", {"1a": Head("regression")}, "'1a' is not a valid name of a head", id="digit"),
        pytest.param("multi-task", {"a": Head("multi-task")}, "the head a needs a task of its own", id="nested"),
        pytest.param("multi-task", {"a\n": Head("regression")}, "is not a valid name of a head", id="newline"),
    ],
)
def test_invalid_heads(task: str, heads: dict[str, Head], message: str) -> None:
    """Heads and the task multi-task go together, and names of heads are plain."""
    with pytest.raises(ValueError, match=message):
        make_manifest(task, heads=heads)


def test_head_without_outputs() -> None:
    """A head needs an output that begins with its name."""
    stored = json.loads(make_manifest("multi-task").to_json())
    stored["outputs"] = [output for output in stored["outputs"] if output["name"].startswith("intent.")]
    with pytest.raises(ManifestError, match="the head slots needs a task of its own and outputs"):
        Manifest.from_json(json.dumps(stored))


def test_malformed_head() -> None:
    """A head of a manifest that lacks its task is a ManifestError with its place."""
    stored = json.loads(make_manifest("multi-task").to_json())
    del stored["heads"]["slots"]["task"]
    with pytest.raises(ManifestError, match=r"bundle.json.heads.slots has no task"):
        Manifest.from_json(json.dumps(stored))
