"""Build the Keras model that a description speaks of, and give every variable its value."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bertbundle.errors import CheckpointError
from bertbundle.manifest import Source
from bertbundle_export import tokenization
from bertbundle_export.checkpoints.base import Description, LoadOptions, StateDict
from bertbundle_export.checkpoints.detect import describe_checkpoint, find_format
from bertbundle_export.encoders import find_encoder, split_architecture
from bertbundle_export.model import SourceModel, choose_labels, count_parameters, multi_label
from bertbundle_export.tasks import POOLINGS, TASKS, Task, check_task

__all__ = ["find_task", "load_checkpoint", "stored_labels"]

# What may be left over: non-weights that old PyTorch checkpoints carry, heads of pre-training, and the pooler, which
# most heads have no use for.
_EXPECTED_EXTRA = re.compile(
    r"position_ids$|^cls\b|^(nsp|mlm)__|seq_relationship|predictions|pooler|^dropout|^lm_head|^vocab_|^sop_classifier"
)
_ENCODER = re.compile(r"\b(embeddings|encoder|transformer)\b")


def load_checkpoint(path: Path, name: str, options: LoadOptions) -> SourceModel:
    """Load a checkpoint of any format; `name` is the source as the user gave it.

    Raises:
        CheckpointError: it cannot be read, or does not hold together. Nothing is ever loaded in part.
    """
    description = describe_checkpoint(path, options)
    task = find_task(description, options)
    labels = _labels(description, task, options)
    _load_quietly()
    tokenizer = load_tokenizer(description, options)
    vocab_size = find_encoder(description.config, path).size(description.config, "vocab_size")
    tokenization.check_tokenizer(tokenizer, vocab_size)
    pooling, normalized = _pooling(description, task, options)
    model = _build(description, task, labels, options)
    weights = find_format(path, description.format).read(description, options)
    missing = _assign(model, weights, description, task)
    return SourceModel(
        keras=model,
        task=task.name,
        tokenizer=tokenizer,
        source=_source(name, description, model),
        inputs=find_encoder(description.config, path).inputs(description.config),
        max_positions=find_encoder(description.config, path).size(description.config, "positions"),
        labels=labels,
        multi_label=multi_label(description.config.get("problem_type"), options.multi_label),
        pooling=pooling,
        normalized=normalized,
        last_layers=options.last_layers,
        dropped_outputs=frozenset({"pooler_output"} if missing else ()),
    )


def load_tokenizer(description: Description, options: LoadOptions) -> Any:
    """Load the tokenizer of a checkpoint, or the one given in its place."""
    path = options.tokenizer or description.tokenizer
    if path is None:
        raise CheckpointError(
            f"{description.path} has no tokenizer. Pass --tokenizer, a directory or the vocab.txt it was trained with."
        )
    lowercase = description.lowercase if options.lowercase is None else options.lowercase
    return tokenization.load_tokenizer(path, lowercase=lowercase)


def find_task(description: Description, options: LoadOptions) -> Task:
    """Return the task that is asked for, or that the architecture was trained for.

    Raises:
        CheckpointError: the architecture names none.
    """
    if options.task is not None:
        return check_task(options.task)
    stated = architecture(description)
    head = split_architecture(stated)
    regression = description.config.get("problem_type") == "regression" or len(stored_labels(description.config)) == 1
    for task in TASKS.values():
        if task.head == head and (task.regression == regression or head != "ForSequenceClassification"):
            return task
    raise CheckpointError(
        f"{description.path} has architecture {stated}, which names no task. Pass --task, one of {', '.join(TASKS)}."
    )


def architecture(description: Description) -> str:
    """Return the class name of the model that the weights belong to."""
    stated = description.config.get("architectures") or []
    return stated if isinstance(stated, str) else str(next(iter(stated), "not stated"))


def stored_labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels of a config.json in the order of the class indices; none if it has none.

    Raises:
        CheckpointError: they are not numbered from 0.
    """
    stored = config.get("id2label") or {}
    try:
        by_index = {int(index): str(label) for index, label in stored.items()}
        return tuple(by_index[index] for index in range(len(by_index)))
    except (AttributeError, KeyError, ValueError) as error:
        raise CheckpointError(f"config.json has an id2label that is not numbered 0 to n-1: {stored}.") from error


def _labels(description: Description, task: Task, options: LoadOptions) -> tuple[str, ...]:
    return choose_labels(options.labels or stored_labels(description.config), task) if task.has_labels else ()


def _load_quietly() -> None:
    """Load TensorFlow before transformers: after it, and after torch, TensorFlow's C++ side does not keep quiet."""
    import bertbundle_export.quiet  # noqa: F401


def _pooling(description: Description, task: Task, options: LoadOptions) -> tuple[str, bool]:
    if task.name != "feature-extraction":
        return "none", False
    pooling = options.pooling or description.pooling or "mean"
    if pooling not in POOLINGS:
        raise CheckpointError(
            f"{description.path} makes its sentence embedding by {pooling}, which is not known here. Pass --pooling, "
            f"one of {', '.join(POOLINGS)}, if that will do."
        )
    return pooling, description.normalize if options.normalize is None else options.normalize


# ---- the model


def _build(description: Description, task: Task, labels: Sequence[str], options: LoadOptions) -> Any:
    from bertbundle_export.quiet import transformers

    settings = dict(description.config)
    kind = settings.pop("model_type")
    for key in ("id2label", "label2id", "num_labels"):
        settings.pop(key, None)
    if labels:
        settings["id2label"] = dict(enumerate(labels))
        settings["label2id"] = {label: index for index, label in enumerate(labels)}
    elif task.regression:
        settings["num_labels"] = 1
    arguments = dict(options.init_args)
    config = transformers.AutoConfig.for_model(kind, **settings, output_hidden_states=options.last_layers > 1)
    for key in [key for key in arguments if hasattr(config, key)]:
        setattr(config, key, arguments.pop(key))
    if options.model_class is None:
        make = getattr(transformers, f"TF{find_encoder(description.config, description.path).stem}{task.head}")
    else:
        make = import_name(options.model_class)
    try:
        model = make(config, **arguments)
        if options.model_class is None:
            model.build_in_name_scope()
        else:  # a user's own layers may have no `build`: they are built by a call
            model(model.dummy_inputs, training=False)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{options.model_class or make.__name__} cannot be made from {description.path}: {error}."
        ) from error
    return model


def import_name(name: str) -> Any:
    """Import ``module:name``, also from the working directory, as `python -m` does.

    Raises:
        CheckpointError: there is no such module, or no such name in it.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise CheckpointError(f"--model-class must be module:Class, as in my_project.model:BertNerModel, got {name!r}.")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(f"--model-class {name}: {error}. Run it from the directory that has {module}.") from error


def _assign(model: Any, weights: StateDict, description: Description, task: Task) -> list[str]:
    """Give every variable its value, and return what was rightly missing: a pooler that features can do without.

    Refuses a model of which a part kept its random initial values, or that leaves weights of the checkpoint out.
    """
    stored = {_modern(name): name for name in weights}
    missing, mismatched = [], []
    used: set[str] = set()
    for variable in model.variables:
        name, value = _find(model, variable, stored, weights)
        if value is None:
            missing.append(name)
        elif value.shape != tuple(variable.shape):
            mismatched.append(f"{name} {list(value.shape)}, expected {list(variable.shape)}")
        else:
            variable.assign(value)
        used.add(name)
    extra = [name for name in stored if name not in used and not _may_be_left_out(name, task)]
    without_pooler = task.name == "feature-extraction" and all("pooler" in name for name in missing)
    found = {
        "no weights for {} of the model": [] if without_pooler else missing,
        "other shapes than config.json says for {}": mismatched,
        "weights that the model has no place for: {}": extra,
    }
    wrong = [text.format(_some(names)) for text, names in found.items() if names]
    if wrong:
        raise CheckpointError(
            f"{description.path} ({architecture(description)}) has {'; '.join(wrong)}. Check --task and --labels "
            "against what the checkpoint was trained for; a head of your own exports with --model-class, or live, from "
            "Python."
        )
    return missing


def _modern(name: str) -> str:
    """Return a weight's name in PyTorch's spelling: checkpoints converted long ago kept gamma and beta."""
    return re.sub(r"\.beta$", ".bias", re.sub(r"\.gamma$", ".weight", name))


def _find(model: Any, variable: Any, stored: Mapping[str, str], weights: StateDict) -> tuple[str, Any]:
    """Return a variable's name in the checkpoint, and its value in the variable's layout, or None."""
    from transformers.modeling_tf_pytorch_utils import apply_transpose, convert_tf_weight_name_to_pt_weight_name

    name, transpose = convert_tf_weight_name_to_pt_weight_name(variable.name, tf_weight_shape=variable.shape)
    rename = getattr(model, "tf_to_pt_weight_rename", lambda name: (name,))
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    for alias in (*rename(name), *(alias.removeprefix(prefix) for alias in rename(name))):
        if alias in stored:
            return alias, apply_transpose(transpose, weights[stored[alias]])
    return name, None


def _may_be_left_out(name: str, task: Task) -> bool:
    if _EXPECTED_EXTRA.search(name):
        return True
    # The encoder is all that features are made of: any head may stay behind.
    return task.name == "feature-extraction" and not _ENCODER.search(name)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _source(name: str, description: Description, model: Any) -> Source:
    encoder = find_encoder(description.config, description.path)
    return Source(
        format=description.format,
        name=name,
        architecture=architecture(description),
        layers=encoder.size(description.config, "layers"),
        hidden_size=encoder.size(description.config, "hidden_size"),
        vocab_size=encoder.size(description.config, "vocab_size"),
        parameters=count_parameters(model),
    )
