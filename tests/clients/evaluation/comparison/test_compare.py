"""Two models are compared on the same texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertbundle import InputError
from bertbundle.evaluation.comparison.compare import compare
from compared_models import TAGGED, comparison, target, write
from fakes import LABEL_IDS, Model, make_manifest
from versioned_transport import model, other_model

TEXTS = "Wang lives in Berlin\nWang\nlives\n"


def test_agreement(tmp_path: Path) -> None:
    """Without labels, the report has the agreement, the entities of each model, and the texts that differ."""
    report = compare(target(model(1)), target(other_model(2)), comparison(write(tmp_path, "t.txt", TEXTS)))
    assert report.agreed == 2
    assert report.agreement == pytest.approx(2 / 3)
    assert report.spans == {"both": 2, "a_only": 1, "b_only": 0}
    assert (report.main, report.metrics) == ("", {})
    (different,) = report.differences
    assert (different.line, different.text, different.expected, different.errors) == (
        1,
        TEXTS.split("\n")[0],
        None,
        None,
    )
    assert [span["label"] for span in different.a] == ["PER", "LOC"]
    assert [span["label"] for span in different.b] == ["PER"]


def test_metrics(tmp_path: Path) -> None:
    """With labels, the report has the metrics of both, their difference and its p-value."""
    path = write(tmp_path, "t.conll", TAGGED)
    report = compare(target(model(1)), target(other_model(2)), comparison(path, max_f1_loss=0.19, min_agreement=0.5))
    f1 = report.metrics["f1_micro"]
    assert (report.main, f1.a) == ("f1_micro", 1)
    assert f1.b == pytest.approx(0.8)  # 2 of 3 found: 2 * 2 / (2 + 3)
    assert 0 < f1.p_value <= 1
    assert [(each.name, each.limit, each.passed) for each in report.limits] == [
        ("--min-agreement", 0.5, True),
        ("--max-f1-loss", 0.19, False),
    ]
    assert [each.value for each in report.limits] == pytest.approx([2 / 3, 0.2])
    assert not report.passed
    (different,) = report.differences
    assert different.errors == (0, 1)
    assert [span["label"] for span in different.expected] == ["PER", "LOC"]
    assert compare(target(other_model(2)), target(model(1)), comparison(path, max_f1_loss=0.0)).passed


def test_largest_changes_first(tmp_path: Path) -> None:
    """The texts with the largest difference of errors come first, those for the worse before those for the better."""
    half = Model(version=3, overrides={"label_ids": lambda arrays: LABEL_IDS[arrays["input_ids"]] % 3})
    tagged = "Wang\tB-LOC\n\nin\tO\nBerlin\tO\n\nBerlin\tB-LOC\nBerlin\tB-LOC\n\nBerlin\tB-LOC\n"
    path = write(tmp_path, "t.conll", tagged)
    report = compare(target(model(1)), target(other_model(2)), comparison(path))
    assert [each.line for each in report.differences] == [6, 9, 3]
    assert len(compare(target(model(1)), target(half), comparison(path, worst=1)).differences) == 1


@pytest.mark.parametrize(
    ("task", "name", "text", "main"),
    [
        ("text-classification", "t.csv", "text,label\nwang,yes\nlives,no\n", "accuracy"),
        ("regression", "t.csv", "text,label\nwang,4\nlives,5\nin,7\n", "pearson"),
        ("feature-extraction", "t.txt", "wang\nlives\n", ""),
        ("fill-mask", "t.txt", "[MASK] lives\nwang [MASK]\n", ""),
    ],
    ids=lambda value: value.split()[0] if value else "none",
)
def test_every_task(tmp_path: Path, task: str, name: str, text: str, main: str) -> None:
    """Equal models of each task agree about every text, and their metrics do not differ."""
    path = write(tmp_path, name, text)
    served = Model(make_manifest(task))
    report = compare(target(served), target(served, "copy"), comparison(path, min_agreement=1.0, latency_texts=2))
    assert report.passed
    assert report.main == main
    assert all(each.difference == 0 for each in report.metrics.values())
    assert [latency.requests for latency in report.latencies] == [2, 2]
    assert report.to_dict()["passed"] is True


def test_embeddings_differ(tmp_path: Path) -> None:
    """Embeddings that disagree are reported with their cosine."""
    manifest = make_manifest("feature-extraction")
    turned = Model(manifest, version=2, overrides={"sentence_embedding": lambda arrays: _turned(arrays)})
    report = compare(target(Model(manifest)), target(turned), comparison(write(tmp_path, "t.txt", "wang\n")))
    (different,) = report.differences
    assert different.a == different.b == {"cosine": pytest.approx(0.0)}


def _turned(arrays: Any) -> Any:
    vectors = Model(make_manifest("feature-extraction")).run("length_4", arrays, ["sentence_embedding"])
    return vectors["sentence_embedding"][:, ::-1] * [[1, -1]]


def test_the_same_model(tmp_path: Path) -> None:
    """A comparison of a version with itself is noted."""
    path = write(tmp_path, "t.txt", "wang\n")
    assert compare(target(model(1)), target(model(1)), comparison(path)).notes == [
        "A and B are the same: version 1 of the same model."
    ]
    assert compare(target(model(1)), target(model(1), "other"), comparison(path)).notes == []


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    """Models of two tasks, and a limit that does not apply, are named."""
    path = write(tmp_path, "t.txt", "wang\n")
    classifier, regressor = (
        target(Model(make_manifest(f"{task}")), task) for task in ("text-classification", "regression")
    )
    with pytest.raises(InputError, match="ner@1 is for token-classification, text-classification@1 for text-class"):
        compare(target(model(1)), classifier, comparison(path))
    with pytest.raises(InputError, match=r"t\.txt has no labels: omit --max-f1-loss, or pass labelled data"):
        compare(target(model(1)), target(model(2)), comparison(path, max_f1_loss=0.1))
    with pytest.raises(InputError, match="the models are for regression, which has no F1: omit --max-f1-loss"):
        compare(regressor, regressor, comparison(path, max_f1_loss=0.1))


def test_data_that_one_model_does_not_take(tmp_path: Path) -> None:
    """A label that only A has is named with the model that lacks it; data of another task after that of the models."""
    path = write(tmp_path, "t.conll", TAGGED)
    person = target(Model(make_manifest(labels=("O", "B-PER", "I-PER")), version=2))
    with pytest.raises(InputError, match=r"^for ner@2, .*t\.conll, line 4: label 'LOC' is not one of the model's: PER"):
        compare(target(model(1)), person, comparison(path))
    with pytest.raises(InputError, match="compare models of one task"):
        compare(target(model(1)), target(Model(make_manifest("regression"))), comparison(path))
