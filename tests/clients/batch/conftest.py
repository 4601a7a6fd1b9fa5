"""A bundle and a job over files."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_files import make_bundle, write_inputs
from bertbundle.batch import Annotator, BatchJob


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of the small model."""
    return make_bundle(tmp_path_factory.mktemp("models"))


@pytest.fixture
def job(bundle: str, tmp_path: Path) -> BatchJob:
    """A job over three files of JSON lines, in about 15 shards."""
    source = write_inputs(tmp_path / "in")
    return BatchJob(Annotator(bundle=bundle), str(source), str(tmp_path / "out"), shard_bytes=400)
