"""Version labels, such as "stable" and "canary": resolve them in requests, and check where they may point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bertbundle_serving.errors import ServeError, invalid_argument
from bertbundle_serving.repository.model import Model

__all__ = ["ModelRef", "check_labels", "resolve_label"]


@dataclass(frozen=True, slots=True)
class ModelRef:
    """The model and the version that a request names.

    Attributes:
        name: model name.
        version: version number; None selects the newest version, unless a label is given.
        label: version label, if any.
    """

    name: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        """Return the reference in TensorFlow Serving's form: ``Latest(bert)`` or ``Specific(bert, 99)``."""
        return f"Latest({self.name})" if self.version is None else f"Specific({self.name}, {self.version})"


def resolve_label(ref: ModelRef, models: Mapping[str, Model]) -> ModelRef:
    """Return a reference to the version that a label points to.

    Raises:
        RequestError: INVALID_ARGUMENT, the model has no such label.
    """
    model = models.get(ref.name)
    version = model.config.labels.get(ref.label or "") if model else None
    if version is None:
        raise invalid_argument(f"Unrecognized servable version label: {ref.label}")
    return ModelRef(ref.name, version)


def check_labels(
    model: Model, labels: Mapping[str, int], *, before: Mapping[str, int], allow_unavailable: bool
) -> None:
    """Check that labels point to available versions.

    Args:
        model: the model.
        labels: version numbers by label.
        before: the labels that are in use.
        allow_unavailable: check only labels that are in use and move to another version.

    Raises:
        ServeError: a label points to a version that is not available.
    """
    if allow_unavailable:
        labels = {name: version for name, version in labels.items() if before.get(name, version) != version}
    for version in sorted(set(labels.values()) - model.versions.keys()):
        raise ServeError(
            f"Request to assign label to version {version} of model {model.config.name}, which is not currently "
            "available for inference"
        )
