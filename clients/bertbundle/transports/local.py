"""Run a bundle in this process, for tests and notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bertbundle._shared.cores import available_cores
from bertbundle._shared.onnxruntime_loader import import_onnxruntime, session_options
from bertbundle._shared.validation import check_counts
from bertbundle.contract.manifest import BUNDLE_INFO, MANIFEST_FILE, TOKENIZER_FILE, Manifest
from bertbundle.contract.types import PredictCall, Prediction, VersionStatus
from bertbundle.errors import InputError, ModelNotFound, SignatureNotFound
from bertbundle.transports.cancellation import Cancellation

__all__ = ["LocalTransport", "version_directory"]


class LocalTransport:
    """Runs a bundle's model.onnx on the CPU, in the calling thread.

    >>> LocalTransport("models/ner")  # doctest: +SKIP
    """

    supports_labels = False

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        """Open a version directory, or the newest version in a model directory.

        Args:
            path: the directory.
            threads: number of threads that compute; None for one per core. More threads than cores are much slower.

        Raises:
            TypeError, ValueError: `threads` is not a whole number of at least 1.
            InputError: there is no bundle, or onnxruntime is not installed.
            ManifestError: the bundle.json cannot be read.
        """
        check_counts(threads=threads)
        self._path = version_directory(Path(path))
        self.version = int(self._path.name) if self._path.name.isdecimal() else 1
        self.manifest = Manifest.read(self._path)
        self._session = _open(self._path / "model.onnx", threads)

    def predict(
        self,
        call: PredictCall,
        *,
        timeout: float,  # noqa: ARG002 - a run of the model cannot be interrupted
        cancel: Cancellation | None = None,  # noqa: ARG002 - likewise
    ) -> Prediction:
        """See `Transport.predict`; `timeout` and `cancel` are ignored."""
        if call.version not in (None, self.version):
            raise ModelNotFound(f"{self._path} is version {self.version}, not {call.version!r}.", code="NOT_FOUND")
        if call.signature == BUNDLE_INFO:
            return Prediction(self._info(len(call.inputs["row"])), self.version)
        if call.signature not in self.manifest.signatures:
            raise SignatureNotFound(f"{self._path} has no signature {call.signature!r}.", code="FAILED_PRECONDITION")
        names = list(call.outputs) or [spec.name for spec in self.manifest.outputs]
        return Prediction(dict(zip(names, self._session.run(names, dict(call.inputs)), strict=True)), self.version)

    def _info(self, rows: int) -> dict[str, Any]:
        files = {"manifest": MANIFEST_FILE, "tokenizer": TOKENIZER_FILE}
        return {name: np.array([(self._path / file).read_bytes()] * rows, object) for name, file in files.items()}

    def status(self, model: str, *, timeout: float) -> list[VersionStatus]:  # noqa: ARG002 - one model, available at once
        """See `Transport.status`."""
        return [VersionStatus(self.version, "AVAILABLE", "OK", "")]

    def close(self) -> None:
        """See `Transport.close`."""


def version_directory(path: Path) -> Path:
    """Return a version directory itself, or the newest version in a model directory.

    Raises:
        InputError: there is no bundle.
    """
    if (path / MANIFEST_FILE).exists():
        return path
    versions = [file.parent for file in path.glob(f"[0-9]*/{MANIFEST_FILE}") if file.parent.name.isdecimal()]
    if not versions:
        raise InputError(f"no {MANIFEST_FILE} in {path} or its version directories. Pass the directory of a bundle.")
    return max(versions, key=lambda version: int(version.name))


def _open(path: Path, threads: int | None) -> Any:
    try:
        onnxruntime = import_onnxruntime()
    except ImportError as error:
        raise InputError(
            "to run a bundle in this process, install onnxruntime: pip install 'bertbundle[local]'."
        ) from error
    if not path.exists():
        raise InputError(f"{path} does not exist: the bundle was exported without ONNX.")
    options = session_options(onnxruntime)
    options.intra_op_num_threads = threads or available_cores()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
