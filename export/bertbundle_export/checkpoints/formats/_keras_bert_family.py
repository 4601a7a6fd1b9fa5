"""The formats of Keras packages that write a BERT to an .h5 file: one class, configured by each format."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bertbundle_export.checkpoints.base import Description, LoadOptions, StateDict
from bertbundle_export.checkpoints.formats._dense_head import (
    DenseHead,
    activations_after,
    bert_inputs_of,
    check_head_input,
    find_dense_head,
    find_problem_type,
    input_of,
    rename_dense,
)
from bertbundle_export.checkpoints.formats._dense_heads import describe_heads, describe_layers, rename_heads
from bertbundle_export.checkpoints.formats._variable_names import Rename, bert_sizes, number_layers
from bertbundle_export.checkpoints.heads.base import PackageHead
from bertbundle_export.checkpoints.heads.pooled import pooled_classifier
from bertbundle_export.checkpoints.readers.keras_file import KerasFile, Shapes, is_h5
from bertbundle_export.checkpoints.readers.keras_saved_model import describe_keras, is_saved_model, read_keras
from bertbundle_export.checkpoints.sources.config_files import find_config, find_tokenizer
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.architectures import ARCHITECTURES, check_config, class_suffix
from bertbundle_export.tasks import POOLINGS, TASKS

__all__ = ["KerasBertFormat"]

Settings: TypeAlias = Mapping[str, Any]
FindHead: TypeAlias = Callable[[KerasFile, Shapes, Settings, LoadOptions], PackageHead | None]

_CLASS_SETTINGS = ("id2label", "label2id", "problem_type")
_SEGMENTS = "embeddings.token_type_embeddings.weight"


def _no_settings(file: KerasFile) -> Settings:
    del file
    return {}


@dataclass(frozen=True, slots=True)
class EncoderVariables:
    """The variables of a file.

    Attributes:
        file: the file.
        prefix: common prefix of the names of the encoder's variables.
        encoder: PyTorch's names of the encoder's variables, including pre-training heads, by their names in the file.
        outside: shapes of all other variables.
    """

    file: KerasFile
    prefix: str
    encoder: Mapping[str, str]
    outside: Shapes


@dataclass(frozen=True, slots=True)
class KerasBertFormat:
    """See `CheckpointFormat`.

    Attributes:
        name, expected: see `CheckpointFormat`.
        marker: name of the variable of the word embeddings; the part of the full name before it is the encoder's
            prefix in the file.
        rename: returns PyTorch's name of an encoder's variable, beginning with ``bert.``, or None for other variables.
        settings: returns the configuration stored in the file, which overrides config.json.
        find_own_head: returns the head if it is made of the package's own layers, from the file, the shapes of the
            variables outside BERT, BERT's configuration, and the user's options.
        fixed: settings that the package always uses, unless the file states others.
        activations: transformers' names of the activations that the package names differently.
        any_h5: whether the format accepts every .h5 file that no other format accepts.
        saved_models: whether the format accepts SavedModels.
        optional_token_types: whether a model may have no token type embeddings; zeros then replace them.
        numbered_layers: whether layers within layers are known by their order; see `number_layers`.
    """

    name: str
    expected: str
    marker: str
    rename: Rename
    settings: Callable[[KerasFile], Settings] = _no_settings
    find_own_head: FindHead | None = None
    fixed: Settings = field(default_factory=dict)
    activations: Mapping[str, str] = field(default_factory=dict)
    any_h5: bool = False
    saved_models: bool = False
    optional_token_types: bool = False
    numbered_layers: bool = False

    def detect(self, path: Path) -> bool:
        """See `CheckpointFormat.detect`."""
        is_directory = self.saved_models and is_saved_model(path)
        if not is_directory and not (path.is_file() and (is_h5(path) or path.suffix in (".h5", ".hdf5"))):
            return False
        try:
            return (self.any_h5 and not is_directory) or self._prefix(describe_keras(path).shapes) is not None
        except CheckpointError:
            return False

    def describe(self, path: Path, options: LoadOptions) -> Description:
        """See `CheckpointFormat.describe`."""
        variables = self.find_variables(describe_keras(path))
        config = self.merge_config(variables, options)
        kind = "a whole model" if variables.file.layers else "weights"
        description = Description(self.name, path, kind, (path,), config, find_tokenizer(path, options))
        if options.heads and not options.model_class:
            return describe_heads(description, variables.file, variables.outside, options.heads)
        if own := self._find_own_head(variables, config, options):
            config["architectures"] = [f"{_stem(config)}{own.class_suffix}"]
            return replace(description, build_model=own.build_model, init_args=own.init_args)
        try:
            head = _find_head(variables, config, options)
        except CheckpointError as error:
            return describe_layers(description, variables.file, variables.outside, str(error))
        if head is None:
            config["architectures"] = [_class_name(variables, config, options)]
            return description
        return _describe_head(description, variables, config, head, options)

    def read(self, description: Description, options: LoadOptions) -> StateDict:
        """See `CheckpointFormat.read`."""
        from bertbundle_export.checkpoints.readers.weight_files import keras_to_pytorch

        variables = self.find_variables(describe_keras(description.path))
        values = read_keras(description.path)
        custom_prefix = variables.prefix.replace("/", ".") if options.model_class else ""
        weights = self.encoder_weights(variables, values, description, custom_prefix)
        outside = {name: values[name] for name in variables.outside}
        if description.heads:
            outside = rename_heads(outside, variables.file, [*description.heads])
        elif own := self._find_own_head(variables, description.config, options):
            outside = own.rename(outside)
        elif head := _find_head(variables, description.config, options):
            outside = rename_dense(outside, head, class_suffix(description.config["architectures"][0]))
        return weights | dict(keras_to_pytorch(f"model/{name}", value) for name, value in outside.items())

    def _find_own_head(self, variables: EncoderVariables, config: Settings, options: LoadOptions) -> PackageHead | None:
        if self.find_own_head is None or _has_no_head(variables, config, options):
            return None
        return self.find_own_head(variables.file, variables.outside, config, options)

    def encoder_weights(
        self, variables: EncoderVariables, values: StateDict, description: Description, custom_prefix: str
    ) -> StateDict:
        prefix = custom_prefix or f"{description.config['model_type']}."
        weights = {
            re.sub(r"^bert\.", prefix, pytorch): _transpose(pytorch, values[name])
            for name, pytorch in variables.encoder.items()
        }
        if self.optional_token_types and f"{prefix}{_SEGMENTS}" not in weights:
            shape = description.config["type_vocab_size"], description.config["hidden_size"]
            weights[f"{prefix}{_SEGMENTS}"] = np.zeros(shape, np.float32)
        return weights

    def _prefix(self, shapes: Shapes) -> str | None:
        found = [name.removesuffix(self.marker) for name in shapes if f"/{name}".endswith(f"/{self.marker}")]
        return found[0] if len(found) == 1 else None

    def find_variables(self, file: KerasFile) -> EncoderVariables:
        """Find the encoder's variables in a file; raise `CheckpointError` if it has none."""
        prefix = self._prefix(file.shapes)
        if prefix is None:
            found = ", ".join(sorted(file.shapes)[:5]) or "no variables"
            raise CheckpointError(
                f"{file.path} has no BERT in it: expected one variable {self.marker}, found {found}. Its names must be "
                "those of transformers' TFBertMainLayer, keras-bert, bert4keras or bert-for-tf2. Load other models "
                "and weights of Keras 3's .weights.h5, in Python with their own code: export_bundle(model, ...)."
            )
        names = {name: name.removeprefix(prefix) for name in file.shapes if name.startswith(prefix)}
        names = number_layers(names) if self.numbered_layers else names
        renamed = {name: self.rename(short) for name, short in names.items()}
        encoder = {name: pytorch for name, pytorch in renamed.items() if pytorch is not None}
        outside = {name: shape for name, shape in file.shapes.items() if name not in encoder}
        return EncoderVariables(file, prefix, encoder, outside)

    def merge_config(self, variables: EncoderVariables, options: LoadOptions) -> dict[str, Any]:
        """Merge the sizes of the variables, config.json, the package's settings and the file's; the last ones win."""
        path = variables.file.path
        given, stored = find_config(path, options), self.settings(variables.file)
        labels = {key: given[key] for key in _CLASS_SETTINGS if key in given}
        sizes = bert_sizes({pytorch: variables.file.shapes[name] for name, pytorch in variables.encoder.items()})
        config = {"model_type": "bert", **sizes, **given, **self.fixed, **stored, **labels}
        if "num_attention_heads" not in config and config["model_type"] == "bert":
            raise CheckpointError(
                f"{path} does not state the number of attention heads. Pass --config, the model's config.json or "
                "bert_config.json."
            )
        activation = config.get("hidden_act", "gelu")
        config["hidden_act"] = self.activations.get(activation, activation)
        check_config(config, path)
        return config


# ---- the configuration


def _stem(config: Settings) -> str:
    return ARCHITECTURES[config["model_type"]].stem


def _class_name(variables: EncoderVariables, config: Settings, options: LoadOptions) -> str:
    """Return the name of the class that the weights belong to, for a file without a Dense layer of its own."""
    if options.model_class is not None:
        return options.model_class.rpartition(":")[2]
    if any(pytorch.startswith("cls.predictions") for pytorch in variables.encoder.values()):
        return f"{_stem(config)}ForMaskedLM"
    return _transformers_class(variables, config) or f"{_stem(config)}Model"


def _transformers_class(variables: EncoderVariables, config: Settings) -> str | None:
    """Return the class of transformers if it is the scope of all variables: ``tf_bert_for_token_classification_1``."""
    scope = re.sub(r"_\d+$", "", variables.file.scope).replace("_", "")
    names = [f"{_stem(config)}{task.class_suffix}" for task in TASKS.values()]
    return next((name for name in names if f"tf{name}".lower() == scope), None)


# ---- the head


def _find_head(variables: EncoderVariables, config: Settings, options: LoadOptions) -> DenseHead | None:
    """Return the Dense layer after BERT; None if there is none, or if another class builds or ignores it."""
    if _has_no_head(variables, config, options):
        return None
    return find_dense_head(variables.file.path, variables.outside, config["hidden_size"])


def _has_no_head(variables: EncoderVariables, config: Settings, options: LoadOptions) -> bool:
    has_own_class = options.model_class or _transformers_class(variables, config)
    return bool(has_own_class or options.task == "feature-extraction" or not variables.outside)


def _describe_head(
    description: Description, variables: EncoderVariables, config: dict[str, Any], head: DenseHead, options: LoadOptions
) -> Description:
    """Add the facts about the Dense layer to a description, and to its configuration in place."""
    path, layers = variables.file.path, variables.file.layers
    check_head_input(path, layers, head.layer, task=options.task, pooling=options.pooling)
    inputs = bert_inputs_of(path, layers)
    head_input = input_of(layers, head.layer)
    suffix = _head_suffix(head_input, options)
    config["architectures"] = [_stem(config) + (suffix or f" and a Dense layer with {head.columns} columns")]
    activations = activations_after(layers, head.layer)
    task = options.task or _head_task(head, head_input, activations, config)
    config.update(find_problem_type(path, head.layer, activations, task))
    _add_labels(config, head)
    if suffix != "ForSequenceClassification":
        return description
    pooling = _pooling(path, head, head_input, options)
    if pooling == "pooler" and len(inputs) == 3:
        return description
    return replace(description, build_model=pooled_classifier, init_args={"pooling": pooling, "inputs": inputs})


def _head_suffix(head_input: str | None, options: LoadOptions) -> str | None:
    if options.task is not None:
        return TASKS[options.task].class_suffix if options.task in TASKS else None
    if head_input is None:
        return None
    return "ForTokenClassification" if head_input == "tokens" else "ForSequenceClassification"


def _head_task(head: DenseHead, head_input: str | None, activations: list[str], config: Settings) -> str:
    if head_input == "tokens":
        return "token-classification"
    is_number = head.columns == 1 and "sigmoid" not in activations
    return "regression" if is_number or config.get("problem_type") == "regression" else "text-classification"


def _pooling(path: Path, head: DenseHead, head_input: str | None, options: LoadOptions) -> str:
    pooling = options.pooling or head_input
    if pooling is None or pooling not in POOLINGS:
        raise CheckpointError(
            f"{path} does not state the input of the Dense layer {head.layer}. Pass --pooling: cls (the first token), "
            "pooler (the first token through BERT's pooler), mean or max (over the text's tokens)."
        )
    return pooling


def _add_labels(config: dict[str, Any], head: DenseHead) -> None:
    """Number the classes if config.json has no labels, or only placeholders."""
    labels = [str(label) for label in (config.get("id2label") or {}).values()]
    if all(re.fullmatch(r"LABEL_\d+", label) for label in labels):
        config["id2label"] = {index: f"LABEL_{index}" for index in range(head.columns)}


def _transpose(pytorch: str, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert a dense weight to PyTorch's layout, ``[out, in]``; embeddings have the same layout in both."""
    return value if value.ndim != 2 or "_embeddings." in pytorch else value.T
