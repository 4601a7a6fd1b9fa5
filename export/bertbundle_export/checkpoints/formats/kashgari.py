"""Kashgari: the directory of `model.save()` or `convert_to_saved_model()` of a model with a BERT embedding.

Kashgari 2 computes BERT with bert4keras, Kashgari 1 with keras-bert.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bertbundle_export.checkpoints.base import Description, LoadOptions, StateDict
from bertbundle_export.checkpoints.formats import bert4keras, keras_bert
from bertbundle_export.checkpoints.formats._keras_bert_family import EncoderVariables
from bertbundle_export.checkpoints.heads.keras_stack import KerasStack, convert_stack, find_stack, keras_stack
from bertbundle_export.checkpoints.readers.kashgari import KashgariModel, find_configuration, read_kashgari
from bertbundle_export.checkpoints.readers.keras_saved_model import read_keras
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.kashgari_tokenizer import describe_splitting

__all__ = ["FORMAT"]

_ENCODERS = {1: keras_bert.FORMAT, 2: bert4keras.FORMAT}
_SPLITTING = (
    "Kashgari does not store how texts were split into tokens: they are split {}. Pass --characters for list(text), or "
    "--tokenizer with a tokenizer.json that splits them as in training."
)
_OWN_CODE = "Pass --model-class my_project.model:build_model, your function that builds the model with these layers."


class KashgariFormat:
    """See `CheckpointFormat`."""

    name = "kashgari"
    expected = "a directory that Kashgari's model.save() wrote, of a model with a BERT embedding"

    def detect(self, path: Path) -> bool:
        """See `CheckpointFormat.detect`."""
        return path.is_dir() and find_configuration(path) is not None

    def describe(self, path: Path, options: LoadOptions) -> Description:
        """See `CheckpointFormat.describe`."""
        model = read_kashgari(path)
        variables = _find_variables(model)
        config = _ENCODERS[model.version].merge_config(variables, options)
        weights = f"{model.name}, {model.embedding}"
        description = Description(self.name, path, weights, (model.weights,), config, model.configuration)
        notes = () if options.tokenizer else (_SPLITTING.format(describe_splitting(model.configuration)),)
        if options.model_class or options.task == "feature-extraction":
            config["architectures"] = [(options.model_class or "BertModel").rpartition(":")[2]]
            return replace(description, notes=notes)
        stack = _find_stack(model, variables)
        config.update(_head_settings(model, stack))
        _check_options(model, stack, options)
        return replace(description, build_model=keras_stack, init_args={"stack": stack}, notes=notes)

    def read(self, description: Description, options: LoadOptions) -> StateDict:
        """See `CheckpointFormat.read`."""
        from bertbundle_export.checkpoints.readers.weight_files import keras_to_pytorch

        model = read_kashgari(description.path)
        variables = _find_variables(model)
        values = read_keras(model.weights)
        encoder = _ENCODERS[model.version].encoder_weights(variables, values, description, "")
        outside = {name: values[name] for name in variables.outside}
        if not options.model_class and "stack" in description.init_args:
            outside = convert_stack(outside, description.init_args["stack"])
        return encoder | dict(keras_to_pytorch(f"model/{name}", value) for name, value in outside.items())


FORMAT = KashgariFormat()


def _find_variables(model: KashgariModel) -> EncoderVariables:
    if model.model_type != "bert":
        raise CheckpointError(
            f"{model.configuration} is of {model.name} with a {model.embedding} of the model type {model.model_type}: "
            "only BERT can be exported."
        )
    if model.version == 1 and model.weights.is_dir():
        raise CheckpointError(
            f"{model.weights} is a SavedModel of {model.name}, which contains the variables of all models of its "
            "process: it is unknown which are the model's. Give the directory that model.save() wrote."
        )
    return _ENCODERS[model.version].find_variables(model.describe_file())


def _find_stack(model: KashgariModel, variables: EncoderVariables) -> KerasStack:
    try:
        stack = find_stack(model.configuration, variables.file.layers)
    except CheckpointError as error:
        raise CheckpointError(f"{error} It is of {model.name}. {_OWN_CODE}") from error
    if stack.depends_on_length and model.length is None:
        raise CheckpointError(
            f"{model.configuration} has layers after BERT that read padding ({model.name}), and no sequence_length, "
            "the number of tokens that texts were padded to in training. Add it to its config."
        )
    return replace(stack, length=model.length if stack.depends_on_length else None)


def _head_settings(model: KashgariModel, stack: KerasStack) -> dict[str, Any]:
    return {
        "architectures": ["BertForTokenClassification" if stack.per_token else "BertForSequenceClassification"],
        "id2label": dict(enumerate(model.labels)),
        "problem_type": "multi_label_classification" if stack.activation == "sigmoid" else None,
    }


def _check_options(model: KashgariModel, stack: KerasStack, options: LoadOptions) -> None:
    """Check that the labels fit, and that the user's choices agree with the file."""
    task = "token-classification" if stack.per_token else "text-classification"
    multi_label = stack.activation == "sigmoid"
    wrong = {
        f"{len(model.labels)} labels, its last layer has {stack.columns} outputs": len(model.labels) != stack.columns,
        f"the task {task}, not {options.task}": options.task not in (None, task),
        "a sigmoid for each token, which a bundle does not compute": stack.per_token and multi_label,
        f"the activation {stack.activation}": options.multi_label not in (None, multi_label),
        "one head, not several": bool(options.heads),
        f"layers of its own after BERT, not the pooling {options.pooling}": options.pooling is not None,
    }
    for problem, is_wrong in wrong.items():
        if is_wrong:
            raise CheckpointError(
                f"{model.configuration} is of {model.name} with {problem}. Leave options out that the file states, "
                "or pass --model-class."
            )
