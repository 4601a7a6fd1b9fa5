"""Describe a live Keras model, such as one that a training script has just trained."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tokenizers

from bertbundle.contract.manifest import InputSpec, Source
from bertbundle.contract.word_segmenter import WordSegmenter
from bertbundle_export.checkpoints.base import LoadOptions
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.architectures import ARCHITECTURES, Architecture, bert_inputs
from bertbundle_export.source.japanese import load_segmenter
from bertbundle_export.source.model import (
    SourceModel,
    accepted_inputs,
    check_labels,
    count_parameters,
    is_functional,
    is_multi_label,
)
from bertbundle_export.source.tokenization import check_tokenizer, load_tokenizer
from bertbundle_export.source.tokenizer_settings import live_settings, stated_max_length, without_unused_inputs
from bertbundle_export.tasks import TASKS, check_pooling, check_task, task_of

__all__ = ["live_model"]


def live_model(model: Any, load: LoadOptions, tokenizer: tokenizers.Tokenizer | str | Path | None) -> SourceModel:
    """Return a live model as a source model.

    Args:
        model: callable with the inputs by name in a dict and ``training=False``; has `variables`. Vocabulary size and
            maximum length come from its transformers `config`, if it has one.
        load: states its task, and its labels if the task has labels; or its heads.
        tokenizer: its tokenizer.

    Raises:
        CheckpointError: an argument is missing, or the arguments contradict each other.
    """
    if not callable(model) or not hasattr(model, "variables"):
        raise CheckpointError(f"a {type(model).__name__} is not a source: give a path, a hub name, or a Keras model.")
    _check_backend(model)
    _check_built(model)
    if load.task is None and not load.heads:
        raise CheckpointError(
            f"a live model does not state its task. Pass task=, one of {', '.join(TASKS)}, or heads=."
        )
    _check_no_pooling(load)
    config = getattr(model, "config", None)
    task = check_task(load.task) if load.task else task_of("", load.heads)
    multi_label = is_multi_label(getattr(config, "problem_type", None), load.multi_label)
    labels = load.labels or _stored_labels(config)
    labels = check_labels(labels, task, multi_label=multi_label) if task.has_labels else ()
    architecture = ARCHITECTURES.get(getattr(config, "model_type", "bert"), ARCHITECTURES["bert"])
    loaded = _tokenizer(tokenizer, load)
    vocab_size = getattr(config, "vocab_size", None) or loaded.get_vocab_size(with_added_tokens=True)
    check_tokenizer(loaded, vocab_size)
    settings = live_settings(tokenizer)
    inputs = accepted_inputs(model, _inputs(architecture, config, vocab_size))
    return SourceModel(
        keras=model,
        task=task.name,
        tokenizer=loaded,
        source=_source(model, config, vocab_size),
        inputs=inputs if is_functional(model) else without_unused_inputs(inputs, settings, {}),
        max_positions=_positions(architecture, config),
        stated_length=stated_max_length(settings),
        word_segmenter=_segmenter(tokenizer, load),
        labels=labels,
        multi_label=multi_label,
        heads=load.heads,
        pooling=check_pooling(load.pooling or "mean") if load.task == "feature-extraction" else "none",
        normalized=bool(load.normalize),
        last_layers=load.last_layers,
    )


def _segmenter(tokenizer: Any, load: LoadOptions) -> WordSegmenter | None:
    is_path = isinstance(tokenizer, str | Path)
    return load_segmenter(Path(tokenizer), lowercase=load.lowercase) if is_path else None


def _source(model: Any, config: Any, vocab_size: int) -> Source:
    return Source(
        format="live",
        name=str(getattr(model, "name", type(model).__name__)),
        architecture=type(model).__name__,
        layers=getattr(config, "num_hidden_layers", 0),
        hidden_size=getattr(config, "hidden_size", 0),
        vocab_size=vocab_size,
        parameters=count_parameters(model),
    )


def _check_built(model: Any) -> None:
    """Reject a model that has no weights yet."""
    try:
        count_parameters(model)
    except ValueError as error:
        raise CheckpointError(
            "the model has no weights yet: it was never called. Load its weights, or train it."
        ) from error


def _inputs(architecture: Architecture, config: Any, vocab_size: int) -> tuple[InputSpec, ...]:
    types = getattr(config, "type_vocab_size", 2) if architecture.token_types else 0
    return bert_inputs(vocab_size=vocab_size, type_vocab_size=types, pad_id=getattr(config, "pad_token_id", None) or 0)


def _positions(architecture: Architecture, config: Any) -> int | None:
    positions = getattr(config, "max_position_embeddings", None)
    # transformers' TensorFlow classes count from the default padding, whatever the configuration says.
    return positions - architecture.unused_positions({}) if positions else None


def _check_no_pooling(load: LoadOptions) -> None:
    """Reject a pooling beside logits, which the model's own code computes."""
    given = [f"head {name}: the" for name, head in load.heads.items() if head.pooling]
    given += ["the"] if load.pooling and load.task in ("text-classification", "regression") else []
    if given:
        raise CheckpointError(
            f"{given[0]} pooling cannot be chosen: a live model computes its logits itself. Leave pooling out."
        )


def _check_backend(model: Any) -> None:
    """Reject a Keras 3 model that does not run on TensorFlow."""
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Model) and keras.backend.backend() != "tensorflow":
        raise CheckpointError(
            f"the model runs on Keras' {keras.backend.backend()} backend, only TensorFlow's can be exported. Set "
            "KERAS_BACKEND=tensorflow before Keras is imported."
        )


def _stored_labels(config: Any) -> tuple[str, ...]:
    stored = getattr(config, "id2label", None) or {}
    return tuple(str(stored[index]) for index in sorted(stored))


def _tokenizer(tokenizer: tokenizers.Tokenizer | str | Path | None, load: LoadOptions) -> tokenizers.Tokenizer:
    tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)  # of transformers' fast tokenizers
    if isinstance(tokenizer, tokenizers.Tokenizer):
        copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
        copy.no_truncation()
        copy.no_padding()
        return copy
    if tokenizer is None:
        raise CheckpointError("a live model needs its tokenizer. Pass tokenizer=, a directory or a vocab.txt.")
    if not isinstance(tokenizer, str | Path):
        raise CheckpointError(
            f"tokenizer= is a {type(tokenizer).__name__}. Pass a fast tokenizer of transformers, a "
            "tokenizers.Tokenizer, a directory or a vocab.txt."
        )
    return load_tokenizer(Path(tokenizer), lowercase=load.lowercase)
