"""GlobalPointer and EfficientGlobalPointer are computed as the papers say, also far from the start of a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert4keras_heads import efficient_logits, efficient_weights, pointer_logits, pointer_weights, write_bert4keras
from bertbundle_export import LoadOptions
from bertbundle_export.checkpoints import load_checkpoint
from bertbundle_export.source.model import run_source

pytestmark = pytest.mark.slow

LABELS = ("PER", "LOC")
LENGTH = 40


@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize(
    ("weights", "logits"),
    [
        pytest.param(pointer_weights(2, 10), pointer_logits, id="pointer"),
        pytest.param(efficient_weights(2, 10), efficient_logits, id="efficient"),
    ],
)
def test_formula(tensorflow: Any, tmp_path: Path, weights: Any, logits: Callable[..., Any], rotary: bool) -> None:
    """The logits are those of the formula, with positions as complex roots of unity, for the same token vectors."""
    path = write_bert4keras(tmp_path / "model.h5", weights)
    stated = {"RoPE": rotary, "head_size": 10}
    model = load_checkpoint(path, "x", LoadOptions(labels=LABELS, init_args=stated))
    random = np.random.default_rng(0)
    inputs = {
        "input_ids": random.integers(5, 200, (2, LENGTH)).astype(np.int32),
        "attention_mask": np.ones((2, LENGTH), np.int32),
        "token_type_ids": np.zeros((2, LENGTH), np.int32),
    }
    bert = model.keras.get_layer("bert")
    vectors = bert({name: tensorflow.constant(value) for name, value in inputs.items()})["last_hidden_state"].numpy()
    found = run_source(model, inputs)["logits"]
    for row in range(2):
        expected = logits(vectors[row], weights, len(LABELS), rotary=rotary)
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-3)
