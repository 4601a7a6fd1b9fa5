"""Assign the weights of a checkpoint to the variables of a Keras model, strictly."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.checkpoints.base import StateDict
from bertbundle_export.checkpoints.layer_names import normalize_layer_names
from bertbundle_export.errors import CheckpointError
from bertbundle_export.tasks import Task

__all__ = ["assign_weights"]

# Weights that may be unused: buffers of old PyTorch checkpoints, pre-training heads, and the pooler, which most heads
# do not read.
_MAY_BE_UNUSED = re.compile(
    r"position_ids$|^cls\b|^(nsp|mlm)__|seq_relationship|predictions|pooler|^dropout|^lm_head|^vocab_|^sop_classifier"
)
_MAY_BE_UNUSED_IN_CUSTOM_MODEL = re.compile(r"position_ids$|\bpooler\.dense\.")
# The fill-mask decoders of BERT, RoBERTa, ALBERT, DistilBERT and ELECTRA.
_DECODER = re.compile(r"(predictions|lm_head)\.decoder\.weight$|^vocab_projector\.weight$|^generator_lm_head\.weight$")
_DECODER_BIAS = re.compile(r"(?:(?<=\bpredictions\.)|(?<=\blm_head\.))decoder\.bias$")
_ENCODER = re.compile(r"\b(embeddings|encoder|transformer)\b")


@dataclass(frozen=True, slots=True)
class _Problems:
    """The names of the weights with problems, by kind of problem."""

    missing: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def describe(self, task: Task) -> str:
        """Return a description of the problems; feature extraction needs no pooler, so it may be missing."""
        without_pooler = task.name == "feature-extraction" and all("pooler" in name for name in self.missing)
        texts = {
            "no weights for {} of the model": [] if without_pooler else self.missing,
            "shapes that differ from config.json for {}": self.mismatched,
            "values that are not finite floats in {}": self.invalid,
            "weights that the model does not have: {}": self.unused,
        }
        return "; ".join(text.format(_list_some(names)) for text, names in texts.items() if names)


def assign_weights(model: Any, weights: StateDict, task: Task, *, label: str, is_custom: bool) -> list[str]:
    """Assign every variable its weight. Return the variables without one, always of a pooler that is not needed.

    Args:
        model: a built Keras model.
        weights: see `StateDict`.
        task: feature extraction ignores the weights of any head.
        label: what error messages call the checkpoint.
        is_custom: whether the model is the user's own class: then only BERT's pooler may be unused.

    Raises:
        CheckpointError: a variable would keep its random initial value, or weights would be ignored.
    """
    stored = _normalized(_with_shared_bias({_modern_name(name): name for name in weights}))
    problems = _Problems()
    used: set[str] = set()
    for name, variable, transpose in _named_variables(model):
        alias = next((alias for alias in _aliases(model, name) if alias in stored and alias not in used), None)
        if alias is None:
            problems.missing.append(variable.name.removesuffix(":0"))
            continue
        used.add(alias)
        _assign(variable, _transpose(transpose, weights[stored[alias]]), stored[alias], problems)
    pattern = _MAY_BE_UNUSED_IN_CUSTOM_MODEL if is_custom else _MAY_BE_UNUSED
    unused = (name for name in stored if name not in used and not _may_be_unused(name, task, pattern))
    problems.unused.extend(stored[name] for name in unused)
    if task.name == "fill-mask" and (decoder := _untied_decoder(stored, weights)):
        raise CheckpointError(
            f"{label} has {decoder}, which differs from the word embeddings (tie_word_embeddings is false): "
            "transformers' TensorFlow classes predict tokens by the word embeddings only. Export the model from "
            "Python, with its own code: export_bundle(model, ...)."
        )
    if task.name == "fill-mask" and (bias := _other_bias(stored, weights)):
        raise CheckpointError(
            f"{label} has {bias}, which differs from the bias of the head: a model has one of them, and the file does "
            "not say which. Load it with the code that it was trained with, and save it again."
        )
    if text := problems.describe(task):
        raise CheckpointError(
            f"{label} has {text}. Check --task and --labels against what the checkpoint was trained for. Export a "
            "custom head with --model-class, or as a live model from Python."
        )
    return problems.missing


def _untied_decoder(stored: Mapping[str, str], weights: StateDict) -> str | None:
    """Return the name of a fill-mask decoder that is not the word embeddings; None if the checkpoint has none."""
    embeddings = [weights[name] for alias, name in stored.items() if alias.endswith("word_embeddings.weight")]
    decoders = [name for alias, name in stored.items() if _DECODER.search(alias)]
    return next((name for name in decoders if not any(np.array_equal(weights[name], e) for e in embeddings)), None)


def _other_bias(stored: Mapping[str, str], weights: StateDict) -> str | None:
    """Return the name of a decoder's bias that is not the head's; None if they are the same, or only one is stored."""
    pairs = ((name, _DECODER_BIAS.sub("bias", name)) for name in stored if _DECODER_BIAS.search(name))
    both = [(stored[name], stored[other]) for name, other in pairs if other in stored]
    return next((name for name, other in both if not np.array_equal(weights[name], weights[other])), None)


def _assign(variable: Any, value: npt.NDArray[Any], name: str, problems: _Problems) -> None:
    if value.shape != tuple(variable.shape):
        problems.mismatched.append(f"{name} {list(value.shape)}, expected {list(variable.shape)}")
    elif value.dtype.kind != "f" or not np.isfinite(value).all():
        problems.invalid.append(f"{name} ({value.dtype})")
    else:
        variable.assign(value)


def _normalized(stored: Mapping[str, str]) -> dict[str, str]:
    normalized = normalize_layer_names(stored)
    return {normalized[name]: stored_name for name, stored_name in stored.items()}


def _modern_name(name: str) -> str:
    """Return a weight's name in PyTorch's spelling: old converted checkpoints kept gamma and beta."""
    return re.sub(r"\.beta$", ".bias", re.sub(r"\.gamma$", ".weight", name))


def _with_shared_bias(stored: Mapping[str, str]) -> dict[str, str]:
    """Rename the bias of a fill-mask decoder if it is stored only there: PyTorch's classes share it with the head."""
    renamed = {name: _DECODER_BIAS.sub("bias", name) for name in stored}
    return {name if renamed[name] in stored else renamed[name]: key for name, key in stored.items()}


def _named_variables(model: Any) -> list[tuple[str, Any, Any]]:
    """Return each variable with its name in PyTorch's spelling, and how its value is transposed."""
    from transformers.modeling_tf_pytorch_utils import convert_tf_weight_name_to_pt_weight_name

    # transformers removes the model's name, which the variables of a functional model do not begin with.
    names = [variable.name for variable in model.variables]
    scoped = [name if name.startswith(f"{model.name}/") else f"{model.name}/{name}" for name in names]
    shapes = [variable.shape for variable in model.variables]
    converted = [
        convert_tf_weight_name_to_pt_weight_name(name, tf_weight_shape=shape)
        for name, shape in zip(scoped, shapes, strict=True)
    ]
    normalized = normalize_layer_names(name for name, _ in converted)
    return [
        (normalized[name], variable, transpose)
        for (name, transpose), variable in zip(converted, model.variables, strict=True)
    ]


def _aliases(model: Any, name: str) -> Iterator[str]:
    """Yield the names that a variable may have in a checkpoint, with and without the base model's name."""
    rename = getattr(model, "tf_to_pt_weight_rename", lambda name: (name,))
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    yield from rename(name)
    yield from (alias.removeprefix(prefix) for alias in rename(name))


def _transpose(transpose: Any, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    from transformers.modeling_tf_pytorch_utils import apply_transpose

    transposed: npt.NDArray[Any] = apply_transpose(transpose, value)
    return transposed


def _may_be_unused(name: str, task: Task, pattern: re.Pattern[str]) -> bool:
    if pattern.search(name):
        return True
    # Features are computed by the encoder alone: any head may be unused.
    return task.name == "feature-extraction" and not _ENCODER.search(name)


def _list_some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
