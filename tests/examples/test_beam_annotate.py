"""The handler of examples/beam_annotate.py on Beam's direct runner, in the environment that has Beam."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from batch_files import make_bundle
from bertbundle import Client
from optional import skip_without
from paths import OTHERS, ROOT

pytestmark = pytest.mark.cluster

PIPELINE = """
import json, sys
import apache_beam as beam
from apache_beam.ml.inference.base import RunInference
from beam_annotate import AnnotatorHandler
from bertbundle.batch import Annotator

texts, bundle, output = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
with beam.Pipeline(runner="DirectRunner") as pipeline:
    found = pipeline | beam.Create(texts) | RunInference(AnnotatorHandler(Annotator(bundle=bundle, threads=1)))
    lines = found | beam.Map(lambda result: json.dumps([result.example, result.inference]))
    _ = lines | beam.io.WriteToText(output)
"""


def test_direct_runner(tmp_path: Path) -> None:
    """Each text of a pipeline has the client's entities, or the reason why it has none, once."""
    if not OTHERS.exists():
        skip_without("apache_beam")
    bundle = make_bundle(tmp_path)
    texts = [f"wang lives in {number}" if number % 10 else "" for number in range(100)]
    command = [str(OTHERS), "-c", PIPELINE, json.dumps(texts), bundle, str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'clients'}{os.pathsep}{ROOT / 'examples'}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for path in tmp_path.glob("out-*") for line in path.read_text().splitlines()]
    assert sorted(text for text, _ in rows) == sorted(texts)
    with Client.local(bundle) as client:
        for text, result in rows:
            if text:
                assert result == {"entities": [entity.to_dict() for entity in client.entities(text)]}
            else:
                assert result["error"].startswith("the text is empty")
