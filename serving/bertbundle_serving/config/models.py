"""The models to serve, as listed in a --model_config_file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_serving.config.text_format import read_text_file
from bertbundle_serving.config.version_policy import AllVersions, LatestVersions, SpecificVersions, VersionPolicy
from bertbundle_serving.errors import ServeError

__all__ = ["ModelConfig", "read_model_configs", "to_model_configs"]

_PLATFORMS = ("", "tensorflow")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model to serve.

    Attributes:
        name: the name that requests use.
        base_path: the directory that contains one directory per version, named by the version number.
        policy: selects the versions to serve.
        labels: version numbers by label.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = field(default_factory=LatestVersions)
    labels: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a model needs a name")


def read_model_configs(path: Path) -> tuple[ModelConfig, ...]:
    """Read a --model_config_file: a ModelServerConfig message in text format.

    Raises:
        ServeError: the file is missing or malformed, lists a model twice, or uses an unsupported option.
    """
    config = read_text_file(path, wire.ModelServerConfig(), "--model_config_file")
    try:
        return to_model_configs(config)
    except ValueError as error:
        raise ServeError(f"--model_config_file {path}: {error}.") from error


def to_model_configs(config: wire.ModelServerConfig) -> tuple[ModelConfig, ...]:
    """Return the models in a ModelServerConfig message.

    Raises:
        ValueError: it lists no model, lists a model twice, or uses an unsupported option.
    """
    if not config.model_config_list.config:
        raise ValueError("it lists no models; write model_config_list { config { name: ... base_path: ... } }")
    models = tuple(_to_model_config(entry) for entry in config.model_config_list.config)
    duplicates = [name for name, count in Counter(model.name for model in models).items() if count > 1]
    if duplicates:
        raise ValueError(f"Illegal to list model {duplicates[0]} multiple times in config list")
    return models


def _to_model_config(entry: wire.ModelConfig) -> ModelConfig:
    if entry.model_platform not in _PLATFORMS:
        raise ValueError(f"model {entry.name} has model_platform {entry.model_platform!r}, expected 'tensorflow'")
    if not entry.base_path:
        raise ValueError(f"model {entry.name} has no base_path")
    policy = entry.model_version_policy
    to_policy = _POLICIES[policy.WhichOneof("policy_choice")]
    return ModelConfig(entry.name, Path(entry.base_path), to_policy(policy), dict(entry.version_labels))


_POLICIES: Mapping[str | None, Callable[[Any], VersionPolicy]] = {
    None: lambda _: LatestVersions(),
    "latest": lambda policy: LatestVersions(policy.latest.num_versions or 1),
    "all": lambda _: AllVersions(),
    "specific": lambda policy: SpecificVersions(frozenset(policy.specific.versions)),
}
