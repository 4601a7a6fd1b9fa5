"""A bundle directory opened in this process: for tests and notebooks, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bertbundle._shared.onnxruntime_loader import import_onnxruntime
from bertbundle.contract.manifest import BUNDLE_INFO, MANIFEST_FILE, TOKENIZER_FILE, Manifest
from bertbundle.contract.types import Arrays, Prediction, VersionStatus
from bertbundle.errors import InputError, SignatureNotFound

__all__ = ["LocalTransport"]


class LocalTransport:
    """Answers from a bundle's model.onnx, in the thread that asks.

    >>> LocalTransport("models/ner")  # doctest: +SKIP
    """

    def __init__(self, path: str | Path) -> None:
        """Open a version directory, or the newest one in the directory of a model.

        Raises:
            InputError: no bundle there, or onnxruntime is not installed.
            ManifestError: a bundle.json that cannot be read.
        """
        self._path = _version_directory(Path(path))
        self.version = int(self._path.name) if self._path.name.isdecimal() else 1
        self.manifest = Manifest.read(self._path)
        self._session = _open(self._path / "model.onnx")

    def predict(
        self,
        model: str,
        signature: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] = (),
        version: int | None = None,
        timeout: float,
    ) -> Prediction:
        """See `Transport.predict`; a computation cannot be interrupted, so `timeout` is not looked at."""
        del model, version, timeout
        if signature == BUNDLE_INFO:
            return Prediction(self._info(len(inputs["row"])), self.version)
        if signature not in self.manifest.signatures:
            raise SignatureNotFound(f"{self._path} has no signature {signature!r}.", code="FAILED_PRECONDITION")
        names = list(outputs) or [spec.name for spec in self.manifest.outputs]
        return Prediction(dict(zip(names, self._session.run(names, dict(inputs)), strict=True)), self.version)

    def _info(self, rows: int) -> dict[str, Any]:
        files = {"manifest": MANIFEST_FILE, "tokenizer": TOKENIZER_FILE}
        return {name: np.array([(self._path / file).read_bytes()] * rows, object) for name, file in files.items()}

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:
        """See `Transport.status`."""
        del model, timeout
        return [VersionStatus(self.version, "AVAILABLE", "OK", "")]

    def close(self) -> None:
        """See `Transport.close`."""


def _version_directory(path: Path) -> Path:
    if (path / MANIFEST_FILE).exists():
        return path
    versions = [each.parent for each in path.glob(f"[0-9]*/{MANIFEST_FILE}") if each.parent.name.isdecimal()]
    if not versions:
        raise InputError(f"no {MANIFEST_FILE} in {path} or in a version directory of it. Name a bundle's directory.")
    return max(versions, key=lambda each: int(each.name))


def _open(path: Path) -> Any:
    try:
        onnxruntime = import_onnxruntime()
    except ImportError as error:
        raise InputError("a bundle in this process needs onnxruntime: pip install 'bertbundle[local]'.") from error
    if not path.exists():
        raise InputError(f"{path} is not there: the bundle was exported without ONNX.")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
