"""Options that state facts about a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertbundle_export import LoadOptions
from bertbundle_export.errors import CheckpointError, ExportError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"last_layers": 0}, "at least 1, got 0", id="no_layers"),
        pytest.param({"last_layers": 2, "pooling": "pooler"}, "the pooler reads the last layer only", id="pooler"),
    ],
)
def test_invalid_last_layers(options: dict[str, Any], message: str) -> None:
    """Layers are counted from 1, and BERT's pooler reads only one."""
    with pytest.raises(CheckpointError, match=message):
        LoadOptions(**options)


def test_paths() -> None:
    """A path may be a str, as for `export_bundle`; anything else is refused."""
    options = LoadOptions(config="a/config.json", tokenizer="b")  # type: ignore[arg-type]
    assert (options.config, options.tokenizer) == (Path("a/config.json"), Path("b"))
    with pytest.raises(CheckpointError, match="config of LoadOptions is 3, expected a path"):
        LoadOptions(config=3)  # type: ignore[arg-type]


def test_labels() -> None:
    """Labels become a tuple; one str is not a list of labels."""
    assert LoadOptions(labels=["a", "b"]).labels == ("a", "b")  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="labels are 'O,B-PER', expected a list of str"):
        LoadOptions(labels="O,B-PER")  # type: ignore[arg-type]
