"""The OpenVINO runtime: ``model_standard.onnx`` of a bundle, in float32, in bfloat16 or in int8."""

from __future__ import annotations

import os
import queue
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle._shared.cpu_features import INT8_FLAGS, fast_bfloat16, fast_int8
from bertbundle.contract.types import Arrays
from bertbundle_serving.cores import available_cores
from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes.base import GraphNotSupported, Runtime, RuntimeOptions, Servable, describe
from bertbundle_serving.runtimes.bundle import Bundle, BundleServable, check_graph, read_bundle

__all__ = ["RUNTIME", "OpenVinoServable"]

_MARKER = "model_standard.onnx"
_HINTS = {"float32": "f32", "bfloat16": "bf16"}
"""Our names of precisions and OpenVINO's."""


class OpenVinoServable(BundleServable):
    """A bundle computed by OpenVINO."""

    def __init__(self, model: Any, bundle: Bundle, description: str, threads: int) -> None:
        super().__init__(bundle, description, threads)
        self._model = model
        self._feeds = tuple(port.any_name for port in model.inputs)
        check_graph(_MARKER, bundle, self._feeds, [name for port in model.outputs for name in port.names])
        # A request holds the memory of one computation and serves one call at a time; the last used is the warmest.
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()

    def close(self) -> None:
        """Drop the model; OpenVINO frees the weights once no request uses it."""
        self._model = None
        self._idle = queue.LifoQueue()

    def _compute(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        with self._request() as request:
            request.infer({name: inputs[name] for name in self._feeds}, share_inputs=True)
            # Copies: the next call of this request writes into the same memory.
            return {name: np.array(request.get_tensor(name).data) for name in outputs}

    @contextmanager
    def _request(self) -> Iterator[Any]:
        idle = self._idle
        try:
            request = idle.get_nowait()
        except queue.Empty:
            request = self._model.create_infer_request()
        yield request
        idle.put(request)  # not one that failed


def _load(directory: Path, options: RuntimeOptions) -> Servable:
    # Its newer reader of ONNX files does not know the loops of label decoding.
    os.environ.setdefault("ONNX_ITERATOR", "0")
    # Else the import itself reports to Google Analytics and writes to the home directory.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ServeError("OpenVINO is not installed: pip install 'bertbundle-toolkit[openvino]'.") from error
    bundle = read_bundle(directory)
    cores = available_cores()
    threads = options.threads or cores
    streams = max(1, cores // threads)  # as many computations at a time as the server begins
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[_rest(options.precision)],
        "INFERENCE_NUM_THREADS": threads * streams,
        "NUM_STREAMS": streams,
    }
    try:
        model = openvino.Core().compile_model(str(directory / _MARKER), "CPU", settings)
    except RuntimeError as error:
        # Of many lines: where in its sources, what each operation lacks, and after dashes what it comes to.
        lines = str(error).strip().splitlines()
        reason = next((line for line in reversed(lines) if line.startswith("-- ")), lines[-1]).removeprefix("-- ")
        raise GraphNotSupported(f"OpenVINO does not load {_MARKER} of {directory}: {reason}") from error
    return OpenVinoServable(model, bundle, describe("openvino", options.precision, threads, options.why), threads)


def _rest(precision: str) -> str:
    """Return the precision of what is not int8 in a model, or of the whole model if nothing is."""
    if precision != "int8":
        return precision
    if fast_int8() is None:
        raise GraphNotSupported(
            f"OpenVINO's int8 products overflow on this processor: it has none of {', '.join(INT8_FLAGS)}"
        )
    return "bfloat16" if fast_bfloat16() else "float32"


RUNTIME = Runtime(
    "openvino",
    _MARKER,
    _load,
    "openvino",
    ignores=("saved_model.pb", "variables/", "assets/"),
    precisions=(*_HINTS, "int8"),
)
