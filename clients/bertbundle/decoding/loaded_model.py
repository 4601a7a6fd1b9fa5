"""Load one version of a model: its manifest, tokenizer and parsed labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from bertbundle.contract.heads import output_name
from bertbundle.contract.labels import Tag, parse_labels
from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import Prediction
from bertbundle.errors import ManifestError, ServerError
from bertbundle.text.tokenizer import Tokenizer

__all__ = ["BUNDLE_INFO_OUTPUTS", "LoadedModel", "load_bundle_info", "load_model"]

BUNDLE_INFO_OUTPUTS = ("manifest", "tokenizer")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What the client needs to prepare requests for one version of a model and to decode its outputs.

    Attributes:
        version: version number.
        manifest: the model's manifest.
        tokenizer: its tokenizer.
        tags: the parsed label of each label id; empty if the model has no label scheme.
        heads: each of several heads by name, as a model of its own; empty if the model has only one.
        prefix: what the served names of the outputs begin with, in front of their names in the manifest: "" unless this
            is one of several heads.
    """

    version: int
    manifest: Manifest
    tokenizer: Tokenizer
    tags: tuple[Tag, ...]
    heads: Mapping[str, LoadedModel] = field(default_factory=dict)
    prefix: str = ""


def load_model(manifest: Manifest, tokenizer_json: str, version: int) -> LoadedModel:
    """Load a model from its manifest and the content of its tokenizer.json.

    Raises:
        ManifestError: the tokenizer or the label scheme cannot be read.
    """
    tokenizer = Tokenizer(
        tokenizer_json,
        max_length=manifest.max_length,
        mask_token=manifest.mask_token,
        word_segmenter=manifest.word_segmenter,
    )
    model = LoadedModel(version, manifest, tokenizer, _tags(manifest))
    return replace(model, heads={name: _load_head(model, name) for name in manifest.heads})


def _load_head(model: LoadedModel, name: str) -> LoadedModel:
    """Return a head as a model that has only the outputs of this head, by their names in the head's task."""
    head, prefix = model.manifest.heads[name], output_name(name, "")
    outputs = [spec for spec in model.manifest.outputs if spec.name.startswith(prefix)]
    manifest = replace(
        model.manifest,
        heads={},
        outputs=tuple(replace(spec, name=spec.name.removeprefix(prefix)) for spec in outputs),
        **{field.name: getattr(head, field.name) for field in fields(head)},
    )
    return replace(model, manifest=manifest, tags=_tags(manifest), prefix=prefix)


def load_bundle_info(prediction: Prediction) -> LoadedModel:
    """Load a model from the outputs of its `bundle_info` signature.

    Raises:
        ServerError: an output is not a string.
        ManifestError: the manifest or the tokenizer cannot be read.
    """
    manifest, tokenizer = (_only_string(prediction, name) for name in BUNDLE_INFO_OUTPUTS)
    return load_model(Manifest.from_json(manifest), tokenizer, prediction.version)


def _only_string(prediction: Prediction, name: str) -> str:
    value = prediction.outputs[name][0]
    if not isinstance(value, bytes):
        raise ServerError(f"the server returned {type(value).__name__} for output {name!r}, expected a string.")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ManifestError(f"the {name} is not UTF-8: {error}. Export the bundle again.") from error


def _tags(manifest: Manifest) -> tuple[Tag, ...]:
    if manifest.label_scheme == "none":
        return ()
    try:
        return parse_labels(manifest.labels, manifest.label_scheme)
    except ValueError as error:
        raise ManifestError(f"the manifest of {manifest.name!r}: {error}. Upgrade bertbundle.") from error
