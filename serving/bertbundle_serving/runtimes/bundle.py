"""The signatures of a bundle, as described by its manifest, and the signature `bundle_info`."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bertbundle._shared.cores import available_cores
from bertbundle.contract.manifest import BUNDLE_INFO, MANIFEST_FILE, TOKENIZER_FILE, Manifest, OutputSpec
from bertbundle.contract.types import Arrays
from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes.base import Outputs, SignatureSpec, TensorSpec

__all__ = ["BundleMetadata", "BundleServable", "check_graph", "precision_on_cpu", "read_bundle_metadata"]

_logger = logging.getLogger(__name__)
_STRING = np.dtype(object)


@dataclass(frozen=True, slots=True)
class BundleMetadata:
    """The files of a bundle other than its model files.

    Attributes:
        manifest: parsed bundle.json.
        info: outputs of `bundle_info`: the contents of bundle.json and tokenizer.json.
    """

    manifest: Manifest
    info: Mapping[str, bytes]

    def signatures(self) -> dict[str, SignatureSpec]:
        """Return all signatures of the bundle by name."""
        lengths = self.manifest.signatures
        return {name: self._length_signature(name, length) for name, length in lengths.items()} | {
            BUNDLE_INFO: self._info_signature()
        }

    def bundle_info(self, rows: int) -> Outputs:
        """Return the outputs of `bundle_info`, each a string array of shape ``[rows]``."""
        return {name: np.full(rows, text, _STRING) for name, text in self.info.items()}

    def _length_signature(self, name: str, length: int) -> SignatureSpec:
        inputs = {
            spec.name: TensorSpec(spec.name, np.dtype(spec.dtype), (None, length), f"{name}_{spec.name}:0", spec.size)
            for spec in self.manifest.inputs
        }
        outputs = {spec.name: _output_spec(spec, length, name) for spec in self.manifest.outputs}
        return SignatureSpec(name, inputs, outputs, batched=True)

    def _info_signature(self) -> SignatureSpec:
        row = TensorSpec("row", np.dtype(np.int32), (None,), f"{BUNDLE_INFO}_row:0")
        outputs = {name: TensorSpec(name, _STRING, (None,), f"{BUNDLE_INFO}_{name}:0") for name in self.info}
        return SignatureSpec(BUNDLE_INFO, {"row": row}, outputs, batched=True)


def _output_spec(spec: OutputSpec, length: int, signature: str) -> TensorSpec:
    sizes = {"batch": None, "length": length}
    shape = tuple(sizes[size] if size in sizes else int(size) for size in spec.shape)
    return TensorSpec(spec.name, np.dtype(spec.dtype), shape, f"{signature}_{spec.name}:0")


def read_bundle_metadata(directory: Path) -> BundleMetadata:
    """Read the manifest and the tokenizer of a bundle.

    Raises:
        ManifestError: bundle.json is missing, is malformed or has a newer schema version.
        OSError: tokenizer.json cannot be read.
    """
    info = {
        "manifest": directory / MANIFEST_FILE,
        "tokenizer": directory / TOKENIZER_FILE,
    }
    manifest = Manifest.read(directory)
    return BundleMetadata(manifest, {name: path.read_bytes() for name, path in info.items()})


class BundleServable(ABC):
    """A bundle computed by one graph, which accepts every length and serves all length signatures.

    Args:
        bundle: the bundle's metadata.
        description: see `Servable`.
        threads: threads per computation.
    """

    def __init__(self, bundle: BundleMetadata, description: str, threads: int) -> None:
        self._bundle = bundle
        self.threads = threads
        # More computations at the same time would compete for the cores.
        self.concurrency = max(1, available_cores() // threads)
        self.signatures: Mapping[str, SignatureSpec] = bundle.signatures()
        self.description = description

    def run(self, signature: str, inputs: Arrays, outputs: Sequence[str]) -> Outputs:
        """Compute the named outputs of a signature; see `Servable.run`."""
        if signature == BUNDLE_INFO:
            values = self._bundle.bundle_info(len(inputs["row"]))
            return {name: values[name] for name in outputs}
        if not len(next(iter(inputs.values()))):
            return self._empty_outputs(signature, outputs)
        return self._compute(inputs, outputs)

    @abstractmethod
    def close(self) -> None:
        """Free the servable's memory."""

    @abstractmethod
    def _compute(self, inputs: Arrays, outputs: Sequence[str]) -> Outputs:
        """Compute the named outputs of at least one row."""

    def _empty_outputs(self, signature: str, outputs: Sequence[str]) -> Outputs:
        """Return outputs of 0 rows without computing: some kernels of the runtimes fail on an empty batch."""
        specs = self.signatures[signature].outputs
        return {name: np.empty([size or 0 for size in specs[name].shape or ()], specs[name].dtype) for name in outputs}


def precision_on_cpu(precision: str, directory: Path) -> str:
    """Return the precision in which the ONNX runtimes compute a bundle on a CPU: files in float16, in float32.

    Both convert the weights when they load the file, and do not round between operators.
    """
    if precision != "float16":
        return precision
    _logger.warning("%s has ONNX files in float16, for GPUs; on this CPU they are computed in float32", directory)
    return "float32"


def check_graph(model_file: str, bundle: BundleMetadata, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Check that a graph and the manifest belong to the same bundle.

    Args:
        model_file: name of the graph's file.
        bundle: metadata of the bundle.
        inputs: names of the graph's inputs, possibly fewer than the manifest's: unused inputs are optimized away.
        outputs: names of the graph's outputs.

    Raises:
        ServeError: the graph has an input that is not in the manifest, or lacks an output.
    """
    _check_subset(model_file, "inputs", inputs, [spec.name for spec in bundle.manifest.inputs])
    _check_subset(model_file, "outputs", [spec.name for spec in bundle.manifest.outputs], outputs)


def _check_subset(model_file: str, kind: str, names: Sequence[str], allowed: Sequence[str]) -> None:
    missing = sorted(set(names) - set(allowed))
    if missing:
        raise ServeError(f"{model_file} and bundle.json disagree on the {kind} {', '.join(missing)}. Export again.")
