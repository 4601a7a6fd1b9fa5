"""The runtimes, one module each, and the choice of one for a version."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from bertbundle._shared.cpu_features import BFLOAT16_FLAGS, fast_bfloat16
from bertbundle.contract.manifest import MANIFEST_FILE, Manifest
from bertbundle_serving.errors import ServeError
from bertbundle_serving.runtimes import onnx, openvino, saved_model
from bertbundle_serving.runtimes.base import (
    GraphNotSupported,
    Runtime,
    RuntimeOptions,
    Servable,
    SignatureSpec,
    TensorSpec,
)
from bertbundle_serving.runtimes.cuda import onnxruntime_cuda_problem, warn_if_cuda_is_unused
from bertbundle_serving.runtimes.integrity import check_digests, check_sizes

__all__ = [
    "DEVICES",
    "PRECISIONS",
    "RUNTIMES",
    "Runtime",
    "RuntimeOptions",
    "Servable",
    "SignatureSpec",
    "TensorSpec",
    "loader",
    "runtime_names",
]

RUNTIMES: tuple[Runtime, ...] = (openvino.RUNTIME, onnx.RUNTIME, saved_model.RUNTIME)
"""All runtimes. ``--runtime auto`` prefers those that support the precision, then the first in this order."""

PRECISIONS = ("bundle", "float32", "bfloat16")
"""Values of ``--precision``."""

DEVICES = ("auto", "cpu", "cuda")
"""Values of ``--device``."""

_logger = logging.getLogger(__name__)


def runtime_names() -> tuple[str, ...]:
    """Return the values of ``--runtime``."""
    return ("auto", *(runtime.name for runtime in RUNTIMES))


def loader(name: str, options: RuntimeOptions) -> Callable[[Path], Servable]:
    """Return the function that loads a version directory with the named runtime.

    With ``"auto"`` it uses the first runtime that is installed, finds its model file and supports the model's
    operations. Runtimes that support the precision come first.

    Raises:
        ServeError: no such runtime, it does not support the precision, or cannot use the device. The returned function
            raises it if the directory has no model file for the runtime, or one that the device cannot compute.
    """
    named = tuple(runtime for runtime in RUNTIMES if name in ("auto", runtime.name))
    if not named:
        raise ServeError(f"no runtime {name!r}. Choose one of {', '.join(runtime_names())}.")
    supported = tuple(runtime for runtime in named if options.precision in ("bundle", *runtime.precisions))
    if not supported:
        raise ServeError(f"runtime {name} does not support {options.precision}. {_suggest_runtimes(options.precision)}")

    if options.device == "cuda":
        supported = _able_to_use_cuda(supported)
    prefers_onnx = name == "auto" and options.device == "auto" and not onnxruntime_cuda_problem()
    if name in ("auto", onnx.RUNTIME.name) and options.device == "auto":
        warn_if_cuda_is_unused()

    def load(directory: Path) -> Servable:
        precision = _choose_precision(options.precision, directory)
        load_options = dataclasses.replace(options, precision=precision)
        if name == "auto":
            first = onnx.RUNTIME if prefers_onnx and precision not in onnx.CPU_PRECISIONS else None
            preferred = sorted(
                supported, key=lambda runtime: (runtime is not first, precision not in runtime.precisions)
            )
            return _load_first(preferred, directory, load_options)
        (runtime,) = supported
        if not (directory / runtime.model_file).is_file():
            raise _no_model_file(supported, directory)
        return _load_and_check(runtime, directory, load_options)

    return load


def _able_to_use_cuda(runtimes: Sequence[Runtime]) -> tuple[Runtime, ...]:
    """Return the runtimes that can compute on a GPU; those after the first one are asked when they load a version.

    Raises:
        ServeError: none can.
    """
    checks = [(runtime, runtime.cuda_problem) for runtime in runtimes if runtime.cuda_problem is not None]
    if not checks:
        names = " and ".join(runtime.name for runtime in runtimes)
        others = " or ".join(runtime.name for runtime in RUNTIMES if runtime.cuda_problem is not None)
        raise ServeError(f"--device is cuda, but {names} computes on CPUs only. Choose --runtime {others}.")
    problems = []
    for index, (_, cuda_problem) in enumerate(checks):
        problem = cuda_problem()
        if not problem:
            return tuple(runtime for runtime, _ in checks[index:])
        problems.append(problem)
    raise ServeError(f"--device cuda is not possible: {problems[0]}.")


def _load_first(runtimes: Sequence[Runtime], directory: Path, options: RuntimeOptions) -> Servable:
    """Load a version with the first runtime that can; the start-up line says why the others were skipped."""
    skipped, reasons, unsupported = list[Runtime](), list[str](), list[GraphNotSupported]()
    for runtime in runtimes:
        if not find_spec(runtime.package):
            reasons.append(f"{runtime.name} is not installed")
            continue
        if not (directory / runtime.model_file).is_file():
            reasons.append(f"no {runtime.model_file} for {runtime.name}")
        else:
            reason = f"auto: {', '.join(reasons) or f'the first choice for {options.precision}'}"
            try:
                return _load_and_check(runtime, directory, dataclasses.replace(options, reason=reason), skipped)
            except GraphNotSupported as error:
                _logger.warning("%s. Trying the next runtime.", error)
                reasons.append(f"{runtime.name} does not support this model")
                unsupported.append(error)
        skipped.append(runtime)
    raise unsupported[0] if unsupported else _no_model_file(skipped or runtimes, directory)


def _no_model_file(runtimes: Sequence[Runtime], directory: Path) -> ServeError:
    files = " or ".join(runtime.model_file for runtime in runtimes)
    return ServeError(f"no {files} in {directory}. Export the bundle there, or choose another --runtime.")


def _suggest_runtimes(precision: str) -> str:
    names = [runtime.name for runtime in RUNTIMES if precision in runtime.precisions]
    return f"Choose --runtime {' or '.join(names)}, or omit --precision."


_FIXED = ("float16", "int8")
"""Precisions that the ONNX files of a bundle may have, which a runtime cannot change."""


def _choose_precision(requested: str, directory: Path) -> str:
    """Return the precision to load a version in: the bundle's unless requested, bfloat16 only where it is fast."""
    exported = Manifest.read(directory).precision if (directory / MANIFEST_FILE).is_file() else "float32"
    if exported in _FIXED and requested != "bundle":
        raise ServeError(
            f"the ONNX files in {directory} are {exported}, but --precision is {requested}. Omit it, or export the "
            "bundle in that precision."
        )
    is_fast = fast_bfloat16() is not None
    if requested == "bfloat16" and not is_fast:
        _logger.warning("bfloat16 is slow on this processor: it has none of %s", ", ".join(BFLOAT16_FLAGS))
    if requested != "bundle":
        return requested
    return exported if is_fast or exported in _FIXED else "float32"


def _load_and_check(
    runtime: Runtime, directory: Path, options: RuntimeOptions, skipped: Sequence[Runtime] = ()
) -> Servable:
    """Load a version, and meanwhile check the files that the runtime reads against the manifest.

    The model files of the skipped runtimes are checked, too: one may be missing because the copy is not complete.
    """
    if not (directory / MANIFEST_FILE).is_file():
        return runtime.load(directory, options)
    skipped_files = {other.model_file for other in skipped}
    files = {
        name: info
        for name, info in Manifest.read(directory).files.items()
        if name in skipped_files or not name.startswith(runtime.ignores)
    }
    check_sizes(directory, files)
    with ThreadPoolExecutor(1, thread_name_prefix="digests") as pool:
        check = pool.submit(check_digests, directory, files)
        try:
            servable = runtime.load(directory, options)
        except Exception:
            check.result()  # if a file is damaged, that is the more useful error
            raise
    try:
        check.result()
    except ServeError:
        servable.close()
        raise
    return servable
