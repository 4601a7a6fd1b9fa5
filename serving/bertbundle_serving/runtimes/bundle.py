"""The signatures of a bundle as its manifest states them, and `bundle_info`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.manifest import BUNDLE_INFO, MANIFEST_FILE, TOKENIZER_FILE, Manifest, OutputSpec
from bertbundle.contract.types import Arrays
from bertbundle_serving.cores import available_cores
from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes.base import SignatureSpec, TensorSpec

__all__ = ["Bundle", "BundleServable", "check_graph", "read_bundle"]

_STRING = np.dtype(object)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What the server holds of a bundle besides its weights.

    Attributes:
        manifest: bundle.json.
        info: values of the outputs of `bundle_info`: the two files as they are.
    """

    manifest: Manifest
    info: Mapping[str, bytes]

    def signatures(self) -> dict[str, SignatureSpec]:
        """Return every signature of the bundle by name."""
        lengths = self.manifest.signatures
        return {name: self._length_signature(name, length) for name, length in lengths.items()} | {
            BUNDLE_INFO: self._info_signature()
        }

    def bundle_info(self, rows: int) -> dict[str, npt.NDArray[Any]]:
        """Return the outputs of `bundle_info`: each a string array of shape ``[rows]``."""
        return {name: np.full(rows, text, _STRING) for name, text in self.info.items()}

    def _length_signature(self, name: str, length: int) -> SignatureSpec:
        inputs = {
            spec.name: TensorSpec(spec.name, np.dtype(spec.dtype), (None, length), f"{name}_{spec.name}:0", spec.size)
            for spec in self.manifest.inputs
        }
        outputs = {spec.name: _output(spec, length, name) for spec in self.manifest.outputs}
        return SignatureSpec(name, inputs, outputs, batched=True)

    def _info_signature(self) -> SignatureSpec:
        row = TensorSpec("row", np.dtype(np.int32), (None,), f"{BUNDLE_INFO}_row:0")
        outputs = {name: TensorSpec(name, _STRING, (None,), f"{BUNDLE_INFO}_{name}:0") for name in self.info}
        return SignatureSpec(BUNDLE_INFO, {"row": row}, outputs, batched=True)


def _output(spec: OutputSpec, length: int, signature: str) -> TensorSpec:
    sizes = {"batch": None, "length": length}
    shape = tuple(sizes[size] if size in sizes else int(size) for size in spec.shape)
    return TensorSpec(spec.name, np.dtype(spec.dtype), shape, f"{signature}_{spec.name}:0")


def read_bundle(directory: Path) -> Bundle:
    """Read the manifest and the tokenizer of a bundle.

    Raises:
        ManifestError: bundle.json is missing, malformed or too new.
        OSError: tokenizer.json cannot be read.
    """
    info = {
        "manifest": directory / MANIFEST_FILE,
        "tokenizer": directory / TOKENIZER_FILE,
    }
    manifest = Manifest.read(directory)
    return Bundle(manifest, {name: path.read_bytes() for name, path in info.items()})


class BundleServable(ABC):
    """A bundle computed by a graph of any length, which serves every length signature.

    Args:
        bundle: what it holds besides its weights.
        description: see `Servable`.
        threads: of one computation. More at a time than there are cores for would only take them from each other.
    """

    def __init__(self, bundle: Bundle, description: str, threads: int) -> None:
        self._bundle = bundle
        self.parallel = max(1, available_cores() // threads)
        self.signatures: Mapping[str, SignatureSpec] = bundle.signatures()
        self.description = description

    def run(self, signature: str, inputs: Arrays, outputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Compute the named outputs of a signature; see `Servable.run`."""
        if signature == BUNDLE_INFO:
            values = self._bundle.bundle_info(len(inputs["row"]))
            return {name: values[name] for name in outputs}
        if not len(next(iter(inputs.values()))):
            return self._empty(signature, outputs)
        return self._compute(inputs, outputs)

    @abstractmethod
    def close(self) -> None:
        """Free what the servable holds."""

    @abstractmethod
    def _compute(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Compute the named outputs of a batch that is not empty."""

    def _empty(self, signature: str, outputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Answer a batch of 0 rows: some of the runtimes' kernels fail on one."""
        specs = self.signatures[signature].outputs
        return {name: np.empty([size or 0 for size in specs[name].shape or ()], specs[name].dtype) for name in outputs}


def check_graph(marker: str, bundle: Bundle, feeds: Sequence[str], results: Sequence[str]) -> None:
    """Check that a graph and the manifest are of one bundle.

    Args:
        marker: name of the graph's file.
        bundle: the bundle it is in.
        feeds: the graph's inputs: perhaps fewer than the manifest's, an unused one is optimised away.
        results: the graph's outputs.

    Raises:
        ServeError: the graph has an input that the manifest has not, or lacks an output.
    """
    _check_known(marker, "inputs", feeds, [spec.name for spec in bundle.manifest.inputs])
    _check_known(marker, "outputs", [spec.name for spec in bundle.manifest.outputs], results)


def _check_known(marker: str, what: str, wanted: Sequence[str], there: Sequence[str]) -> None:
    missing = sorted(set(wanted) - set(there))
    if missing:
        raise ServeError(f"{marker} and bundle.json disagree on the {what} {', '.join(missing)}. Export again.")
