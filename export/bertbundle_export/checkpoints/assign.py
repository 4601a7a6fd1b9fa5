"""Give every variable of a Keras model its value from a checkpoint, strictly."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.checkpoints.base import StateDict
from bertbundle_export.checkpoints.layer_names import renumber
from bertbundle_export.errors import CheckpointError
from bertbundle_export.tasks import Task

__all__ = ["assign_weights"]

# What may be left over: non-weights that old PyTorch checkpoints carry, heads of pre-training, and the pooler, which
# most heads have no use for.
_EXPECTED_EXTRA = re.compile(
    r"position_ids$|^cls\b|^(nsp|mlm)__|seq_relationship|predictions|pooler|^dropout|^lm_head|^vocab_|^sop_classifier"
)
_ENCODER = re.compile(r"\b(embeddings|encoder|transformer)\b")


_OF_OWN_MODEL = re.compile(r"position_ids$|\bpooler\.dense\.")


def assign_weights(model: Any, weights: StateDict, task: Task, *, where: str, own: bool) -> list[str]:
    """Give every variable its value, and return what was rightly missing: a pooler that features can do without.

    Args:
        model: a built Keras model.
        weights: see `StateDict`.
        task: says what may be left out.
        where: what the weights are, for the message.
        own: whether the model is of the user's own code: nothing but BERT's pooler may be left out then.

    Raises:
        CheckpointError: a part of the model would keep its random initial values, or weights would be left out.
    """
    stored = _renumbered({_modern(name): name for name in weights})
    missing, mismatched, broken = [], [], []
    used: set[str] = set()
    for name, variable, transpose in _named_variables(model):
        alias = next((alias for alias in _aliases(model, name) if alias in stored and alias not in used), name)
        value = _in_layout(transpose, weights[stored[alias]]) if alias in stored and alias not in used else None
        if value is None:
            missing.append(variable.name.removesuffix(":0"))
        elif value.shape != tuple(variable.shape):
            mismatched.append(f"{stored[alias]} {list(value.shape)}, expected {list(variable.shape)}")
        elif value.dtype.kind != "f" or not np.isfinite(value).all():
            broken.append(f"{stored[alias]} ({value.dtype})")
        else:
            variable.assign(value)
        used.add(alias)
    allowed = _OF_OWN_MODEL if own else _EXPECTED_EXTRA
    extra = [stored[name] for name in stored if name not in used and not _may_be_left_out(name, task, allowed)]
    without_pooler = task.name == "feature-extraction" and all("pooler" in name for name in missing)
    found = {
        "no weights for {} of the model": [] if without_pooler else missing,
        "other shapes than config.json says for {}": mismatched,
        "values that are no finite floats in {}": broken,
        "weights that the model has no place for: {}": extra,
    }
    wrong = [text.format(_some(names)) for text, names in found.items() if names]
    if wrong:
        raise CheckpointError(
            f"{where} has {'; '.join(wrong)}. Check --task and --labels against what the checkpoint was trained for; a "
            "head of your own exports with --model-class, or live, from Python."
        )
    return missing


def _renumbered(stored: Mapping[str, str]) -> dict[str, str]:
    numbered = renumber(stored)
    return {numbered[name]: original for name, original in stored.items()}


def _modern(name: str) -> str:
    """Return a weight's name in PyTorch's spelling: checkpoints converted long ago kept gamma and beta."""
    return re.sub(r"\.beta$", ".bias", re.sub(r"\.gamma$", ".weight", name))


def _named_variables(model: Any) -> list[tuple[str, Any, Any]]:
    """Return each variable with its name in PyTorch's spelling, and how its value is transposed."""
    from transformers.modeling_tf_pytorch_utils import convert_tf_weight_name_to_pt_weight_name as convert

    # A functional model's variables do not begin with the model's name, which `convert` takes away.
    names = [variable.name for variable in model.variables]
    scoped = [name if name.startswith(f"{model.name}/") else f"{model.name}/{name}" for name in names]
    shapes = [variable.shape for variable in model.variables]
    converted = [convert(name, tf_weight_shape=shape) for name, shape in zip(scoped, shapes, strict=True)]
    numbered = renumber(name for name, _ in converted)
    return [(numbered[name], variable, how) for (name, how), variable in zip(converted, model.variables, strict=True)]


def _aliases(model: Any, name: str) -> Iterator[str]:
    """Give the names that a variable may have in a checkpoint: also without the name of the base model."""
    rename = getattr(model, "tf_to_pt_weight_rename", lambda name: (name,))
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    yield from rename(name)
    yield from (alias.removeprefix(prefix) for alias in rename(name))


def _in_layout(transpose: Any, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    from transformers.modeling_tf_pytorch_utils import apply_transpose

    turned: npt.NDArray[Any] = apply_transpose(transpose, value)
    return turned


def _may_be_left_out(name: str, task: Task, allowed: re.Pattern[str]) -> bool:
    if allowed.search(name):
        return True
    # The encoder is all that features are made of: any head may stay behind.
    return task.name == "feature-extraction" and not _ENCODER.search(name)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
