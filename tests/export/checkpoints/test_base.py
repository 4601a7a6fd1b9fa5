"""Options that state facts about a checkpoint."""

from __future__ import annotations

from typing import Any

import pytest

from bertbundle_export import LoadOptions
from bertbundle_export.errors import CheckpointError


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
