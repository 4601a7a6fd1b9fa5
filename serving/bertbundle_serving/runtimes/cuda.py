"""NVIDIA GPUs in onnxruntime: whether one can be used, and a session on it."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from bertbundle._shared.onnxruntime_loader import import_onnxruntime

__all__ = ["CUDA_CONCURRENCY", "CUDA_PROVIDER", "PROVIDERS", "onnxruntime_cuda_problem", "warn_if_cuda_is_unused"]

CUDA_PROVIDER = "CUDAExecutionProvider"
CUDA_CONCURRENCY = 2
"""Batches on a GPU at the same time: while it computes one, the processor prepares the other."""
_CPU_PROVIDER = "CPUExecutionProvider"

# Bundles are verified with these: float32 in full precision, not in TensorFloat-32 with its 10 bits of mantissa, and
# the sums of a normalization in float32 also for float16. cuDNN's search would delay the first call of each shape.
_CUDA_OPTIONS = {
    "use_tf32": "0",
    "enable_skip_layer_norm_strict_mode": "1",
    "cudnn_conv_algo_search": "HEURISTIC",
}

PROVIDERS: dict[str, list[Any]] = {
    "cpu": [_CPU_PROVIDER],
    # The second computes operators that the first has no kernel for, such as those on shapes.
    "cuda": [(CUDA_PROVIDER, _CUDA_OPTIONS), _CPU_PROVIDER],
}
"""onnxruntime's execution providers by device."""

# A graph that returns its input, y = Identity(x). onnx.helper.make_model(graph, opset_imports=[opset 17], ir_version=8)
# of onnx 1.23 wrote it.
_IDENTITY = (
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01b\x0f\n\x01y'
    b"\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x11"
)
_logger = logging.getLogger(__name__)
_INSTALL = "pip install 'bertbundle-toolkit[gpu]'"


@functools.cache
def onnxruntime_cuda_problem() -> str:
    """Return why onnxruntime cannot compute on a GPU in this process, and what to do; empty if it can.

    onnxruntime lists a provider whose libraries or device are missing, and then computes on the CPU. So a session is
    started, and asked for its providers.
    """
    try:
        onnxruntime = import_onnxruntime()
    except ImportError:
        return f"onnxruntime is not installed: {_INSTALL}"
    if CUDA_PROVIDER not in onnxruntime.get_available_providers():
        return _missing_provider()
    output = io.StringIO()
    onnxruntime.set_default_logger_severity(4)  # fatal errors only: the reason is returned
    try:
        # It prints which libraries it did not find. Before 1.21, onnxruntime does not have it.
        with contextlib.redirect_stdout(output), contextlib.suppress(AttributeError):
            onnxruntime.preload_dlls()
        session = onnxruntime.InferenceSession(_IDENTITY, providers=PROVIDERS["cuda"], enable_fallback=0)
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions share no base class
        return f"onnxruntime cannot use a GPU: {_first_line(str(error))}. Check that nvidia-smi lists one"
    finally:
        onnxruntime.set_default_logger_severity(2)  # the default: warnings
    if CUDA_PROVIDER in session.get_providers():
        return ""
    missing = _first_line(output.getvalue())
    if missing:
        return f"onnxruntime cannot use a GPU: {missing}. Check that nvidia-smi lists one, and {_INSTALL}"
    return (
        "onnxruntime cannot use a GPU: CUDA does not load, as without NVIDIA's driver. Check that nvidia-smi lists one"
    )


def warn_if_cuda_is_unused() -> None:
    """Warn if onnxruntime has the provider for GPUs but cannot use it: who installed it expects more speed."""
    problem = onnxruntime_cuda_problem()
    if problem and find_spec("onnxruntime") and CUDA_PROVIDER in import_onnxruntime().get_available_providers():
        _logger.warning("computing on the CPU: %s", problem)


def _missing_provider() -> str:
    try:
        installed = version("onnxruntime-gpu")
    except PackageNotFoundError:
        return (
            "the installed onnxruntime computes on CPUs only. Replace it: pip uninstall onnxruntime, then "
            f"{_INSTALL} instead of [serving]"
        )
    return (
        f"onnxruntime-gpu {installed} is installed, but the files of the package onnxruntime replaced its own. Run pip "
        f"uninstall onnxruntime onnxruntime-gpu, then {_INSTALL} instead of [serving]"
    )


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(".")
