"""Load checkpoints of any format, and run their models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bertbundle_export.checkpoints import LoadOptions, load_checkpoint
from bertbundle_export.source.model import SourceModel, run_source

CLASSES = ("a", "b", "c", "d", "e")
"""Default labels of `predict`."""


def load(path: Path, **options: Any) -> SourceModel:
    """Load a checkpoint with some `LoadOptions`."""
    return load_checkpoint(path, str(path), LoadOptions(**options))


def run(model: SourceModel) -> dict[str, np.ndarray[Any, Any]]:
    """Return the outputs of a model for the example inputs."""
    inputs = example_inputs()
    return run_source(model, {spec.name: inputs[spec.name] for spec in model.inputs})


def predict(path: Path, **options: Any) -> np.ndarray[Any, Any]:
    """Return the logits of a checkpoint for the example inputs, or without a head the hidden states."""
    outputs = run(load(path, **{"labels": CLASSES, **options}))
    return outputs["logits"] if "logits" in outputs else outputs["last_hidden_state"]


def example_inputs(length: int = 12) -> dict[str, np.ndarray[Any, Any]]:
    """Return a batch of two texts, the second one padded."""
    ids = np.arange(2 * length, dtype=np.int32).reshape(2, length) % 40 + 5
    ids[1, length - 4 :] = 0
    types = np.zeros_like(ids)
    types[0, length // 2 :] = 1
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int32), "token_type_ids": types}
