"""Check a model that was built from weights against the graph that the checkpoint contains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.checkpoints.base import Description
from bertbundle_export.errors import CheckpointError

__all__ = ["check_against_graph"]

_ATOL = 1e-4
"""Ten times the effect of a different order of summation; a different activation or epsilon has far more effect."""
_ROWS, _LENGTH = 3, 16


def check_against_graph(model: Any, description: Description) -> None:
    """Compare a Keras model's encoder with the checkpoint's own graph, if it has one, on random rows with padding.

    Raises:
        CheckpointError: their outputs differ, or the graph cannot be called.
    """
    if description.run_graph is None:
        return
    inputs = _sample_inputs(description.config)
    expected = description.run_graph(inputs)
    actual = _encoder(model, description)(dict(inputs), training=False)
    for name, value in expected.items():
        rows = ... if value.ndim == 2 else inputs["attention_mask"].astype(bool)
        if actual.get(name) is None:  # a head without a pooler
            continue
        difference = float(np.abs(actual[name].numpy()[rows] - value[rows]).max())
        if not difference <= _ATOL:
            raise CheckpointError(
                f"{description.path} cannot be rebuilt: the {name} of its own graph differs by {difference:.1e} from "
                f"that of a BERT with its weights and {description.config['hidden_act']}, allowed: {_ATOL:g}. "
                "Give the settings that its files lack with --init-args, such as num_attention_heads=12 or "
                "hidden_act=relu."
            )


def _sample_inputs(config: Mapping[str, Any]) -> dict[str, npt.NDArray[np.int32]]:
    length = min(_LENGTH, config["max_position_embeddings"])
    ids = np.random.default_rng(0).integers(config["vocab_size"], size=(_ROWS, length), dtype=np.int32)
    mask = (np.arange(length) < np.array([[length], [length // 2], [1]])).astype(np.int32)
    types = np.broadcast_to(np.arange(length, dtype=np.int32) % config["type_vocab_size"], ids.shape)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def _encoder(model: Any, description: Description) -> Any:
    """Return the encoder of a model: the layer `bert`, in TFBertModel as in the classes with heads."""
    try:
        return model.bert
    except AttributeError as error:
        raise CheckpointError(
            f"the encoder of {type(model).__name__} must be compared with the graph in {description.path}, but the "
            "model has no attribute `bert`. Store the encoder as that attribute."
        ) from error
