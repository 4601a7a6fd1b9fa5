"""The ONNX runtime: computes ``model.onnx`` of a bundle with onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bertbundle._shared.cpu_features import INT8_FLAGS, fast_int8
from bertbundle._shared.onnxruntime_loader import import_onnxruntime, session_options
from bertbundle.contract.types import Arrays
from bertbundle_serving.cores import available_cores
from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes.base import Outputs, Runtime, RuntimeOptions, Servable, describe
from bertbundle_serving.runtimes.bundle import BundleMetadata, BundleServable, check_graph, read_bundle_metadata

__all__ = ["RUNTIME", "OnnxServable"]

_MODEL_FILE = "model.onnx"
_PRECISIONS = ("float32", "int8")
_SPIN_MICROSECONDS = ("session.intra_op.spin_duration_us", "50")
"""How long a thread without work waits actively. By default it is many milliseconds, in which no other thread gets the
core (onnxruntime_session_options_config_keys.h, since 1.26)."""
_BOUNDED_SPINNING = (1, 26)

_logger = logging.getLogger(__name__)


class OnnxServable(BundleServable):
    """A bundle computed by onnxruntime."""

    def __init__(self, session: Any, bundle: BundleMetadata, description: str, threads: int) -> None:
        super().__init__(bundle, description, threads)
        if _spinning_is_bounded():
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
    threads = options.threads or available_cores()
    settings = session_options(onnxruntime)
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry(*_SPIN_MICROSECONDS)
    session = onnxruntime.InferenceSession(
        str(directory / _MODEL_FILE), sess_options=settings, providers=["CPUExecutionProvider"]
    )
    precision = options.precision if options.precision in _PRECISIONS else "float32"
    if precision == "int8" and fast_int8() is None:
        _logger.warning("int8 is slow on this processor: it has none of %s", ", ".join(INT8_FLAGS))
    description = describe("onnx", precision, threads, options.reason)
    return OnnxServable(session, read_bundle_metadata(directory), description, threads)


def _spinning_is_bounded() -> bool:
    """Return whether this onnxruntime knows `_SPIN_MICROSECONDS`; older versions ignore it."""
    major, minor = import_onnxruntime().__version__.split(".")[:2]
    return (int(major), int(minor)) >= _BOUNDED_SPINNING


RUNTIME = Runtime(
    "onnx",
    _MODEL_FILE,
    _load,
    "onnxruntime",
    ignores=("saved_model.pb", "variables/", "assets/", "model_standard.onnx"),
    precisions=_PRECISIONS,
)
