"""bundle.json, the manifest: what every stage reads, and the only thing they share."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertbundle.errors import ManifestError

__all__ = [
    "BUNDLE_INFO",
    "MANIFEST_FILE",
    "SCHEMA_VERSION",
    "TOKENIZER_FILE",
    "FileInfo",
    "InputSpec",
    "Manifest",
    "OutputSpec",
    "ParityRow",
    "Source",
]

SCHEMA_VERSION = 1
MANIFEST_FILE = "bundle.json"
TOKENIZER_FILE = "tokenizer.json"
BUNDLE_INFO = "bundle_info"
"""The signature that returns the manifest and the tokenizer: input `row` int32 [batch], outputs `manifest` and
`tokenizer`, strings [batch]."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """An input of every length signature.

    Attributes:
        name: input_ids, attention_mask or token_type_ids.
        dtype: numpy name of the dtype.
        pad_value: what fills a row up to the signature's length.
        size: values are in [0, size): the vocabulary for input_ids, the type vocabulary for token_type_ids.
    """

    name: str
    dtype: str
    pad_value: int
    size: int


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """An output of every length signature.

    Attributes:
        name: output name.
        dtype: numpy name of the dtype.
        shape: "batch", "length" or a number, per dimension.
    """

    name: str
    dtype: str
    shape: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights came from.

    Attributes:
        format: checkpoint format, for example "huggingface" or "live".
        name: the directory's or the hub's name as given.
        architecture: class name of the model.
        layers, hidden_size, vocab_size, parameters: its sizes.
    """

    format: str
    name: str
    architecture: str
    layers: int
    hidden_size: int
    vocab_size: int
    parameters: int


@dataclass(frozen=True, slots=True)
class ParityRow:
    """How one output of one exported format compared with the source model on the parity texts.

    Attributes:
        format: "saved_model", "onnx" (onnxruntime's operators) or "onnx_standard" (the standard's alone).
        signature: the signature compared.
        output: output name.
        rows: number of texts compared.
        max_abs: largest absolute difference.
        max_rel: largest difference relative to the largest magnitude of the source's output.
        agreement: share of equal values for integer outputs, of equal argmax for scores and logits; 1.0 otherwise.
        rtol, atol: the tolerance it was held to.
    """

    format: str
    signature: str
    output: str
    rows: int
    max_abs: float
    max_rel: float
    agreement: float
    rtol: float
    atol: float


@dataclass(frozen=True, slots=True)
class FileInfo:
    """Size in bytes and SHA-256 of a file of the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        schema_version: version of this layout; a reader refuses a newer one.
        name: model name the bundle was exported under.
        task: token-classification, text-classification, regression, feature-extraction, question-answering or
            fill-mask.
        max_length: tokens that `serving_default` holds, special tokens included.
        signatures: length of each length signature by its name.
        inputs, outputs: the same for every length signature.
        tokenizer_lowercase: whether the tokenizer lower-cases.
        labels: label of each class index, in order; empty for tasks without classes.
        label_scheme: BIO, BIOES, BMES or IO (token classification), else "none".
        label_decoding: how the graph picks `label_ids`: "crf" (the best sequence by the model's own transitions; a
            label's score is its marginal probability), "viterbi" (only sequences the scheme allows) or "argmax".
        word_labels: what labels a word: "token" (each token for itself), "first" (a word takes its first token's
            label) or "first-labelled" (its first token's that is not O).
        multi_label: whether classes are independent (sigmoid) or exclude each other (softmax).
        pooling: how `sentence_embedding` is made of the token vectors: "mean", "cls", "max", "pooler" or "none".
        last_layers: number of last layers whose vectors are concatenated before the pooling.
        normalized: whether `sentence_embedding` has length 1.
        mask_token: what stands for a masked token in a text; empty but for fill-mask.
        top_k: tokens offered for each mask; 0 but for fill-mask.
        precision: of the encoder's matrix products: "float32"; "bfloat16", those of the SavedModel; or "int8", those of
            the ONNX files, beside a SavedModel in float32.
        source: where the weights came from.
        parity: how each exported format compared with the source model.
        files: every other file of the bundle by its path relative to the bundle.
        generator: versions of what made the bundle, by package name.
        created: UTC time of the export, ISO 8601.
        notes: what the exporter wants the user to know.

    >>> Manifest.from_json(client.manifest().to_json()).max_length
    12
    """

    name: str
    task: str
    max_length: int
    signatures: Mapping[str, int]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    source: Source
    tokenizer_lowercase: bool = False
    labels: tuple[str, ...] = ()
    label_scheme: str = "none"
    label_decoding: str = "none"
    word_labels: str = "token"
    multi_label: bool = False
    pooling: str = "none"
    last_layers: int = 1
    normalized: bool = False
    mask_token: str = ""
    top_k: int = 0
    precision: str = "float32"
    parity: tuple[ParityRow, ...] = ()
    files: Mapping[str, FileInfo] = field(default_factory=dict)
    generator: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    notes: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.signatures.get("serving_default") != self.max_length:
            raise ValueError(f"serving_default must have max_length {self.max_length}, got {dict(self.signatures)}")
        if any(length < 1 for length in self.signatures.values()):
            raise ValueError(f"signature lengths must be positive, got {dict(self.signatures)}")
        if not self.inputs or not self.outputs:
            raise ValueError("a bundle needs inputs and outputs")

    def to_json(self) -> str:
        """Return the manifest as the text of bundle.json.

        >>> json.loads(client.manifest().to_json())["task"]
        'token-classification'
        """
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Read a manifest.

        Raises:
            ManifestError: not JSON, a field missing or of the wrong type, or a newer schema version.

        >>> Manifest.from_json(client.manifest().to_json()) == client.manifest()
        True
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"{MANIFEST_FILE} is not JSON: {error}. Export the bundle again.") from error
        if not isinstance(data, dict):
            raise ManifestError(f"{MANIFEST_FILE} holds {type(data).__name__}, expected an object.")
        version = data.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ManifestError(
                f"{MANIFEST_FILE} has schema version {version}, this bertbundle reads up to {SCHEMA_VERSION}. "
                "Upgrade bertbundle."
            )
        try:
            manifest: Manifest = _build(cls, data, MANIFEST_FILE)
        except ValueError as error:
            raise ManifestError(f"{MANIFEST_FILE} is malformed: {error}. Export the bundle again.") from error
        return manifest

    @classmethod
    def read(cls, bundle: Path) -> Manifest:
        """Read the manifest of a bundle directory.

        Raises:
            ManifestError: no bundle.json there, or one that cannot be read.

        >>> with tempfile.TemporaryDirectory() as bundle:
        ...     _ = (Path(bundle) / "bundle.json").write_text(client.manifest().to_json())
        ...     Manifest.read(Path(bundle)).name
        'tiny'
        """
        path = bundle / MANIFEST_FILE
        try:
            text = path.read_bytes()
        except OSError as error:
            raise ManifestError(f"no {MANIFEST_FILE} in {bundle}: {error.strerror or error}.") from error
        return cls.from_json(text)


def _build(kind: Any, value: Any, where: str) -> Any:
    """Build a value of type `kind` from parsed JSON; a ValueError names the place that does not fit."""
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        _expect(isinstance(value, list), where, "a list", value)
        return tuple(_build(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin in (Mapping, dict):
        _expect(isinstance(value, dict), where, "an object", value)
        return {key: _build(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    _expect(type(value) is kind, where, kind.__name__, value)
    return value


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), where, "an object", value)
    hints = typing.get_type_hints(kind)
    required = [f.name for f in dataclasses.fields(kind) if _is_required(f)]
    missing = [name for name in required if name not in value]
    if missing:
        raise ValueError(f"{where} has no {', '.join(missing)}")
    return kind(**{name: _build(hints[name], value[name], f"{where}.{name}") for name in hints if name in value})


def _is_required(spec: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return spec.default is missing and isinstance(spec.default_factory, type(missing))


def _expect(holds: bool, where: str, expected: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{where} is {type(value).__name__} {str(value)[:60]!r}, expected {expected}")
