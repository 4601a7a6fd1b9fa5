"""Names that are not valid UTF-8 end in one clear error before any work is done."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bertbundle.errors import BertBundleError
from bertbundle_export import LoadOptions, export_bundle
from bertbundle_export.checkpoints.sources.hub import open_source
from bertbundle_export.checkpoints.to_huggingface import write_huggingface

NAME = os.fsdecode(b"model\xff")


def _open(path: Path) -> object:
    with open_source(path):
        return path


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(_open, id="source"),
        pytest.param(lambda path: export_bundle(path.parent, name="m", output=path), id="output"),
        pytest.param(lambda path: write_huggingface(path.parent, path, LoadOptions()), id="to_hf"),
        pytest.param(lambda path: LoadOptions(tokenizer=path), id="tokenizer"),
        pytest.param(lambda path: LoadOptions(config=path), id="config"),
        pytest.param(lambda path: LoadOptions(labels=("O", path.name)), id="label"),
    ],
)
def test_other_bytes(tmp_path: Path, use: Callable[[Path], object]) -> None:
    """A path or label of other bytes is named by the error, and nothing is written."""
    path = tmp_path / NAME
    with pytest.raises(BertBundleError, match=r"model\\udcff' is not valid UTF-8\. Rename it\."):
        use(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["new\nline", "tab\t", "名 ü", " "])
def test_other_names(tmp_path: Path, name: str) -> None:
    """White space and any characters may be part of a path."""
    (tmp_path / name).mkdir()
    assert _open(tmp_path / name) == tmp_path / name
    assert LoadOptions(tokenizer=tmp_path / name).tokenizer == tmp_path / name
