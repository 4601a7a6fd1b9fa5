"""The ONNX runtime: computes ``model.onnx`` of a bundle with onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bertbundle._shared.cores import available_cores
from bertbundle._shared.cpu_features import INT8_FLAGS, fast_int8
from bertbundle._shared.onnxruntime_loader import import_onnxruntime, session_options
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
from bertbundle_serving.runtimes.cuda import CUDA_CONCURRENCY, CUDA_PROVIDER, PROVIDERS, onnxruntime_cuda_problem

__all__ = ["CPU_PRECISIONS", "RUNTIME", "OnnxServable"]

_MODEL_FILE = "model.onnx"
_PRECISIONS = ("float32", "float16", "int8")
CPU_PRECISIONS = ("int8",)
"""Precisions whose operators onnxruntime has on CPUs only."""
_SPIN_MICROSECONDS = ("session.intra_op.spin_duration_us", "50")
"""How long a thread without work waits actively. By default it is many milliseconds, in which no other thread gets the
core (onnxruntime_session_options_config_keys.h, since 1.26)."""
_BOUNDED_SPINNING = (1, 26)

_logger = logging.getLogger(__name__)


class OnnxServable(BundleServable):
    """A bundle computed by onnxruntime."""

    def __init__(self, session: Any, bundle: BundleMetadata, description: str, threads: int) -> None:
        super().__init__(bundle, description, threads)
        if CUDA_PROVIDER in session.get_providers():
            self.concurrency, self.threads = CUDA_CONCURRENCY, available_cores()  # no batch is divided among cores
        elif _spinning_is_bounded():
            # Computations share the threads. Each takes as much work as it finds idle threads for, and never waits.
            self.concurrency = available_cores()
        self._session = session
        self._input_names = tuple(node.name for node in session.get_inputs())
        check_graph(_MODEL_FILE, bundle, self._input_names, [node.name for node in session.get_outputs()])

    def prepare_for_load(self) -> None:
        """Do nothing; see `Servable`."""

    def close(self) -> None:
        """Drop the session. onnxruntime frees the weights when the last run ends."""
        self._session = None

    def _compute(self, inputs: Arrays, outputs: Sequence[str]) -> Outputs:
        feeds = {name: inputs[name] for name in self._input_names}
        return dict(zip(outputs, self._session.run(list(outputs), feeds), strict=True))


def _load(directory: Path, options: RuntimeOptions) -> Servable:
    try:
        onnxruntime = import_onnxruntime()
    except ImportError as error:
        raise ServeError("onnxruntime is not installed: pip install 'bertbundle-toolkit[serving]'.") from error
    device = _device(directory, options)
    threads = options.threads or available_cores()
    settings = session_options(onnxruntime)
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry(*_SPIN_MICROSECONDS)
    # Without a fallback: after an error of the GPU, onnxruntime would compute on the CPU from then on.
    session = onnxruntime.InferenceSession(
        str(directory / _MODEL_FILE), sess_options=settings, providers=PROVIDERS[device], enable_fallback=0
    )
    if device == "cuda" and CUDA_PROVIDER not in session.get_providers():
        raise ServeError(f"onnxruntime loads {directory} on the CPU only. Check the memory of the GPU with nvidia-smi.")
    precision = options.precision if options.precision in _PRECISIONS else "float32"
    if precision == "int8" and fast_int8() is None:
        _logger.warning("int8 is slow on this processor: it has none of %s", ", ".join(INT8_FLAGS))
    if device == "cpu":
        precision = precision_on_cpu(precision, directory)
    description = describe("onnx", precision, threads, options.reason, device)
    return OnnxServable(session, read_bundle_metadata(directory), description, threads)


def _spinning_is_bounded() -> bool:
    """Return whether this onnxruntime knows `_SPIN_MICROSECONDS`; older versions ignore it."""
    major, minor = import_onnxruntime().__version__.split(".")[:2]
    return (int(major), int(minor)) >= _BOUNDED_SPINNING


def _device(directory: Path, options: RuntimeOptions) -> str:
    """Return the device to load a version on, "cpu" or "cuda"."""
    if options.device == "cuda" and options.precision in CPU_PRECISIONS:
        raise GraphNotSupported(
            f"the ONNX files in {directory} are {options.precision}, whose operators compute on CPUs only, but "
            "--device is cuda. Omit it, or export with --precision float16"
        )
    if options.device == "auto" and (options.precision in CPU_PRECISIONS or onnxruntime_cuda_problem()):
        return "cpu"
    return "cuda" if options.device == "auto" else options.device


RUNTIME = Runtime(
    "onnx",
    _MODEL_FILE,
    _load,
    "onnxruntime",
    ignores=("saved_model.pb", "variables/", "assets/", "model_standard.onnx"),
    precisions=_PRECISIONS,
    cuda_problem=onnxruntime_cuda_problem,
)
