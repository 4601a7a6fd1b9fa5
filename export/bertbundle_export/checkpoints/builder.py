"""Build the Keras model of a checkpoint's description, without its weights."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bertbundle_export.checkpoints.base import Description, LoadOptions
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.architectures import find_architecture
from bertbundle_export.source.model import accepted_inputs, fixed_length
from bertbundle_export.tasks import Task

__all__ = ["build_model", "import_model_class"]

_BUILD_LENGTH = 16
"""Number of tokens that a custom model without a fixed length is built with; a convolution may need that many."""
_CONFIG_ERRORS = (TypeError, ValueError, KeyError, AttributeError)


def build_model(description: Description, task: Task, labels: Sequence[str], options: LoadOptions) -> Any:
    """Build a model with the user's class, the description's own function, or transformers' class for the task.

    Raises:
        CheckpointError: the configuration or an argument is invalid, or the user's code fails.
    """
    config, arguments = _make_config(description, task, labels, options)
    if options.model_class is not None:
        custom = import_model_class(options.model_class)
        return _build_custom(custom, options.model_class, config, arguments, description)
    if description.build_model is not None:
        name = description.build_model.__name__
        return _build_custom(description.build_model, name, config, arguments, description)
    if arguments:
        raise CheckpointError(
            f"--init-args {', '.join(arguments)}: a configuration of model_type {description.config['model_type']} has "
            "no such setting. Arguments for your own model need --model-class."
        )
    return _build_transformers(config, task, description)


def _make_config(
    description: Description, task: Task, labels: Sequence[str], options: LoadOptions
) -> tuple[Any, dict[str, Any]]:
    """Return a transformers config, and the `init_args` that are not settings of it."""
    from bertbundle_export.tensorflow_import import transformers

    settings = _settings(description, task, labels)
    if options.last_layers > 1:
        settings["output_hidden_states"] = True
    arguments = {**description.init_args, **options.init_args}
    try:
        config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
        for key in [key for key in arguments if hasattr(config, key)]:
            setattr(config, key, arguments.pop(key))
    except _CONFIG_ERRORS as error:
        raise CheckpointError(
            f"{description.path} has a configuration that transformers rejects: {type(error).__name__}: {error}."
        ) from error
    return config, arguments


def _settings(description: Description, task: Task, labels: Sequence[str]) -> dict[str, Any]:
    """Return the description's configuration with the labels that the model gets."""
    replaced = ("id2label", "label2id", "num_labels")
    settings = {key: value for key, value in description.config.items() if key not in replaced}
    if labels:
        settings["id2label"] = dict(enumerate(labels))
        settings["label2id"] = {label: index for index, label in enumerate(labels)}
    elif task.regression:
        settings["num_labels"] = 1
    return settings


def _build_transformers(config: Any, task: Task, description: Description) -> Any:
    from bertbundle_export.tensorflow_import import transformers

    name = f"TF{find_architecture(description.config, description.path).stem}{task.class_suffix}"
    if not hasattr(transformers, name):
        raise CheckpointError(
            f"{description.path} has no head for {task.name} that can be read: transformers has no {name}. Pass "
            "--model-class my_project.model:build_model, your own class or function that builds the model."
        )
    config.return_dict = True
    try:
        model = getattr(transformers, name)(config)
        model.build_in_name_scope()
    except _CONFIG_ERRORS as error:
        raise CheckpointError(f"{name} cannot be built from {description.path}: {error}.") from error
    for layer in model.submodules:
        if hasattr(layer, "padding_idx"):  # RoBERTa's positions; TensorFlow's class has a constant
            layer.padding_idx = config.pad_token_id
    return model


def _build_custom(
    factory: Callable[..., Any], name: str, config: Any, arguments: Mapping[str, Any], description: Description
) -> Any:
    """Build a custom model by calling it, because its layers may have no `build` method."""
    from bertbundle_export.tensorflow_import import tf

    specs = find_architecture(description.config, description.path).inputs(description.config)
    try:
        model = factory(config, **arguments)
        shape = (1, fixed_length(model) or _BUILD_LENGTH)
        model({spec.name: tf.ones(shape, tf.int32) for spec in accepted_inputs(model, specs)}, training=False)
    except CheckpointError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise CheckpointError(
            f"{name} cannot be built for {description.path}: {type(error).__name__}: {error}. It is called with the "
            f"configuration and --init-args; the model that it returns is called with "
            f"{', '.join(spec.name for spec in specs)} in a dict, int32 [texts, tokens], and training=False."
        ) from error
    return model


def import_model_class(name: str) -> Any:
    """Import ``module:name``, also from the working directory, as `python -m` does.

    Raises:
        CheckpointError: the module does not exist, fails, or has no such name.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise CheckpointError(f"--model-class must be module:Class, as in my_project.model:BertNerModel, got {name!r}.")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"--model-class {name}: {error}. Run the command in the directory that contains {module}."
        ) from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise CheckpointError(f"--model-class {name}: {module} fails: {type(error).__name__}: {error}.") from error
