"""The encoder architectures, by the `model_type` of config.json: one row each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bertbundle.contract.manifest import InputSpec
from bertbundle_export.errors import CheckpointError

__all__ = ["ENCODERS", "Encoder", "bert_inputs", "check_config", "find_encoder", "split_architecture"]

_BERT_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "positions": "max_position_embeddings",
}


@dataclass(frozen=True, slots=True)
class Encoder:
    """An architecture that transformers has TensorFlow classes for.

    Attributes:
        stem: of their names: ``TF`` + stem + ``ForTokenClassification``.
        sizes: key in config.json of vocab_size, hidden_size, layers, heads and positions.
        token_types: whether the model has token_type_ids.
        reserved_positions: how many position embeddings no token uses: RoBERTa counts from pad_token_id + 1.
    """

    stem: str
    sizes: Mapping[str, str] = field(default_factory=lambda: _BERT_SIZES)
    token_types: bool = True
    reserved_positions: int = 0

    def inputs(self, config: Mapping[str, Any]) -> tuple[InputSpec, ...]:
        """Return the inputs of every signature."""
        return bert_inputs(
            vocab_size=config[self.sizes["vocab_size"]],
            type_vocab_size=config.get("type_vocab_size", 2) if self.token_types else 0,
            pad_id=config.get("pad_token_id") or 0,
        )

    def size(self, config: Mapping[str, Any], name: str) -> int:
        """Return vocab_size, hidden_size, layers, heads or positions (those that tokens can use)."""
        value = int(config[self.sizes[name]])
        return value - self.reserved_positions if name == "positions" else value


ENCODERS: Mapping[str, Encoder] = {
    "bert": Encoder("Bert"),
    "roberta": Encoder("Roberta", token_types=False, reserved_positions=2),
    "distilbert": Encoder(
        "DistilBert",
        sizes=_BERT_SIZES | {"hidden_size": "dim", "layers": "n_layers", "heads": "n_heads"},
        token_types=False,
    ),
    "electra": Encoder("Electra"),
    "albert": Encoder("Albert"),
}

# Settings that the TensorFlow classes do not follow: they would load, run, and answer something else.
_KNOWN_SETTINGS: Mapping[str, tuple[Any, Any]] = {
    "position_embedding_type": ("absolute", "absolute"),
    "is_decoder": (False, False),
    "add_cross_attention": (False, False),
}


@dataclass(frozen=True, slots=True)
class _Check:
    """What a setting's value must be, and how a message says so."""

    expected: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


_COUNT = _Check("a whole number above 0", lambda value: type(value) is int and value > 0)
_RATE = _Check("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
# Settings that the classes would fail over, or not notice, where they are of another type; only if they are there.
_TYPED_SETTINGS: Mapping[str, _Check] = {
    "intermediate_size": _COUNT,
    "hidden_dim": _COUNT,
    "embedding_size": _COUNT,
    "type_vocab_size": _Check("a whole number, at least 0", lambda value: type(value) is int and value >= 0),
    "layer_norm_eps": _Check("a number above 0", lambda value: _is_number(value) and value > 0),
    "hidden_act": _Check("the name of an activation", lambda value: isinstance(value, str)),
    "activation": _Check("the name of an activation", lambda value: isinstance(value, str)),
    "pad_token_id": _Check(
        "a whole number, at least 0, or null", lambda value: value is None or (type(value) is int and value >= 0)
    ),
    "initializer_range": _Check("a number, at least 0", lambda value: _is_number(value) and value >= 0),
    "hidden_dropout_prob": _RATE,
    "attention_probs_dropout_prob": _RATE,
}
_ARCHITECTURE = re.compile(rf"(?:TF)?({'|'.join(row.stem for row in ENCODERS.values())})(For\w+|Model)")


def bert_inputs(*, vocab_size: int, type_vocab_size: int, pad_id: int) -> tuple[InputSpec, ...]:
    """Return BERT's inputs; the mask is always one of them, or padding would be attended to.

    Args:
        vocab_size: number of tokens.
        type_vocab_size: number of token types; 0 for a model without `token_type_ids`.
        pad_id: what pads `input_ids`.
    """
    types = (InputSpec("token_type_ids", "int32", 0, type_vocab_size),) if type_vocab_size else ()
    return (InputSpec("input_ids", "int32", pad_id, vocab_size), InputSpec("attention_mask", "int32", 0, 2), *types)


def find_encoder(config: Mapping[str, Any], where: object) -> Encoder:
    """Return the row of a configuration's model_type.

    Raises:
        CheckpointError: it is not known here.
    """
    kind = config.get("model_type", "not stated")
    if not isinstance(kind, str) or kind not in ENCODERS:
        raise CheckpointError(f"{where} has model_type {kind!r}, expected one of {', '.join(ENCODERS)}.")
    return ENCODERS[kind]


def check_config(config: Mapping[str, Any], where: object) -> None:
    """Check that a configuration names an architecture known here, its sizes, and nothing that would be ignored.

    Raises:
        CheckpointError: it does not.
    """
    encoder = find_encoder(config, where)
    missing = [key for key in encoder.sizes.values() if config.get(key) is None]
    if missing:
        raise CheckpointError(f"{where} has no number for {', '.join(missing)}.")
    for key, check in {**dict.fromkeys(encoder.sizes.values(), _COUNT), **_TYPED_SETTINGS}.items():
        if key in config and not check.holds(config[key]):
            raise CheckpointError(f"{where} has {key} {config[key]!r}, expected {check.expected}.")
    pad, vocabulary = config.get("pad_token_id") or 0, encoder.size(config, "vocab_size")
    if pad >= vocabulary:
        raise CheckpointError(f"{where} has pad_token_id {pad}, expected one below vocab_size {vocabulary}.")
    for key, (known, default) in _KNOWN_SETTINGS.items():
        if config.get(key, default) != known:
            raise CheckpointError(
                f"{where} has {key} {config[key]!r}, which transformers' TensorFlow classes ignore or compute "
                f"otherwise; only {known!r} can be exported."
            )


def split_architecture(name: str) -> str | None:
    """Return the head of an architecture's name: "ForTokenClassification" of "TFBertForTokenClassification"."""
    match = _ARCHITECTURE.fullmatch(name)
    return match.group(2) if match else None
