"""The OpenVINO runtime: computes ``model_standard.onnx`` of a bundle in float32, bfloat16 or int8."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bertbundle._shared.cores import available_cores
from bertbundle._shared.cpu_features import INT8_FLAGS, fast_bfloat16, fast_int8
from bertbundle.contract.types import Arrays
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

_logger = logging.getLogger(__name__)

_MODEL_FILE = "model_standard.onnx"
_PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16"}
"""OpenVINO's names of precisions."""


class _CompiledModel:
    """A model compiled for a number of concurrent computations.

    An infer request owns the memory of one computation. Last in, first out: its memory may still be in the cache.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._idle_requests: queue.LifoQueue[Any] = queue.LifoQueue()
        self.input_names = tuple(port.any_name for port in model.inputs)
        self.output_names = [name for port in model.outputs for name in port.names]

    def compute(self, inputs: Arrays, outputs: Sequence[str]) -> Outputs:
        """Compute the named outputs."""
        with self._request() as request:
            request.infer({name: inputs[name] for name in self.input_names}, share_inputs=True)
            # Copy: the next computation of this request writes to the same memory.
            return {name: np.array(request.get_tensor(name).data) for name in outputs}

    @contextmanager
    def _request(self) -> Iterator[Any]:
        try:
            request = self._idle_requests.get_nowait()
        except queue.Empty:
            request = self._model.create_infer_request()
        yield request
        self._idle_requests.put(request)  # not reached if the computation failed


Compile = Callable[[int, int], _CompiledModel]
"""Compiles the model, given the number of threads per computation and of concurrent computations."""


class OpenVinoServable(BundleServable):
    """A bundle computed by OpenVINO.

    OpenVINO fixes the threads of a computation when it compiles a model. By default the model is compiled for one
    computation with all cores and, when calls have been waiting for a while, a second time for as many computations as
    there are cores. From then on a computation uses all cores if it starts alone, else one core.

    Args:
        compile_model: compiles the model.
        bundle: the bundle's metadata.
        description: see `Servable`.
        threads: threads per computation.
        fixed: whether all computations use this number of threads.
    """

    def __init__(
        self, compile_model: Compile, bundle: BundleMetadata, description: str, threads: int, *, fixed: bool
    ) -> None:
        super().__init__(bundle, description, threads)
        self._model: _CompiledModel | None = compile_model(threads, self.concurrency)
        check_graph(_MODEL_FILE, bundle, self._model.input_names, self._model.output_names)
        self._compile: Compile | None = None if fixed or threads == 1 else compile_model
        self._concurrent_model: _CompiledModel | None = None
        self._running = 0
        self._lock = threading.Lock()

    def prepare_for_load(self) -> None:
        """Compile the model for as many computations as there are cores, once."""
        with self._lock:
            compile_model, self._compile = self._compile, None
        if compile_model is None:
            return
        try:
            compiled = compile_model(1, self.threads)
        except RuntimeError as error:  # OpenVINO's only exception; for example, there is not enough memory
            _logger.warning("computing one batch at a time: the model was not compiled a second time: %s", error)
            return
        with self._lock:
            if self._model is not None:
                self._concurrent_model = compiled
                self.concurrency = self.threads

    def close(self) -> None:
        """Drop the models. OpenVINO frees the weights when the last request ends."""
        with self._lock:
            self._model = self._concurrent_model = self._compile = None

    def _compute(self, inputs: Arrays, outputs: Sequence[str]) -> Outputs:
        with self._lock:
            model = self._concurrent_model if self._running and self._concurrent_model else self._model
            self._running += 1
        try:
            if model is None:
                raise ValueError("the servable is closed")
            return model.compute(inputs, outputs)
        finally:
            with self._lock:
                self._running -= 1


def _load(directory: Path, options: RuntimeOptions) -> Servable:
    openvino = _import_openvino()
    bundle = read_bundle_metadata(directory)
    precision = precision_on_cpu(options.precision, directory)
    hint = _PRECISION_HINTS[_float_precision(precision)]
    threads = options.threads or available_cores()
    core = openvino.Core()
    try:
        # Both compiled models share the weights that are not rearranged.
        model = core.read_model(str(directory / _MODEL_FILE))

        def compile_model(threads: int, streams: int) -> _CompiledModel:
            settings = {
                "INFERENCE_PRECISION_HINT": hint,
                "INFERENCE_NUM_THREADS": threads * streams,
                "NUM_STREAMS": streams,
            }
            return _CompiledModel(core.compile_model(model, "CPU", settings))

        description = describe("openvino", precision, threads, options.reason)
        return OpenVinoServable(compile_model, bundle, description, threads, fixed=options.threads is not None)
    except RuntimeError as error:
        # The message has many lines. The last line that begins with dashes is the summary.
        lines = str(error).strip().splitlines()
        reason = next((line for line in reversed(lines) if line.startswith("-- ")), lines[-1]).removeprefix("-- ")
        raise GraphNotSupported(f"OpenVINO cannot load {_MODEL_FILE} of {directory}: {reason}") from error


def _import_openvino() -> Any:
    # OpenVINO's newer ONNX reader does not support the loops of label decoding.
    os.environ.setdefault("ONNX_ITERATOR", "0")
    # Otherwise the import reports to Google Analytics and writes to the home directory.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ServeError("OpenVINO is not installed: pip install 'bertbundle-toolkit[openvino]'.") from error
    return openvino


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
