"""The manifest of a bundle, bundle.json, which every stage reads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bertbundle.contract.heads import Head, check_heads
from bertbundle.contract.json_values import build_value
from bertbundle.contract.word_segmenter import WordSegmenter
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

SCHEMA_VERSION = 2
"""The newest version. 2 has a `Manifest.word_segmenter`: clients that read only 1 would ignore it."""
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
        pad_value: the value that pads a row to the length of the signature.
        size: exclusive upper bound of the values: vocabulary size for input_ids, number of types for token_type_ids.
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
    """The checkpoint that a bundle was exported from.

    Attributes:
        format: checkpoint format, for example "huggingface" or "live".
        name: directory or hub name, as passed to the export.
        architecture: class name of the model.
        layers, hidden_size, vocab_size, parameters: sizes of the model.
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
    """Comparison of one output of one exported format with the source model on the parity texts.

    Attributes:
        format: "saved_model", "onnx" (with onnxruntime's own operators) or "onnx_standard" (standard operators only).
        signature: the compared signature.
        output: output name.
        rows: number of compared texts.
        max_abs: largest absolute difference.
        max_rel: largest difference, divided by the largest magnitude of the source model's output.
        agreement: fraction of equal values for integer outputs, of equal argmax for scores and logits, else 1.0.
        rtol, atol: the tolerance of the comparison.
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
    """Size in bytes and SHA-256 digest of a file of the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of a bundle: task, signatures, labels and how to decode its outputs.

    Attributes:
        schema_version: version of this schema; `from_json` refuses a newer one.
        name: model name that the bundle was exported under.
        task: token-classification, span-classification, text-classification, regression, feature-extraction,
            question-answering, fill-mask, or multi-task for a model with several heads.
        max_length: maximum number of tokens, including special tokens; the length of `serving_default`.
        signatures: length of each fixed-length signature, by name.
        inputs, outputs: inputs and outputs of every fixed-length signature.
        tokenizer_lowercase: whether the tokenizer lowercases.
        labels: label of each class index, in order; empty for tasks without classes.
        label_scheme: BIO, BIOES, BMES or IO (token classification), else "none".
        label_decoding: how the graph computes `label_ids`: "crf" (the best sequence according to the CRF of the model;
            the score of a label is its marginal probability), "viterbi" (the best sequence that the label scheme
            allows) or "argmax".
        word_labels: how words are labelled: "token" (each token has its own label), "first" (the label of the word's
            first token) or "first-labelled" (the label of its first token that is not O).
        multi_label: whether classes are independent (sigmoid) instead of mutually exclusive (softmax).
        pooling: how `sentence_embedding` is computed from the token vectors: "mean", "cls", "max", "pooler" or "none".
        last_layers: number of last layers whose vectors are concatenated before pooling.
        normalized: whether `sentence_embedding` is normalized to length 1.
        mask_token: the text of the mask token, for example "[MASK]"; "" unless the task is fill-mask.
        top_k: number of tokens for each mask (fill-mask), or of rows for spans (span-classification); else 0.
        span_threshold: the logit that a span must exceed; 0 is a score of 0.5.
        prompt: text whose tokens the tokenizer puts in front of every text (sentence-transformers); "" for none.
        added_tokens: tokens that the tokenizer recognizes in a text because they were added to the model's own, for
            example "[E1]"; empty if there are none, and in bundles of older versions.
        heads: the heads of a multi-task model by name; empty for other tasks. Each states its own labels and how they
            are decoded; the fields above have their defaults.
        word_segmenter: how texts are split into words in front of the tokenizer (Japanese); None if tokenizer.json says
            so. A manifest with one has schema version 2.
        precision: precision of the encoder's matrix products: "float32", "bfloat16" (in the SavedModel; the ONNX files
            have float32), "float16" (in the ONNX files; the SavedModel has float32) or "int8" (in bundles of version
            0.1, the SavedModel has float32).
        source: the checkpoint that the bundle was exported from.
        parity: comparison of each exported format with the source model.
        files: every other file of the bundle, by path relative to the bundle.
        generator: versions of the packages that wrote the bundle, by package name.
        created: UTC time of the export, ISO 8601.
        notes: notes of the export for the user.

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
    span_threshold: float = 0.0
    prompt: str = ""
    added_tokens: tuple[str, ...] = ()
    heads: Mapping[str, Head] = field(default_factory=dict)
    word_segmenter: WordSegmenter | None = None
    precision: str = "float32"
    parity: tuple[ParityRow, ...] = ()
    files: Mapping[str, FileInfo] = field(default_factory=dict)
    generator: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    notes: tuple[str, ...] = ()
    schema_version: int = 1

    def __post_init__(self) -> None:
        if self.signatures.get("serving_default") != self.max_length:
            raise ValueError(f"serving_default must have max_length {self.max_length}, got {dict(self.signatures)}")
        if any(length < 1 for length in self.signatures.values()):
            raise ValueError(f"signature lengths must be positive, got {dict(self.signatures)}")
        if not self.inputs or not self.outputs:
            raise ValueError("a bundle needs inputs and outputs")
        check_heads(self.task, self.heads, (spec.name for spec in self.outputs))

    def to_json(self) -> str:
        """Return the manifest as JSON, the content of bundle.json.

        >>> json.loads(client.manifest().to_json())["task"]
        'token-classification'
        """
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Parse a manifest.

        Raises:
            ManifestError: not JSON, a field is missing or has the wrong type, or the schema version is newer.

        >>> Manifest.from_json(client.manifest().to_json()) == client.manifest()
        True
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"{MANIFEST_FILE} is not JSON: {error}. Export the bundle again.") from error
        if not isinstance(data, dict):
            raise ManifestError(f"{MANIFEST_FILE} contains {type(data).__name__}, expected an object.")
        version = data.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ManifestError(
                f"{MANIFEST_FILE} has schema version {version}, this bertbundle reads up to {SCHEMA_VERSION}. "
                "Upgrade bertbundle."
            )
        try:
            manifest: Manifest = build_value(cls, data, MANIFEST_FILE)
        except ValueError as error:
            raise ManifestError(f"{MANIFEST_FILE} is malformed: {error}. Export the bundle again.") from error
        return manifest

    @classmethod
    def read(cls, bundle: Path) -> Manifest:
        """Read the manifest of a bundle directory.

        Raises:
            ManifestError: the directory has no bundle.json, or it is malformed.

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
