"""The signatures of a bundle as its manifest states them, and `bundle_info`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.manifest import BUNDLE_INFO, MANIFEST_FILE, TOKENIZER_FILE, Manifest, OutputSpec
from bertbundle_serving.runtimes.base import SignatureSpec, TensorSpec

__all__ = ["Bundle", "read_bundle"]

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
