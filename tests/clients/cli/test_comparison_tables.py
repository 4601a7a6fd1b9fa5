"""A comparison in a terminal."""

from __future__ import annotations

from pathlib import Path

from bertbundle.cli.comparison_tables import comparison_lines, marked_text
from bertbundle.evaluation.comparison.compare import compare
from compared_models import TAGGED, comparison, target, write
from versioned_transport import model, other_model


def test_lines(tmp_path: Path) -> None:
    """Agreement, metrics, limits and the places of the differences are shown."""
    path = write(tmp_path, "t.conll", TAGGED)
    report = compare(target(model(1)), target(other_model(2)), comparison(path, min_agreement=0.9))
    lines = list(comparison_lines(report))
    assert lines[0] == f"token-classification: 3 texts of {path}"
    assert "agreement: 66.67% (2 of 3 texts)" in lines
    assert "entities: 2 in both, 1 only in A, 0 only in B" in lines
    (f1,) = [line.split()[:4] for line in lines if line.startswith("f1_micro")]
    assert f1 == ["f1_micro", "1.0000", "0.8000", "-0.2000"]
    assert "  A        [Wang PER] lives in [Berlin LOC]" in lines
    assert "  B        [Wang PER] lives in Berlin" in lines
    assert lines[-1] == "--min-agreement 0.9: 0.6667, FAILED"


def test_marked_text() -> None:
    """Nested entities are in brackets of their own, and a text takes one line."""
    spans = [{"label": "PLACE", "start": 0, "end": 9}, {"label": "LOC", "start": 3, "end": 9}]
    assert marked_text("in Berlin\n\x1b", spans) == "[in [Berlin LOC] PLACE]\\n\\x1b"
