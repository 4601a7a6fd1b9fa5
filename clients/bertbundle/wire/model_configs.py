"""The models of a server: the content of a --model_config_file, in protobuf text format."""

from __future__ import annotations

import re
from collections.abc import Mapping

from google.protobuf import text_format

from bertbundle.wire import _wire_pb2 as wire

__all__ = ["ModelConfigs"]

_PACKAGE = re.compile(r"bertbundle\.\w+\.")


class ModelConfigs:
    """The models that a server serves, their version policies and their version labels.

    >>> models = 'config { name: "ner" base_path: "/models/ner" version_labels { key: "a" value: 1 } }'
    >>> ModelConfigs(f"model_config_list {{ {models} }}").with_label("ner", "a", 2).labels("ner")
    {'a': 2}
    """

    def __init__(self, text: str) -> None:
        """Parse a ModelServerConfig.

        Raises:
            ValueError: it is malformed, has a field that is not known here, or lists no models.
        """
        self.message = wire.ModelServerConfig()
        try:
            text_format.Parse(text.removeprefix("\ufeff"), self.message)
        except text_format.ParseError as error:
            raise ValueError(_PACKAGE.sub("", str(error)).rstrip(".")) from error
        if not self.message.model_config_list.config:
            raise ValueError("it lists no models")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModelConfigs) and self.message == other.message

    __hash__ = None  # type: ignore[assignment] # mutable message

    @property
    def names(self) -> list[str]:
        """The names of the models."""
        return [config.name for config in self.message.model_config_list.config]

    def labels(self, model: str) -> Mapping[str, int]:
        """Return the version numbers of a model by label."""
        return dict(_find(self.message, model).version_labels)

    def is_selected(self, model: str, version: int) -> bool:
        """Return whether the policy lists the version, or selects versions by what is on disk."""
        policy = _find(self.message, model).model_version_policy
        return policy.WhichOneof("policy_choice") != "specific" or version in policy.specific.versions

    def versions(self, model: str) -> list[int]:
        """Return the versions that a `specific` policy lists."""
        return list(_find(self.message, model).model_version_policy.specific.versions)

    def describe_policy(self, model: str) -> str:
        """Return the version policy in text format; that of a model without one is the default."""
        policy = _find(self.message, model).model_version_policy
        return text_format.MessageToString(policy, as_one_line=True).strip() or "latest { num_versions: 1 }"

    def with_label(self, model: str, label: str, version: int | None) -> ModelConfigs:
        """Return a copy in which a label stands for a version; None removes the label."""
        copy = self._copy()
        labels = _find(copy.message, model).version_labels
        if version is None:
            labels.pop(label, None)
        else:
            labels[label] = version
        return copy

    def with_version(self, model: str, version: int) -> ModelConfigs:
        """Return a copy whose `specific` policy of a model lists a further version."""
        copy = self._copy()
        _find(copy.message, model).model_version_policy.specific.versions.append(version)
        return copy

    def _copy(self) -> ModelConfigs:
        copy = object.__new__(ModelConfigs)
        copy.message = wire.ModelServerConfig()
        copy.message.CopyFrom(self.message)
        return copy


def _find(configs: wire.ModelServerConfig, model: str) -> wire.ModelConfig:
    """Return the configuration of a model.

    Raises:
        ValueError: there is none, or more than one.
    """
    found = [config for config in configs.model_config_list.config if config.name == model]
    if len(found) == 1:
        return found[0]
    names = ", ".join(config.name for config in configs.model_config_list.config)
    raise ValueError(
        f"model {model!r} is {f'listed {len(found)} times' if found else f'not listed: there are {names}'}"
    )
