"""The ONNX runtime: ``model.onnx`` of a bundle, without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.errors import ServeError
from bertbundle.manifest import BUNDLE_INFO
from bertbundle.primitives import Arrays
from bertbundle_serving.cores import available_cores
from bertbundle_serving.runtimes.base import Runtime, RuntimeOptions, Servable, SignatureSpec
from bertbundle_serving.runtimes.bundle import Bundle, read_bundle

__all__ = ["RUNTIME", "OnnxServable"]

_MARKER = "model.onnx"


class OnnxServable:
    """A bundle computed by onnxruntime. One graph of any length serves every length signature."""

    def __init__(self, session: Any, bundle: Bundle, *, threads: int) -> None:
        self._session = session
        self._bundle = bundle
        self._feeds = _checked_feeds(session, bundle)
        self.signatures: Mapping[str, SignatureSpec] = bundle.signatures()
        self.description = f"runtime onnx threads {threads}"

    def run(self, signature: str, inputs: Arrays, outputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Compute the named outputs of a signature; see `Servable.run`."""
        if signature == BUNDLE_INFO:
            values = self._bundle.bundle_info(len(inputs["row"]))
            return {name: values[name] for name in outputs}
        if not len(next(iter(inputs.values()))):
            return self._empty(signature, outputs)
        feeds = {name: inputs[name] for name in self._feeds}
        return dict(zip(outputs, self._session.run(list(outputs), feeds), strict=True))

    def close(self) -> None:
        """Drop the session; onnxruntime frees the weights once no run uses it."""
        self._session = None

    def _empty(self, signature: str, outputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Answer a batch of 0 rows: some of onnxruntime's kernels fail on one."""
        specs = self.signatures[signature].outputs
        return {name: np.empty([size or 0 for size in specs[name].shape or ()], specs[name].dtype) for name in outputs}


def _checked_feeds(session: Any, bundle: Bundle) -> tuple[str, ...]:
    """Return the inputs the graph wants: perhaps fewer than the manifest's, an unused one is optimised away."""
    feeds = tuple(node.name for node in session.get_inputs())
    _check_known("inputs", feeds, [spec.name for spec in bundle.manifest.inputs])
    _check_known("outputs", [spec.name for spec in bundle.manifest.outputs], [n.name for n in session.get_outputs()])
    return feeds


def _check_known(what: str, wanted: Sequence[str], there: Sequence[str]) -> None:
    missing = sorted(set(wanted) - set(there))
    if missing:
        raise ServeError(f"{_MARKER} and bundle.json disagree on the {what} {', '.join(missing)}. Export again.")


def _load(directory: Path, options: RuntimeOptions) -> Servable:
    try:
        import onnxruntime
    except ImportError as error:
        raise ServeError("onnxruntime is not installed: pip install 'bertbundle-toolkit[serving]'.") from error
    threads = options.threads or available_cores()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3  # errors; they are raised as well
    session = onnxruntime.InferenceSession(
        str(directory / _MARKER), sess_options=settings, providers=["CPUExecutionProvider"]
    )
    return OnnxServable(session, read_bundle(directory), threads=threads)


RUNTIME = Runtime("onnx", _MARKER, _load, ignores=("saved_model.pb", "variables/", "assets/"))
