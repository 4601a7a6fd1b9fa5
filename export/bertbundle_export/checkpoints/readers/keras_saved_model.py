"""Read the variables and layers of models that were saved as SavedModels, mostly by ``model.save(path)`` of Keras 2."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from bertbundle_export.checkpoints.base import StateDict
from bertbundle_export.checkpoints.readers._tensorflow_pb2 import KerasMetadata
from bertbundle_export.checkpoints.readers.keras_file import (
    KerasFile,
    describe_h5,
    parse_layers,
    parse_outputs,
    read_h5,
)
from bertbundle_export.checkpoints.readers.tensor_bundle import (
    OBJECT_GRAPH,
    TensorBundle,
    checkpoint_keys,
    read_index,
    read_tensors,
)
from bertbundle_export.errors import CheckpointError

__all__ = ["describe_keras", "describe_saved_model", "is_saved_model", "read_keras", "read_saved_model"]

_METADATA = "keras_metadata.pb"
_TRAINING_STATE = re.compile(r"(^|/)(\.OPTIMIZER_SLOT|optimizer|keras_api|save_counter)(/|$)")
# The scope of a class of transformers, such as tf_bert_for_token_classification.
_SCOPE = re.compile(r"tf_\w+_(model|for_\w+?)(_\d+)?")


def is_saved_model(path: Path) -> bool:
    """Return whether a directory is a SavedModel."""
    return (path / "saved_model.pb").is_file()


def describe_keras(path: Path) -> KerasFile:
    """Describe an .h5 file or a SavedModel; see `describe_h5` and `describe_saved_model`."""
    return (describe_saved_model if path.is_dir() else describe_h5)(path)


def read_keras(path: Path) -> StateDict:
    """Read an .h5 file or a SavedModel; see `read_h5` and `read_saved_model`."""
    return (read_saved_model if path.is_dir() else read_h5)(path)


def describe_saved_model(path: Path) -> KerasFile:
    """Read the names and the shapes of a SavedModel, and its layers if Keras 2 wrote it: ``tf.saved_model`` has none.

    Raises:
        CheckpointError: a file is missing, truncated or damaged.
    """
    bundle = _read_index(path)
    keys = _keys(bundle)
    scope = _scope(keys)
    shapes = {name.removeprefix(f"{scope}/"): bundle.entries[key].shape for name, key in keys.items()}
    model_config = _model_config(path / _METADATA)
    return KerasFile(path, shapes, scope, parse_layers(model_config, path), parse_outputs(model_config))


def read_saved_model(path: Path) -> StateDict:
    """Read every variable of a SavedModel, by the names of `describe_saved_model`; floats become float32.

    Raises:
        CheckpointError: a file is missing, truncated or damaged.
    """
    bundle = _read_index(path)
    keys = _keys(bundle)
    values, scope = read_tensors(bundle, keys.values()), _scope(keys)
    return {name.removeprefix(f"{scope}/"): values[key] for name, key in keys.items()}


def _read_index(path: Path) -> TensorBundle:
    return read_index(path / "variables" / "variables")


def _keys(bundle: TensorBundle) -> dict[str, str]:
    """Return the key of each weight in the checkpoint, by the name of its variable."""
    keys = checkpoint_keys(bundle) if OBJECT_GRAPH in bundle.entries else {name: name for name in bundle.entries}
    return {
        name: key
        for name, key in keys.items()
        if bundle.entries[key].is_float and bundle.entries[key].shape and not _TRAINING_STATE.search(key)
    }


def _scope(names: dict[str, str]) -> str:
    """Return the name of the subclassed model of all variables; empty for a functional model."""
    scopes = {name.partition("/")[0] for name in names}
    return scopes.pop() if len(scopes) == 1 and all(_SCOPE.fullmatch(scope) for scope in scopes) else ""


def _model_config(path: Path) -> str | None:
    """Return the configuration of the model, as in the attribute model_config of an .h5 file; None if it has none."""
    if not path.is_file():
        return None
    try:
        nodes = KerasMetadata.FromString(path.read_bytes()).nodes
        root: Any = next((json.loads(node.metadata) for node in nodes if node.node_path == "root"), {})
    except (DecodeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}. Download it again.") from error
    return json.dumps({"config": root["config"]}) if isinstance(root, dict) and "config" in root else None
