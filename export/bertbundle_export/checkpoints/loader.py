"""Load a checkpoint: build the Keras model of its description and assign every weight."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from bertbundle.contract.manifest import InputSpec, Source
from bertbundle.contract.word_segmenter import WordSegmenter
from bertbundle_export.checkpoints.assign import assign_weights
from bertbundle_export.checkpoints.base import Description, LoadOptions
from bertbundle_export.checkpoints.builder import build_model
from bertbundle_export.checkpoints.graph_check import check_against_graph
from bertbundle_export.checkpoints.heads.dense_modules import load_dense
from bertbundle_export.checkpoints.registry import describe_checkpoint, find_format
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source import tokenization
from bertbundle_export.source.architectures import Architecture, class_suffix, find_architecture
from bertbundle_export.source.japanese import check_no_segmenter, load_segmenter, segmenter_notes
from bertbundle_export.source.model import (
    SourceModel,
    accepted_inputs,
    check_labels,
    count_parameters,
    is_functional,
    is_multi_label,
)
from bertbundle_export.source.text_preparation import lowercase_texts
from bertbundle_export.source.tokenizer_settings import (
    read_tokenizer_settings,
    stated_max_length,
    without_unused_inputs,
)
from bertbundle_export.tasks import POOLINGS, TASKS, Task, check_task, task_of

__all__ = ["class_name", "find_task", "load_checkpoint", "load_tokenizer", "stored_labels"]


def load_checkpoint(path: Path, name: str, options: LoadOptions) -> SourceModel:
    """Load a checkpoint of any format; `name` is the source as the user gave it.

    Raises:
        CheckpointError: it cannot be read, or its files contradict each other. Nothing is ever loaded in part.
    """
    description = describe_checkpoint(path, options)
    _check_heads(description, options)
    task = find_task(description, options)
    _check_pooling(description, task, options)
    labels = _labels(description, task, options)
    _import_tensorflow()
    tokenizer, segmenter = load_tokenizer(description, options), _load_segmenter(description, options)
    if description.lowercase_texts and task.name == "feature-extraction":
        check_no_segmenter(segmenter, "do_lower_case of sentence_bert_config.json", "Set it to false if that is right.")
        tokenizer = lowercase_texts(tokenizer)
    architecture = find_architecture(description.config, path)
    tokenization.check_tokenizer(tokenizer, architecture.size(description.config, "vocab_size"))
    if architecture.counts_from_padding:
        tokenization.check_padding(tokenizer, architecture.padding(description.config))
    settings = read_tokenizer_settings(tokenizer_path(description, options))
    pooling, normalized = _pooling(description, task, options)
    dense = () if task.name != "feature-extraction" or options.pooling else description.dense
    model = build_model(description, task, labels, options)
    weights = find_format(path, description.format).read(description, options)
    label = f"{description.path} ({class_name(description)})"
    missing = assign_weights(model, weights, task, label=label, is_custom=options.model_class is not None)
    check_against_graph(model, description)
    return SourceModel(
        keras=model,
        task=task.name,
        tokenizer=tokenizer,
        source=_source(name, description, count_parameters(model)),
        inputs=_inputs(model, architecture, description.config, settings),
        max_positions=architecture.size(description.config, "positions"),
        stated_length=description.max_length or stated_max_length(settings),
        word_segmenter=segmenter,
        prompt=description.prompt if task.name == "feature-extraction" else "",
        labels=labels,
        multi_label=_is_multi_label(description, options),
        pooling=pooling,
        dense=tuple(item.activation for item in dense),
        normalized=normalized,
        last_layers=options.last_layers,
        extra_outputs=load_dense(dense, size=architecture.size(description.config, "hidden_size"), options=options),
        heads=description.heads or options.heads,
        dropped_outputs=frozenset({"pooler_output"} if missing else ()),
        notes=(*description.notes, *segmenter_notes(tokenizer_path(description, options), segmenter)),
    )


def _check_heads(description: Description, options: LoadOptions) -> None:
    """Reject several heads of a checkpoint whose format has one, unless the user's own class builds them."""
    if options.heads and not (description.heads or options.model_class):
        raise CheckpointError(
            f"{description.path}: several heads cannot be read from a checkpoint of the format {description.format}. "
            "Pass --model-class, your own class that returns them by name, or load the model in Python with its own "
            "code: export_bundle(model, heads=...)."
        )


def _check_pooling(description: Description, task: Task, options: LoadOptions) -> None:
    """Reject a pooling that would be ignored: the model's class computes its logits from what it was trained with."""
    stated = None if options.model_class else description.init_args.get("pooling", "pooler")
    given = options.pooling if task.name in ("text-classification", "regression") else None
    heads = {} if description.heads else options.heads
    poolings = (given, *(head.pooling for head in heads.values()))
    ignored = [pooling for pooling in poolings if pooling not in (None, stated)]
    if ignored:
        raise CheckpointError(
            f"{description.path} has a {class_name(description)}, which computes its logits with its own code: "
            f"the pooling cannot be {ignored[0]}. Leave the pooling out."
        )


def load_tokenizer(description: Description, options: LoadOptions) -> tokenizers.Tokenizer:
    """Load the tokenizer that the user gave, else the checkpoint's own.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    lowercase = description.lowercase if options.lowercase is None else options.lowercase
    return tokenization.load_tokenizer(tokenizer_path(description, options), lowercase=lowercase)


def _load_segmenter(description: Description, options: LoadOptions) -> WordSegmenter | None:
    lowercase = description.lowercase if options.lowercase is None else options.lowercase
    return load_segmenter(tokenizer_path(description, options), lowercase=lowercase)


def tokenizer_path(description: Description, options: LoadOptions) -> Path:
    """Return the directory or file of the tokenizer that the user gave, else of the checkpoint's own.

    Raises:
        CheckpointError: there is none.
    """
    path = options.tokenizer or description.tokenizer
    if path is None:
        raise CheckpointError(
            f"{description.path} has no tokenizer. Pass --tokenizer, a directory or the vocab.txt it was trained with."
        )
    return path


def find_task(description: Description, options: LoadOptions) -> Task:
    """Return the task that the user gave, else the task that the checkpoint was trained for.

    Raises:
        CheckpointError: the class of the checkpoint belongs to no task, or it has a `Description.problem`.
    """
    if description.problem:
        raise CheckpointError(description.problem)
    if options.heads:
        return task_of("", options.heads)
    if options.task is not None:
        return check_task(options.task)
    name = class_name(description)
    suffix = class_suffix(name)
    labels = () if options.labels else stored_labels(description.config)
    one_class = len(options.labels or labels) == 1 and not _is_multi_label(description, options)
    regression = description.config.get("problem_type") == "regression" or one_class
    if regression and len(labels) > 1:
        raise CheckpointError(
            f"{description.path} has problem_type regression and {len(labels)} labels, a value for each, which is not "
            "supported: the task regression has one value."
        )
    for task in TASKS.values():
        if task.class_suffix == suffix and (task.regression == regression or suffix != "ForSequenceClassification"):
            return task
    raise CheckpointError(
        f"{description.path} has architecture {name}, which belongs to no task. Pass --task, one of {', '.join(TASKS)}."
    )


def class_name(description: Description) -> str:
    """Return the name of the class that the weights belong to, such as "BertForTokenClassification"."""
    stored = description.config.get("architectures") or []
    return stored if isinstance(stored, str) else str(next(iter(stored), "not stated"))


def stored_labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels of a config.json in the order of the class indices, empty if it has none.

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
    if not task.has_labels:
        return ()
    labels = options.labels or _agreed_labels(description)
    if not labels and description.config.get("num_labels"):
        raise CheckpointError(
            f"{description.path} does not store its labels, only their number, {description.config['num_labels']}. "
            "Pass --labels (labels= in Python), in the order of the class indices."
        )
    return check_labels(labels, task, multi_label=_is_multi_label(description, options))


def _agreed_labels(description: Description) -> tuple[str, ...]:
    """Return the labels of a config.json, whose id2label and label2id agree."""
    labels = stored_labels(description.config)
    numbers = description.config.get("label2id")
    for index, label in enumerate(labels):
        other = numbers.get(label, index) if isinstance(numbers, dict) else index
        if str(other) != str(index):
            raise CheckpointError(
                f"{description.path} has the label {label} with the number {index} in id2label and {other} in "
                "label2id. Pass --labels, in the order of the class indices."
            )
    return labels


def _is_multi_label(description: Description, options: LoadOptions) -> bool:
    return is_multi_label(description.config.get("problem_type"), options.multi_label)


def _import_tensorflow() -> None:
    """Import TensorFlow before transformers and torch: otherwise TensorFlow's C++ code prints messages."""
    import bertbundle_export.tensorflow_import  # noqa: F401


def _inputs(
    model: Any, architecture: Architecture, config: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[InputSpec, ...]:
    inputs = accepted_inputs(model, architecture.inputs(config))
    return inputs if is_functional(model) else without_unused_inputs(inputs, settings, config)


def _pooling(description: Description, task: Task, options: LoadOptions) -> tuple[str, bool]:
    if task.name != "feature-extraction":
        return "none", False
    pooling = options.pooling or description.pooling or "mean"
    if pooling not in POOLINGS:
        raise CheckpointError(
            f"{description.path} computes its sentence embedding with {pooling}, which is not supported. Pass "
            f"--pooling, one of {', '.join(POOLINGS)}, to replace it."
        )
    return pooling, description.normalize if options.normalize is None else options.normalize


def _source(name: str, description: Description, parameters: int) -> Source:
    architecture = find_architecture(description.config, description.path)
    return Source(
        format=description.format,
        name=name,
        architecture=class_name(description),
        layers=architecture.size(description.config, "layers"),
        hidden_size=architecture.size(description.config, "hidden_size"),
        vocab_size=architecture.size(description.config, "vocab_size"),
        parameters=parameters,
    )
