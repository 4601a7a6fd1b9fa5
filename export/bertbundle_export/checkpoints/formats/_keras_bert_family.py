"""A BERT that a Keras package wrote to an .h5 file: what such formats share; each says how it names things."""

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
    activations_of,
    find_dense,
    problem_of,
    reads_of,
)
from bertbundle_export.checkpoints.readers.keras_file import KerasFile, Shapes, describe_h5, is_h5, read_h5
from bertbundle_export.checkpoints.sources.config_files import find_config, find_tokenizer
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.architectures import ENCODERS, check_config, split_architecture
from bertbundle_export.tasks import POOLINGS, TASKS

__all__ = ["KerasBert", "dense_rows", "norm_rows", "rename_by"]

Rename: TypeAlias = Callable[[str], str | None]
Settings: TypeAlias = Mapping[str, Any]

_POOLED = "bertbundle_export.checkpoints.formats._pooled:pooled_classifier"
# What transformers calls the layer that is the one Dense here, by the head of its class.
_HEADS = {
    "ForTokenClassification": "classifier",
    "ForSequenceClassification": "classifier",
    "ForQuestionAnswering": "qa_outputs",
}
_ABOUT_CLASSES = ("id2label", "label2id", "problem_type")
_SEGMENTS = "embeddings.token_type_embeddings.weight"


def rename_by(rows: Mapping[str, str], *, first: int = 0) -> Rename:
    """Return a function that gives PyTorch's name of a variable, or None if it is not in the table.

    Args:
        rows: PyTorch's name by the package's, with ``{n}`` for the number of a layer in both.
        first: the number of the package's first layer.
    """
    patterns = [(re.compile(re.escape(name).replace(r"\{n\}", r"(\d+)")), pytorch) for name, pytorch in rows.items()]

    def rename(name: str) -> str | None:
        for pattern, pytorch in patterns:
            match = pattern.fullmatch(name)
            if match:
                return pytorch.format(n=int(match[1]) - first if match.groups() else "")
        return None

    return rename


def dense_rows(name: str, pytorch: str) -> dict[str, str]:
    """Return the rows of `rename_by` for a Dense layer."""
    return {f"{name}/kernel": f"{pytorch}.weight", f"{name}/bias": f"{pytorch}.bias"}


def norm_rows(name: str, pytorch: str) -> dict[str, str]:
    """Return the rows of `rename_by` for a LayerNormalization."""
    return {f"{name}/gamma": f"{pytorch}.weight", f"{name}/beta": f"{pytorch}.bias"}


def _says_nothing(file: KerasFile) -> Settings:
    del file
    return {}


@dataclass(frozen=True, slots=True)
class _Parts:
    """A file's variables: PyTorch's names of the encoder's (and of pre-training's), and the shapes of the rest."""

    file: KerasFile
    prefix: str
    encoder: Mapping[str, str]
    rest: Shapes


@dataclass(frozen=True, slots=True)
class KerasBert:
    """See `CheckpointFormat`.

    Attributes:
        name, expected: see `CheckpointFormat`.
        marker: the variable of the word embeddings; what comes before it is the encoder's name in the file.
        rename: gives PyTorch's name of an encoder's variable, beginning with ``bert.``, or None for what is none.
        settings: gives what the file itself says of the configuration; it is right, whatever config.json says.
        fixed: what the package computes whatever config.json says, where the file does not say it.
        activations: what the package means by the name of an activation, where transformers means something else.
        any_h5: whether the format takes every .h5 file that no other takes, and says what is wrong with it.
        without_token_types: whether a model may have none, and answers as if they were 0.
    """

    name: str
    expected: str
    marker: str
    rename: Rename
    settings: Callable[[KerasFile], Settings] = _says_nothing
    fixed: Settings = field(default_factory=dict)
    activations: Mapping[str, str] = field(default_factory=dict)
    any_h5: bool = False
    without_token_types: bool = False

    def detect(self, path: Path) -> bool:
        """See `CheckpointFormat.detect`."""
        if not path.is_file() or not (is_h5(path) or path.suffix in (".h5", ".hdf5")):
            return False
        try:
            return self.any_h5 or self._prefix(describe_h5(path).shapes) is not None
        except CheckpointError:
            return False

    def describe(self, path: Path, options: LoadOptions) -> Description:
        """See `CheckpointFormat.describe`."""
        parts = self._parts(path)
        config = self._config(parts, options)
        head = _find_head(parts, config, options)
        kind = "a whole model" if parts.file.layers else "weights"
        found = Description(self.name, path, kind, (path,), config, find_tokenizer(path, options))
        if head is None:
            config["architectures"] = [_architecture(parts, config, options)]
            return found
        reads = reads_of(parts.file.layers, head.layer)
        task_head = _task_head(reads, options)
        config["architectures"] = [_stem(config) + (task_head or f" and a Dense layer with {head.columns} columns")]
        activations = activations_of(parts.file.layers, head.layer)
        config.update(problem_of(path, head.layer, activations, options.task or _task_of(head, reads, config)))
        _add_labels(config, head)
        pooling = _pooling(path, head, reads, options) if task_head == "ForSequenceClassification" else "pooler"
        return found if pooling == "pooler" else replace(found, model_class=_POOLED, init_args={"pooling": pooling})

    def read(self, description: Description, options: LoadOptions) -> StateDict:
        """See `CheckpointFormat.read`."""
        from bertbundle_export.checkpoints.readers.weight_files import from_keras

        parts = self._parts(description.path)
        values = read_h5(description.path)
        own = parts.prefix.replace("/", ".") if options.model_class else ""
        encoder = own or f"{description.config['model_type']}."
        found = {
            re.sub(r"^bert\.", encoder, pytorch): _transposed(pytorch, values[name])
            for name, pytorch in parts.encoder.items()
        }
        if self.without_token_types and f"{encoder}{_SEGMENTS}" not in found:
            shape = description.config["type_vocab_size"], description.config["hidden_size"]
            found[f"{encoder}{_SEGMENTS}"] = np.zeros(shape, np.float32)
        head = _find_head(parts, description.config, options)
        rest = {name: values[name] for name in parts.rest}
        if head is not None:
            rest = _rename_head(rest, head, description)
        return found | dict(from_keras(f"model/{name}", value) for name, value in rest.items())

    def _prefix(self, shapes: Shapes) -> str | None:
        found = [name.removesuffix(self.marker) for name in shapes if f"/{name}".endswith(f"/{self.marker}")]
        return found[0] if len(found) == 1 else None

    def _parts(self, path: Path) -> _Parts:
        file = describe_h5(path)
        prefix = self._prefix(file.shapes)
        if prefix is None:
            found = ", ".join(sorted(file.shapes)[:5]) or "no variables"
            raise CheckpointError(
                f"{path} has no BERT in it: expected one variable {self.marker}, found {found}. Its names must be "
                "those of transformers' TFBertMainLayer, of keras-bert or of bert-for-tf2. Load another model, or "
                "weights of Keras 3's .weights.h5, in Python where its code is, and call export_bundle(model, ...)."
            )
        renamed = {name: self.rename(name.removeprefix(prefix)) for name in file.shapes if name.startswith(prefix)}
        encoder = {name: pytorch for name, pytorch in renamed.items() if pytorch is not None}
        return _Parts(file, prefix, encoder, {name: file.shapes[name] for name in file.shapes if name not in encoder})

    def _config(self, parts: _Parts, options: LoadOptions) -> dict[str, Any]:
        """Return what the shapes say, and over it config.json, the package, and the file itself."""
        path = parts.file.path
        given, stored = find_config(path, options), self.settings(parts.file)
        labels = {key: given[key] for key in _ABOUT_CLASSES if key in given}
        config = {"model_type": "bert", **_sizes(parts), **given, **self.fixed, **stored, **labels}
        if "num_attention_heads" not in config and config["model_type"] == "bert":
            raise CheckpointError(
                f"{path} does not say how many attention heads its model has. Pass --config, the model's config.json "
                "or bert_config.json."
            )
        activation = config.get("hidden_act", "gelu")
        config["hidden_act"] = self.activations.get(activation, activation)
        check_config(config, path)
        return config


# ---- the configuration


def _sizes(parts: _Parts) -> dict[str, int]:
    """Return the sizes that the shapes of a BERT's variables show."""
    shapes = {pytorch.removeprefix("bert."): parts.file.shapes[name] for name, pytorch in parts.encoder.items()}
    numbers = [int(match[1]) for name in shapes if (match := re.match(r"encoder\.layer\.(\d+)\.", name))]
    dimensions = {
        "vocab_size": ("embeddings.word_embeddings.weight", 0),
        "hidden_size": ("embeddings.word_embeddings.weight", 1),
        "max_position_embeddings": ("embeddings.position_embeddings.weight", 0),
        "type_vocab_size": (_SEGMENTS, 0),
        "intermediate_size": ("encoder.layer.0.intermediate.dense.weight", 1),
    }
    known = {key: shapes[name][axis] for key, (name, axis) in dimensions.items() if len(shapes.get(name, ())) == 2}
    return {"num_hidden_layers": max(numbers, default=-1) + 1, "type_vocab_size": 2, **known}


def _stem(config: Settings) -> str:
    return ENCODERS[config["model_type"]].stem


def _architecture(parts: _Parts, config: Settings, options: LoadOptions) -> str:
    """Return the name of the class that the weights belong to, where no Dense layer is to be explained."""
    if options.model_class is not None:
        return options.model_class.rpartition(":")[2]
    if any(pytorch.startswith("cls.predictions") for pytorch in parts.encoder.values()):
        return f"{_stem(config)}ForMaskedLM"
    return _transformers_class(parts, config) or f"{_stem(config)}Model"


def _transformers_class(parts: _Parts, config: Settings) -> str | None:
    """Return the class of transformers whose name is around all variables: ``tf_bert_for_token_classification_1``."""
    scope = re.sub(r"_\d+$", "", parts.file.scope).replace("_", "")
    names = [f"{_stem(config)}{task.head}" for task in TASKS.values()]
    return next((name for name in names if f"tf{name}".lower() == scope), None)


# ---- the head


def _find_head(parts: _Parts, config: Settings, options: LoadOptions) -> DenseHead | None:
    """Return the one Dense layer after BERT; None if there is nothing, or nothing that needs an explanation."""
    explained = options.model_class or options.task == "feature-extraction" or _transformers_class(parts, config)
    return None if explained or not parts.rest else find_dense(parts.file.path, parts.rest, config["hidden_size"])


def _task_head(reads: str | None, options: LoadOptions) -> str | None:
    if options.task is not None:
        return TASKS[options.task].head if options.task in TASKS else None
    if reads is None:
        return None
    return "ForTokenClassification" if reads == "tokens" else "ForSequenceClassification"


def _task_of(head: DenseHead, reads: str | None, config: Settings) -> str:
    if reads == "tokens":
        return "token-classification"
    return "regression" if head.columns == 1 or config.get("problem_type") == "regression" else "text-classification"


def _pooling(path: Path, head: DenseHead, reads: str | None, options: LoadOptions) -> str:
    pooling = options.pooling or reads
    if pooling is None or pooling not in POOLINGS:
        raise CheckpointError(
            f"{path} does not say what the Dense layer {head.layer} makes a text's answer of. Pass --pooling: cls (the "
            "first token), pooler (the first token through BERT's pooler), mean or max (over the text's tokens)."
        )
    return pooling


def _add_labels(config: dict[str, Any], head: DenseHead) -> None:
    """Number the classes, if config.json has no labels for them, or those of no model in particular."""
    labels = [str(label) for label in (config.get("id2label") or {}).values()]
    if all(re.fullmatch(r"LABEL_\d+", label) for label in labels):
        config["id2label"] = {index: f"LABEL_{index}" for index in range(head.columns)}


def _rename_head(rest: StateDict, head: DenseHead, description: Description) -> StateDict:
    """Call the Dense layer as transformers does; one without a bias gets one of zeros."""
    layer = _HEADS[split_architecture(description.config["architectures"][0]) or ""]
    bias = rest[head.bias] if head.bias else np.zeros(head.columns, np.float32)
    return {f"{layer}/kernel": rest[head.kernel], f"{layer}/bias": bias}


def _transposed(pytorch: str, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give a dense weight PyTorch's layout, ``[out, in]``; embeddings are the same in both."""
    return value if value.ndim != 2 or "_embeddings." in pytorch else value.T
