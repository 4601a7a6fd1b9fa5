"""`bertbundle evaluate` on real data through every server: the metrics are those of seqeval."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bertbundle import Client
from bertbundle.cli.main import main
from bertbundle.contract.types import Entity
from optional import require_package

pytestmark = pytest.mark.slow

Serve = Callable[[Path], str]
WEIBO = {"PER.NAM": "NAME", "ORG.NAM": "ORG", "LOC.NAM": "LOC", "GPE.NAM": "LOC"}
"""The label of the tagger for each label of Weibo NER; the others are left out."""


def read_tags(path: Path, weibo: bool) -> list[tuple[str, list[str]]]:
    """Return each text of a file of characters and its tags, with the labels of the tagger, as BIOES."""
    texts = []
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        rows = [line.replace("\t", " ").rsplit(" ", 1) for line in block.split("\n")]
        # Weibo NER has the position of a character within its word behind it.
        tokens = [token.rstrip("0123456789") or token[0] if weibo else token for token, _ in rows]
        tags = [_tag(tag, weibo) for _, tag in rows]
        texts.append(("".join(tokens), [tag for token, tag in zip(tokens, tags, strict=True) for _ in token]))
    return texts


def _tag(tag: str, weibo: bool) -> str:
    role, _, label = tag.partition("-")
    label = WEIBO.get(label, "") if weibo else label
    return f"{role.replace('M', 'I')}-{label}" if label else "O"


def entity_tags(size: int, entities: list[Entity]) -> list[str]:
    """Return the tags of the characters of a text."""
    tags = ["O"] * size
    for entity in entities:
        tags[entity.start] = f"B-{entity.label}"
        tags[entity.start + 1 : entity.end] = [f"I-{entity.label}"] * (entity.end - entity.start - 1)
    return tags


@pytest.mark.parametrize("name", ["resume-ner/test.char.bmes", "weibo-ner/test.conll"])
def test_metrics_equal_those_of_seqeval(
    name: str, serve: Serve, ner: Path, shared: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Micro, macro and weighted averages and the F1 of each label of a test set are seqeval's for the same entities."""
    metrics = require_package("seqeval.metrics")
    path, weibo = shared(f"data/{name}"), "weibo" in name
    flags = ["--server", serve(ner), "--model", "ner", "--timeout", "300", "--data", str(path), "--resamples", "0"]
    dropped = ("PER.NOM", "ORG.NOM", "LOC.NOM", "GPE.NOM")
    renamed = [f"--rename={old}={new}" for old, new in [*WEIBO.items(), *((label, "") for label in dropped)]]
    assert main(["evaluate", *flags, "--json", *(renamed if weibo else [])]) == 0
    report = json.loads(capsys.readouterr().out)
    texts = read_tags(path, weibo)
    with Client(serve(ner), "ner", timeout=300) as client:
        results = client.entities([text for text, _ in texts])
    gold = [tags for _, tags in texts]
    found = [entity_tags(len(text), entities) for (text, _), entities in zip(texts, results, strict=True)]
    expected = {
        f"{score}_{average}": getattr(metrics, f"{score}_score")(gold, found, average=average, zero_division=0)
        for score in ("precision", "recall", "f1")
        for average in ("micro", "macro", "weighted")
    }
    table = metrics.classification_report(gold, found, output_dict=True, zero_division=0)
    expected |= {f"f1[{label}]": row["f1-score"] for label, row in table.items() if not label.endswith(" avg")}
    assert {name: metric["value"] for name, metric in report["metrics"].items()} == pytest.approx(expected, abs=1e-12)
    assert report["data"]["texts"] == len(texts)
    assert weibo or expected["f1_micro"] >= 0.91
