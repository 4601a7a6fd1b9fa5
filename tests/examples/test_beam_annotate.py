"""The handler of examples/beam_annotate.py on Beam's direct runner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batch_files import make_bundle
from bertbundle import Client
from bertbundle.batch import Annotator
from optional import require_package

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore"),  # of Beam's own code
]


def test_direct_runner(tmp_path: Path) -> None:
    """Each text of a pipeline has the client's entities, or the reason why it has none, once."""
    beam = require_package("apache_beam")
    from apache_beam.ml.inference.base import RunInference

    from beam_annotate import AnnotatorHandler

    bundle = make_bundle(tmp_path)
    texts = [f"wang {number}" if number % 10 else "" for number in range(100)]
    with beam.Pipeline(runner="DirectRunner") as pipeline:
        found = pipeline | beam.Create(texts) | RunInference(AnnotatorHandler(Annotator(bundle=bundle, threads=1)))
        lines = found | beam.Map(lambda result: json.dumps([result.example, result.inference]))
        _ = lines | beam.io.WriteToText(str(tmp_path / "out"))
    rows = [json.loads(line) for path in tmp_path.glob("out-*") for line in path.read_text().splitlines()]
    assert sorted(text for text, _ in rows) == sorted(texts)
    with Client.local(bundle) as client:
        for text, result in rows:
            if text:
                assert result == {"entities": [entity.to_dict() for entity in client.entities(text)]}
            else:
                assert result["error"].startswith("text 0 is empty") or "is empty" in result["error"]
