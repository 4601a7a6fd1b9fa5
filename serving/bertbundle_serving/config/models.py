"""Which models to serve: from a model_config_file, or one model from flags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertbundle_serving.config.text_format import read_text_file
from bertbundle_serving.config.version_policy import All, Latest, Policy, Specific
from bertbundle_serving.errors import ServeError
from bertbundle_serving.protos import _config_pb2 as proto

__all__ = ["ModelConfig", "model_configs", "read_model_configs"]

_PLATFORMS = ("", "tensorflow")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model to serve.

    Attributes:
        name: name in requests.
        base_path: the directory that holds one directory per version, named after its number.
        policy: which versions are served.
        labels: version numbers by label.
    """

    name: str
    base_path: Path
    policy: Policy = field(default_factory=Latest)
    labels: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a model needs a name")


def read_model_configs(path: Path) -> tuple[ModelConfig, ...]:
    """Read a model_config_file, TensorFlow Serving's ModelServerConfig in text form.

    Raises:
        ServeError: the file is missing or malformed, lists a model twice, or asks for what is not supported.
    """
    config = read_text_file(path, proto.ModelServerConfig(), "--model_config_file")
    try:
        return model_configs(config)
    except ValueError as error:
        raise ServeError(f"--model_config_file {path}: {error}.") from error


def model_configs(config: proto.ModelServerConfig) -> tuple[ModelConfig, ...]:
    """Return the models that a ModelServerConfig lists.

    Raises:
        ValueError: it lists none, or one twice, or asks for what is not supported.
    """
    if not config.model_config_list.config:
        raise ValueError("it lists no models; write model_config_list { config { name: ... base_path: ... } }")
    models = tuple(_model(entry) for entry in config.model_config_list.config)
    twice = [name for name, count in Counter(model.name for model in models).items() if count > 1]
    if twice:
        raise ValueError(f"Illegal to list model {twice[0]} multiple times in config list")
    return models


def _model(entry: proto.ModelConfig) -> ModelConfig:
    if entry.model_platform not in _PLATFORMS:
        raise ValueError(f"model {entry.name} has model_platform {entry.model_platform!r}, supported is 'tensorflow'")
    if not entry.base_path:
        raise ValueError(f"model {entry.name} has no base_path")
    policy = entry.model_version_policy
    make = _POLICIES[policy.WhichOneof("policy_choice")]
    return ModelConfig(entry.name, Path(entry.base_path), make(policy), dict(entry.version_labels))


_POLICIES: Mapping[str | None, Callable[[Any], Policy]] = {
    None: lambda _: Latest(),
    "latest": lambda policy: Latest(policy.latest.num_versions or 1),
    "all": lambda _: All(),
    "specific": lambda policy: Specific(frozenset(policy.specific.versions)),
}
