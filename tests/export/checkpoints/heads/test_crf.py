"""The CRF of bert4keras: the tables that its settings make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert4keras_heads import crf_weights, write_bert4keras
from bertbundle_export import LoadOptions
from bertbundle_export.checkpoints import load_checkpoint
from bertbundle_export.source.model import run_source

pytestmark = pytest.mark.slow

LABELS = ("O", "B-PER", "I-PER")


def test_tables(tensorflow: Any, tmp_path: Path) -> None:
    """Transitions are multiplied by lr_multiplier; starts and ends forbid all other labels."""
    del tensorflow
    weights = crf_weights(3)
    path = write_bert4keras(tmp_path / "model.h5", weights)
    inputs = {name: np.ones((1, 4), np.int32) for name in ("input_ids", "attention_mask", "token_type_ids")}
    stated = {"lr_multiplier": 20, "starts": [0], "ends": [0, 2]}
    raw = run_source(load_checkpoint(path, "x", LoadOptions(labels=LABELS, init_args=stated)), inputs)
    np.testing.assert_allclose(raw["transitions"], 20 * weights["conditional_random_field/trans"], rtol=1e-6)
    assert (raw["start_transitions"] < -1000).tolist() == [False, True, True]
    assert (raw["end_transitions"] < -1000).tolist() == [False, True, False]
    plain = run_source(load_checkpoint(path, "x", LoadOptions(labels=LABELS, init_args={"lr_multiplier": 1})), inputs)
    assert sorted(plain) == ["logits", "transitions"]
