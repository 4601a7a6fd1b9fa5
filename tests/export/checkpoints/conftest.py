"""What the tests of the Keras files share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from keras_files import CONFIG, Naming, write_beside, write_h5
from tiny_checkpoints import Weights


@pytest.fixture
def write(tmp_path: Path, tensorflow: Any) -> Callable[..., Path]:
    """Write weights as model.h5 with a bert_config.json and a vocab.txt beside it; gives its path."""
    del tensorflow

    def write_model(weights: Weights, naming: Naming, *, config: Mapping[str, Any] = CONFIG, **options: Any) -> Path:
        write_beside(tmp_path / "model.h5", config)
        return write_h5(tmp_path / "model.h5", weights, naming, **options)

    return write_model
