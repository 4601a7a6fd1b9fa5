"""The OpenVINO runtime: computes ``model_standard.onnx`` of a bundle in float32, bfloat16 or int8."""

from __future__ import annotations

import os
import queue
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bertbundle._shared.cpu_features import INT8_FLAGS, fast_bfloat16, fast_int8
from bertbundle.contract.types import Arrays
from bertbundle_serving.cores import available_cores
from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes.base import (
    GraphNotSupported,
    Outputs,
    Runtime,
    RuntimeOptions,
    Servable,
    describe,
)
from bertbundle_serving.runtimes.bundle import (
    BundleMetadata,
    BundleServable,
    check_graph,
    precision_on_cpu,
    read_bundle_metadata,
)

__all__ = ["RUNTIME", "OpenVinoServable"]

_MODEL_FILE = "model_standard.onnx"
_PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16"}
"""OpenVINO's names of precisions."""


class OpenVinoServable(BundleServable):
    """A bundle computed by OpenVINO."""

    def __init__(self, model: Any, bundle: BundleMetadata, description: str, threads: int) -> None:
        super().__init__(bundle, description, threads)
        self._model = model
        self._input_names = tuple(port.any_name for port in model.inputs)
        check_graph(_MODEL_FILE, bundle, self._input_names, [name for port in model.outputs for name in port.names])
        # An infer request owns the memory of one computation. Last in, first out: its memory may still be in the cache.
        self._idle_requests: queue.LifoQueue[Any] = queue.LifoQueue()

    def close(self) -> None:
        """Drop the model. OpenVINO frees the weights when the last request ends."""
        self._model = None
        self._idle_requests = queue.LifoQueue()

    def _compute(self, inputs: Arrays, outputs: Sequence[str]) -> Outputs:
        with self._request() as request:
            request.infer({name: inputs[name] for name in self._input_names}, share_inputs=True)
            # Copy: the next computation of this request writes to the same memory.
            return {name: np.array(request.get_tensor(name).data) for name in outputs}

    @contextmanager
    def _request(self) -> Iterator[Any]:
        idle = self._idle_requests  # `close` replaces it
        try:
            request = idle.get_nowait()
        except queue.Empty:
            request = self._model.create_infer_request()
        yield request
        idle.put(request)  # not reached if the computation failed


def _load(directory: Path, options: RuntimeOptions) -> Servable:
    # OpenVINO's newer ONNX reader does not support the loops of label decoding.
    os.environ.setdefault("ONNX_ITERATOR", "0")
    # Otherwise the import reports to Google Analytics and writes to the home directory.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ServeError("OpenVINO is not installed: pip install 'bertbundle-toolkit[openvino]'.") from error
    bundle = read_bundle_metadata(directory)
    precision = precision_on_cpu(options.precision, directory)
    cores = available_cores()
    threads = options.threads or cores
    streams = max(1, cores // threads)  # the number of computations that the server starts at the same time
    settings = {
        "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[_float_precision(precision)],
        "INFERENCE_NUM_THREADS": threads * streams,
        "NUM_STREAMS": streams,
    }
    try:
        model = openvino.Core().compile_model(str(directory / _MODEL_FILE), "CPU", settings)
    except RuntimeError as error:
        # The message has many lines. The last line that begins with dashes is the summary.
        lines = str(error).strip().splitlines()
        reason = next((line for line in reversed(lines) if line.startswith("-- ")), lines[-1]).removeprefix("-- ")
        raise GraphNotSupported(f"OpenVINO cannot load {_MODEL_FILE} of {directory}: {reason}") from error
    return OpenVinoServable(model, bundle, describe("openvino", precision, threads, options.reason), threads)


def _float_precision(precision: str) -> str:
    """Return the precision of the operations that are not int8."""
    if precision != "int8":
        return precision
    if fast_int8() is None:
        raise GraphNotSupported(
            f"OpenVINO's int8 products overflow on this processor: it has none of {', '.join(INT8_FLAGS)}"
        )
    return "bfloat16" if fast_bfloat16() else "float32"


RUNTIME = Runtime(
    "openvino",
    _MODEL_FILE,
    _load,
    "openvino",
    ignores=("saved_model.pb", "variables/", "assets/"),
    precisions=(*_PRECISION_HINTS, "float16", "int8"),
)
