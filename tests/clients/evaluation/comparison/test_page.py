"""The page of a comparison."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from bertbundle.evaluation.comparison.compare import compare
from bertbundle.evaluation.comparison.page import comparison_page
from compared_models import TAGGED, comparison, target, write
from fakes import Model, make_manifest
from versioned_transport import model, other_model


def text_of(page: str) -> str:
    """Return the text of a page, which is well-formed except for its void elements."""
    body = page[page.index("<body>") : page.index("</body>") + len("</body>")]
    return " ".join("".join(ET.fromstring(body).itertext()).split())  # noqa: S314 - our own page


def test_labelled_tagger(tmp_path: Path) -> None:
    """Each different text is shown with the mistakes of A and of B in place."""
    path = write(tmp_path, "t.conll", TAGGED)
    report = compare(target(model(1)), target(other_model(2)), comparison(path, max_f1_loss=0.1, latency_texts=2))
    page = comparison_page(report)
    text = text_of(page)
    assert "ner@1 and ner@2" in text
    assert "66.67% 2 of 3 texts" in text
    assert "Entities: 2 in both, 1 only in A, 0 only in B." in text
    assert "<td>--max-f1-loss</td><td>0.1</td><td>0.2000</td><td>failed</td>" in page
    assert page.count('<mark class="missed">Berlin</mark>') == 1
    assert page.count('<mark class="right">Berlin</mark>') == 1


def test_unlabelled_tagger(tmp_path: Path) -> None:
    """Without labels, what only one model found is marked."""
    path = write(tmp_path, "t.txt", "Wang in Berlin\n")
    page = comparison_page(compare(target(model(1)), target(other_model(2)), comparison(path)))
    assert '<mark class="right">Wang</mark>' in page
    assert '<mark class="missed">Berlin</mark>' in page
    assert "found by A only" in page


def test_texts_are_escaped(tmp_path: Path) -> None:
    """Texts and names cannot add elements to the page."""
    path = write(tmp_path, "t.txt", "<script>alert(1)</script> Wang in Berlin\n")
    page = comparison_page(compare(target(model(1)), target(other_model(2), "<b>x"), comparison(path)))
    assert "<script>" not in page
    assert "<b>x" not in page
    assert text_of(page).count("<script>alert(1)</script>") == 1


def test_classes(tmp_path: Path) -> None:
    """Results of other tasks are listed beside what is expected."""
    path = write(tmp_path, "t.csv", "text,label\nwang,yes\nlives,no\n")
    manifest = make_manifest("text-classification")
    scores = Model(manifest).run
    other = Model(
        manifest,
        version=2,
        overrides={"scores": lambda arrays: scores("length_4", arrays, ["scores"])["scores"][:, ::-1]},
    )
    page = text_of(comparison_page(compare(target(Model(manifest)), target(other), comparison(path))))
    assert "expected" in page
    assert "(0.7500)" in page
