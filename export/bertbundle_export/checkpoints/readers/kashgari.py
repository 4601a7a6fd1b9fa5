"""Read a directory of Kashgari: the model's configuration, its labels, and the file of its weights.

Source of the layout: Kashgari 1.1.5 (model_info.json) and 2.0.2 (model_config.json), `save` and
`convert_to_saved_model`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertbundle_export.checkpoints.readers.keras_file import KerasFile, parse_layers
from bertbundle_export.checkpoints.readers.keras_saved_model import describe_keras, is_saved_model
from bertbundle_export.errors import CheckpointError

__all__ = ["KashgariModel", "find_configuration", "read_kashgari"]

_WEIGHTS = "model_weights.h5"


@dataclass(frozen=True, slots=True)
class KashgariModel:
    """The content of a directory, without the values of weights.

    Attributes:
        configuration: model_config.json of Kashgari 2, or model_info.json of Kashgari 1.
        weights: model_weights.h5, or the directory of a SavedModel.
        name: version of Kashgari and name of the model's class, for messages.
        version: Kashgari's major version.
        embedding: name of the embedding's class.
        model_type: the kind of model that the embedding loads, "bert" for most.
        labels: the labels in the order of their numbers.
        multi_label: whether a text may have several labels.
        length: number of tokens that texts were padded to in training; None if it is not stated.
    """

    configuration: Path
    weights: Path
    name: str
    version: int
    embedding: str
    model_type: str
    labels: tuple[str, ...]
    multi_label: bool
    length: int | None
    _tf_model: Mapping[str, Any]

    def describe_file(self) -> KerasFile:
        """Return the shapes of the weights, with the layers of the configuration.

        Raises:
            CheckpointError: a file is damaged.
        """
        layers = parse_layers(json.dumps(self._tf_model), self.configuration)
        return replace(describe_keras(self.weights), scope="", layers=layers)


def find_configuration(path: Path) -> Path | None:
    """Return the configuration in a directory of Kashgari; None if it is none."""
    has_weights = (path / _WEIGHTS).is_file() or is_saved_model(path)
    found = (path / name for name in ("model_config.json", "model_info.json") if has_weights)
    return next((file for file in found if file.is_file() and _is_kashgari(file)), None)


def _is_kashgari(file: Path) -> bool:
    try:
        return "kashgari_version" in json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def read_kashgari(path: Path) -> KashgariModel:
    """Read the configuration of a directory.

    Raises:
        CheckpointError: it lacks a part.
    """
    file = find_configuration(path)
    if file is None:
        raise CheckpointError(
            f"{path} is no directory of Kashgari's model.save(): expected model_config.json (Kashgari 2) or "
            f"model_info.json (Kashgari 1), and {_WEIGHTS}."
        )
    weights = path / _WEIGHTS if (path / _WEIGHTS).is_file() else path
    stored = json.loads(file.read_text(encoding="utf-8"))
    try:
        version = int(str(stored["kashgari_version"]).partition(".")[0])
        return KashgariModel(configuration=file, weights=weights, **(_version_2 if version > 1 else _version_1)(stored))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"{file} cannot be read: {type(error).__name__}: {error}. Save the model again."
        ) from error


def _version_2(stored: Mapping[str, Any]) -> dict[str, Any]:
    embedding = stored["embedding"]
    return {
        "name": f"Kashgari {stored['kashgari_version']}, {stored['__class_name__']}",
        "version": 2,
        "embedding": embedding["__class_name__"],
        "model_type": str(embedding["config"].get("model_type", "none")),
        "labels": _in_order(stored["label_processor"]["config"]["vocab2idx"]),
        "multi_label": bool(stored["config"].get("multi_label")),
        "length": stored["config"].get("sequence_length"),
        "_tf_model": stored["tf_model"],
    }


def _version_1(stored: Mapping[str, Any]) -> dict[str, Any]:
    embedding = stored["embedding"]
    processor = embedding["processor"]["config"]
    shape = stored["tf_model"]["config"]["layers"][0]["config"]["batch_input_shape"]
    return {
        "name": f"Kashgari {stored['kashgari_version']}, {stored['class_name']}",
        "version": 1,
        "embedding": embedding["class_name"],
        "model_type": "bert" if embedding["class_name"] == "BERTEmbedding" else "none",
        "labels": _in_order(processor["label2idx"]),
        "multi_label": bool(processor.get("multi_label")),
        "length": shape[1],
        "_tf_model": stored["tf_model"],
    }


def _in_order(numbers: Mapping[str, int]) -> tuple[str, ...]:
    by_number = {int(number): str(label) for label, number in numbers.items()}
    return tuple(by_number[number] for number in range(len(numbers)))
