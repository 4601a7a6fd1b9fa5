"""Checkpoints to export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiny_checkpoints import write_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path, tensorflow: Any) -> Callable[..., Path]:
    """Write a tiny checkpoint, see `write_checkpoint`; gives its path."""
    del tensorflow

    def write(architecture: str = "BertForTokenClassification", *, name: str = "checkpoint", **options: Any) -> Path:
        return write_checkpoint(tmp_path / name, architecture, **options)

    return write
