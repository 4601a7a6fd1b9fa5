"""The supported encoder architectures, one row per `model_type` of config.json."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bertbundle.contract.manifest import InputSpec
from bertbundle_export.errors import CheckpointError

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "bert_inputs",
    "check_config",
    "class_suffix",
    "complete_config",
    "find_architecture",
    "is_placeholder",
]

_BERT_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "positions": "max_position_embeddings",
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture that transformers has TensorFlow classes for.

    Attributes:
        stem: part of the class names: ``TF`` + stem + ``ForTokenClassification``.
        sizes: config.json's keys of vocab_size, hidden_size, layers, heads and positions.
        token_types: whether the model takes token_type_ids.
        counts_from_padding: whether the first token has the position pad_token_id + 1, as RoBERTa's.
        default_padding: pad_token_id of a configuration that has none.
    """

    stem: str
    sizes: Mapping[str, str] = field(default_factory=lambda: _BERT_SIZES)
    token_types: bool = True
    counts_from_padding: bool = False
    default_padding: int = 0

    def inputs(self, config: Mapping[str, Any]) -> tuple[InputSpec, ...]:
        """Return the inputs of every signature."""
        return bert_inputs(
            vocab_size=config[self.sizes["vocab_size"]],
            type_vocab_size=config.get("type_vocab_size", 2) if self.token_types else 0,
            pad_id=self.padding(config),
        )

    def padding(self, config: Mapping[str, Any]) -> int:
        """Return the id of the padding token."""
        value = config.get("pad_token_id")
        return self.default_padding if value is None else int(value)

    def size(self, config: Mapping[str, Any], name: str) -> int:
        """Return vocab_size, hidden_size, layers, heads or positions (without the reserved ones)."""
        value = int(config[self.sizes[name]])
        return value - self.unused_positions(config) if name == "positions" else value

    def unused_positions(self, config: Mapping[str, Any]) -> int:
        """Return the number of position embeddings that no token uses."""
        return self.padding(config) + 1 if self.counts_from_padding else 0


ARCHITECTURES: Mapping[str, Architecture] = {
    "bert": Architecture("Bert"),
    "roberta": Architecture("Roberta", token_types=False, counts_from_padding=True, default_padding=1),
    "distilbert": Architecture(
        "DistilBert",
        sizes=_BERT_SIZES | {"hidden_size": "dim", "layers": "n_layers", "heads": "n_heads"},
        token_types=False,
    ),
    "electra": Architecture("Electra"),
    "albert": Architecture("Albert"),
}

# Settings that the TensorFlow classes ignore: with any other value a model would load, but compute something else.
# For each, the only supported value, and transformers' default.
_FIXED_SETTINGS: Mapping[str, tuple[Any, Any]] = {
    "position_embedding_type": ("absolute", "absolute"),
    "is_decoder": (False, False),
    "add_cross_attention": (False, False),
    "inner_group_num": (1, 1),
}
# Other names of activations that transformers' TensorFlow classes have; PyTorch's classes know them.
_ACTIVATIONS = {"gelu_python": "gelu", "gelu_pytorch_tanh": "gelu_new", "gelu_accurate": "gelu_new"}
_ACTIVATION_KEYS = ("hidden_act", "activation")
# A configuration with one of these keys is not BERT's.
_NOT_BERT = ("embedding_size", "dim", "n_layers", "relax_projection", "max_relative_position")


@dataclass(frozen=True, slots=True)
class _Check:
    """A check of a setting's value, and how messages describe it."""

    expected: str
    is_valid: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


_COUNT = _Check("a whole number above 0", lambda value: type(value) is int and value > 0)
_RATE = _Check("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
# Optional settings that are checked, because with a value of another type the classes would fail with an obscure error,
# or compute something else.
_TYPED_SETTINGS: Mapping[str, _Check] = {
    "intermediate_size": _COUNT,
    "hidden_dim": _COUNT,
    "embedding_size": _COUNT,
    "type_vocab_size": _COUNT,
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
_PLACEHOLDER = re.compile(r"LABEL_\d+")
_CLASS_NAME = re.compile(rf"(?:TF)?({'|'.join(row.stem for row in ARCHITECTURES.values())})(For\w+|Model)")


def bert_inputs(*, vocab_size: int, type_vocab_size: int, pad_id: int) -> tuple[InputSpec, ...]:
    """Return BERT's inputs; the mask is always one of them, otherwise the model would attend to padding.

    Args:
        vocab_size: number of tokens.
        type_vocab_size: number of token types; 0 for a model without `token_type_ids`.
        pad_id: id of the padding token.
    """
    types = (InputSpec("token_type_ids", "int32", 0, type_vocab_size),) if type_vocab_size else ()
    return (InputSpec("input_ids", "int32", pad_id, vocab_size), InputSpec("attention_mask", "int32", 0, 2), *types)


def complete_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the settings that older tools left out, and with transformers' names of values.

    - ``model_type``: of the class in ``architectures``, else BERT's, unless a key belongs to another architecture.
    - ``id2label``: from ``label2id``, also if its labels are LABEL_0, LABEL_1, ..., which transformers writes for none.
    - activations by the names of transformers' TensorFlow classes.
    """
    completed = dict(config)
    if "model_type" not in config and (kind := _infer_model_type(config)):
        completed["model_type"] = kind
    numbers = config.get("label2id")
    if isinstance(numbers, dict) and numbers and _states_nothing(config.get("id2label")):
        completed["id2label"] = {number: label for label, number in numbers.items()}
    for key in _ACTIVATION_KEYS:
        if key in config and isinstance(config[key], str):
            completed[key] = _ACTIVATIONS.get(config[key], config[key])
    return completed


def _states_nothing(labels: Any) -> bool:
    return not labels or (isinstance(labels, dict) and all(is_placeholder(str(label)) for label in labels.values()))


def is_placeholder(label: str) -> bool:
    """Return whether a label is one that transformers writes if there are none: LABEL_0, LABEL_1, ...."""
    return _PLACEHOLDER.fullmatch(label) is not None


def _infer_model_type(config: Mapping[str, Any]) -> str | None:
    names = config.get("architectures") or []
    match = _CLASS_NAME.fullmatch(str(names[0])) if isinstance(names, list) and names else None
    if match:
        return next(kind for kind, row in ARCHITECTURES.items() if row.stem == match.group(1))
    is_bert = not names and config.keys() >= {*_BERT_SIZES.values()} and not any(key in config for key in _NOT_BERT)
    return "bert" if is_bert else None


def find_architecture(config: Mapping[str, Any], path: object) -> Architecture:
    """Return the architecture of a configuration's model_type.

    Raises:
        CheckpointError: the model_type is not supported.
    """
    kind = config.get("model_type")
    if kind is None:
        raise CheckpointError(f'{path} has no model_type. Add "model_type" to it, one of {", ".join(ARCHITECTURES)}.')
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise CheckpointError(f"{path} has model_type {kind!r}, expected one of {', '.join(ARCHITECTURES)}.")
    return ARCHITECTURES[kind]


def check_config(config: Mapping[str, Any], path: object) -> None:
    """Check that a configuration has a supported architecture, all its sizes, and no setting that would be ignored.

    Raises:
        CheckpointError: it does not.
    """
    architecture = find_architecture(config, path)
    missing = [key for key in architecture.sizes.values() if config.get(key) is None]
    if missing:
        raise CheckpointError(f"{path} has no number for {', '.join(missing)}.")
    _check_types(config, {**dict.fromkeys(architecture.sizes.values(), _COUNT), **_TYPED_SETTINGS}, path)
    pad, vocabulary = architecture.padding(config), architecture.size(config, "vocab_size")
    if pad >= vocabulary:
        raise CheckpointError(f"{path} has pad_token_id {pad}, expected one below vocab_size {vocabulary}.")
    for key, (supported, default) in _FIXED_SETTINGS.items():
        if config.get(key, default) != supported:
            raise CheckpointError(
                f"{path} has {key} {config[key]!r}, which transformers' TensorFlow classes do not support. Only "
                f"{supported!r} can be exported."
            )


def _check_types(config: Mapping[str, Any], checks: Mapping[str, _Check], path: object) -> None:
    for key, check in checks.items():
        if key in config and not check.is_valid(config[key]):
            raise CheckpointError(f"{path} has {key} {config[key]!r}, expected {check.expected}.")


def class_suffix(name: str) -> str | None:
    """Return "ForTokenClassification" for "TFBertForTokenClassification"; None for an unsupported class name."""
    match = _CLASS_NAME.fullmatch(name)
    return match.group(2) if match else None
