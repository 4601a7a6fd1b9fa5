"""What a client holds of one version of a model."""

from __future__ import annotations

from dataclasses import dataclass

from bertbundle.contract.labels import Tag, parse_labels
from bertbundle.contract.manifest import Manifest
from bertbundle.errors import ManifestError
from bertbundle.text.tokenizer import Tokenizer

__all__ = ["Held", "hold"]


@dataclass(frozen=True, slots=True)
class Held:
    """What a client holds of one version of a bundle."""

    version: int
    manifest: Manifest
    tokenizer: Tokenizer
    tags: tuple[Tag, ...]


def hold(manifest: Manifest, definition: str, version: int) -> Held:
    """Make what a client holds of a version of its manifest and the text of its tokenizer.json."""
    tokenizer = Tokenizer(definition, max_length=manifest.max_length, mask_token=manifest.mask_token)
    return Held(version, manifest, tokenizer, _tags(manifest))


def _tags(manifest: Manifest) -> tuple[Tag, ...]:
    if manifest.label_scheme == "none":
        return ()
    try:
        return parse_labels(manifest.labels, manifest.label_scheme)
    except ValueError as error:
        raise ManifestError(f"the manifest of {manifest.name!r}: {error}. Upgrade bertbundle.") from error
