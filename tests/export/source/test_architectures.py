"""The checks of the settings in config.json."""

from __future__ import annotations

from typing import Any

import pytest

from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.architectures import check_config


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("pad_token_id", "0", "a whole number, at least 0, or null"),
        ("pad_token_id", -1, "a whole number, at least 0, or null"),
        ("pad_token_id", 10**6, "one below vocab_size"),
        ("model_type", ["bert"], "one of bert"),
        ("hidden_size", "32", "a whole number above 0"),
        ("num_hidden_layers", True, "a whole number above 0"),
        ("intermediate_size", "64", "a whole number above 0"),
        ("type_vocab_size", "2", "a whole number, at least 0"),
        ("layer_norm_eps", "1e-12", "a number above 0"),
        ("hidden_act", None, "the name of an activation"),
        ("hidden_dropout_prob", "0.1", "a number from 0 to 1"),
    ],
)
def test_settings_have_types(key: str, value: Any, expected: str) -> None:
    """A setting with a wrong type or value raises one error with its name, what was found and what was expected."""
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
    config: dict[str, Any] = {"model_type": "bert", **dict.fromkeys(sizes, 8)}
    check_config(config | {"hidden_act": "gelu", "pad_token_id": None, "layer_norm_eps": 1e-12}, "config.json")
    with pytest.raises(CheckpointError, match=rf"has {key} .*, expected {expected}"):
        check_config(config | {key: value}, "config.json")
