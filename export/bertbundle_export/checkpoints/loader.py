"""Build the Keras model that a description speaks of, and give every variable its value."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bertbundle.contract.manifest import Source
from bertbundle_export.checkpoints.assign import assign_weights
from bertbundle_export.checkpoints.base import Description, LoadOptions
from bertbundle_export.checkpoints.graph_check import check_against_original
from bertbundle_export.checkpoints.registry import describe_checkpoint, find_format
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source import tokenization
from bertbundle_export.source.architectures import find_encoder, split_architecture
from bertbundle_export.source.model import (
    SourceModel,
    choose_labels,
    count_parameters,
    fixed_length,
    multi_label,
    taken_inputs,
)
from bertbundle_export.tasks import POOLINGS, TASKS, Task, check_task

__all__ = ["find_task", "load_checkpoint", "stored_labels"]

_ANY_LENGTH = 16
"""Tokens that a model is called with to build it: the shortest that is exported, convolutions may need some."""


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
    where = f"{description.path} ({architecture(description)})"
    missing = assign_weights(model, weights, task, where=where, own=options.model_class is not None)
    check_against_original(model, description)
    return SourceModel(
        keras=model,
        task=task.name,
        tokenizer=tokenizer,
        source=_source(name, description, model),
        inputs=taken_inputs(model, find_encoder(description.config, path).inputs(description.config)),
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
    one_class = len(stored_labels(description.config)) == 1 and not options.multi_label
    regression = description.config.get("problem_type") == "regression" or one_class
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
    stored = options.labels or stored_labels(description.config)
    return choose_labels(stored, task, independent=options.multi_label) if task.has_labels else ()


def _load_quietly() -> None:
    """Load TensorFlow before transformers: after it, and after torch, TensorFlow's C++ side does not keep quiet."""
    import bertbundle_export.tensorflow_import  # noqa: F401


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
    from bertbundle_export.tensorflow_import import transformers

    settings = dict(description.config)
    kind = settings.pop("model_type")
    for key in ("id2label", "label2id", "num_labels"):
        settings.pop(key, None)
    if labels:
        settings["id2label"] = dict(enumerate(labels))
        settings["label2id"] = {label: index for index, label in enumerate(labels)}
    elif task.regression:
        settings["num_labels"] = 1
    arguments = {**description.init_args, **options.init_args}
    if options.last_layers > 1:
        settings["output_hidden_states"] = True
    try:
        config = transformers.AutoConfig.for_model(kind, **settings)
        for key in [key for key in arguments if hasattr(config, key)]:
            setattr(config, key, arguments.pop(key))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{description.path} has a configuration that transformers refuses: {type(error).__name__}: {error}."
        ) from error
    own = options.model_class or description.model_class
    if own is not None:
        return _build_own(own, config, arguments, description)
    if arguments:
        raise CheckpointError(
            f"--init-args {', '.join(arguments)}: a configuration of model_type {kind} has no such setting. Arguments "
            "of a model of your own need --model-class."
        )
    name = f"TF{find_encoder(description.config, description.path).stem}{task.head}"
    try:
        model = getattr(transformers, name)(config)
        model.build_in_name_scope()
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{name} cannot be made from {description.path}: {error}.") from error
    return model


def _build_own(name: str, config: Any, arguments: Mapping[str, Any], description: Description) -> Any:
    """Make a model of somebody's own code; a call builds it, its layers may have no `build`."""
    from bertbundle_export.tensorflow_import import tf

    make = import_name(name)
    specs = find_encoder(description.config, description.path).inputs(description.config)
    try:
        model = make(config, **arguments)
        shape = (1, fixed_length(model) or _ANY_LENGTH)
        model({spec.name: tf.ones(shape, tf.int32) for spec in taken_inputs(model, specs)}, training=False)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{name} cannot be made for {description.path}: {type(error).__name__}: {error}. It is called with the "
            f"configuration and --init-args, and what it returns with {', '.join(spec.name for spec in specs)} in a "
            "dict, int32 [texts, tokens], and training=False."
        ) from error
    return model


def import_name(name: str) -> Any:
    """Import ``module:name``, also from the working directory, as `python -m` does.

    Raises:
        CheckpointError: there is no such module, it fails, or there is no such name in it.
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
    except (Exception, SystemExit) as error:  # whatever the user's code may run into
        raise CheckpointError(f"--model-class {name}: {module} fails: {type(error).__name__}: {error}.") from error


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
