"""Prove a model that was built from weights against the graph that they came with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.checkpoints.base import Description
from bertbundle_export.errors import CheckpointError

__all__ = ["check_against_original"]

_ATOL = 1e-4
"""Ten times what two orders of summation differ by; another activation or epsilon differs by far more."""
_ROWS, _LENGTH = 3, 16


def check_against_original(model: Any, description: Description) -> None:
    """Compare a Keras model's encoder with the checkpoint's own graph, if it has one, on a few rows with padding.

    Raises:
        CheckpointError: they differ, or the graph cannot be called.
    """
    if description.original is None:
        return
    inputs = _sample(description.config)
    expected = description.original(inputs)
    found = _encoder(model, description)(dict(inputs), training=False)
    for name, value in expected.items():
        rows = ... if value.ndim == 2 else inputs["attention_mask"].astype(bool)
        if found.get(name) is None:  # a head without a pooler
            continue
        difference = float(np.abs(found[name].numpy()[rows] - value[rows]).max())
        if not difference <= _ATOL:
            raise CheckpointError(
                f"{description.path} cannot be rebuilt: its own {name} differs by {difference:.1e} from that of a BERT "
                f"with its weights and {description.config['hidden_act']}, at most {_ATOL:g} is allowed. Say what its "
                "files do not with --init-args, such as num_attention_heads=12 or hidden_act=relu."
            )


def _sample(config: Mapping[str, Any]) -> dict[str, npt.NDArray[np.int32]]:
    length = min(_LENGTH, config["max_position_embeddings"])
    ids = np.random.default_rng(0).integers(config["vocab_size"], size=(_ROWS, length), dtype=np.int32)
    mask = (np.arange(length) < np.array([[length], [length // 2], [1]])).astype(np.int32)
    types = np.broadcast_to(np.arange(length, dtype=np.int32) % config["type_vocab_size"], ids.shape)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def _encoder(model: Any, description: Description) -> Any:
    """Return the part of a model that is the encoder; TFBertModel has it as a layer, like the models with heads."""
    try:
        return model.bert
    except AttributeError as error:
        raise CheckpointError(
            f"{description.path} is compared with the encoder that is built from it, and {type(model).__name__} has "
            "none called `bert`. Keep it as that attribute of your model."
        ) from error
