"""The runtimes: one file each, and one row of the table."""

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
from bertbundle_serving.runtimes.integrity import check_digests, check_sizes

__all__ = [
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

# In the order of preference of `--runtime auto`, after what has the precision wanted.
RUNTIMES: tuple[Runtime, ...] = (openvino.RUNTIME, onnx.RUNTIME, saved_model.RUNTIME)

PRECISIONS = ("bundle", "float32", "bfloat16")
"""Values of ``--precision``."""

_logger = logging.getLogger(__name__)


def runtime_names() -> tuple[str, ...]:
    """Return the values that ``--runtime`` takes."""
    return ("auto", *(runtime.name for runtime in RUNTIMES))


def loader(name: str, options: RuntimeOptions) -> Callable[[Path], Servable]:
    """Return the function that loads a version directory with the named runtime, or with ``"auto"`` the first that is
    installed, finds its file and can compute it; those that compute in the precision wanted come first.

    Raises:
        ServeError: no such runtime, or not in that precision; from the function returned: no file that a runtime
            loads.
    """
    named = tuple(runtime for runtime in RUNTIMES if name in ("auto", runtime.name))
    if not named:
        raise ServeError(f"no runtime {name!r}. Choose one of {', '.join(runtime_names())}.")
    able = tuple(runtime for runtime in named if options.precision in ("bundle", *runtime.precisions))
    if not able:
        raise ServeError(f"runtime {name} cannot compute in {options.precision}. {_who_can(options.precision)}")

    def load(directory: Path) -> Servable:
        precision = _precision(options.precision, directory)
        wanted = dataclasses.replace(options, precision=precision)
        if name == "auto":
            ordered = sorted(able, key=lambda runtime: precision not in runtime.precisions)
            return _load_first(ordered, directory, wanted)
        (runtime,) = able
        if not (directory / runtime.marker).is_file():
            raise _no_file(able, directory)
        return _load_checked(runtime, directory, wanted)

    return load


def _load_first(ordered: Sequence[Runtime], directory: Path, options: RuntimeOptions) -> Servable:
    """Load a version with the first runtime that can; the start-up line says why not with those before."""
    passed, reasons, unable = list[Runtime](), list[str](), list[GraphNotSupported]()
    for runtime in ordered:
        if not find_spec(runtime.package):
            reasons.append(f"{runtime.name} is not installed")
            continue
        if not (directory / runtime.marker).is_file():
            reasons.append(f"no {runtime.marker} for {runtime.name}")
        else:
            why = f"auto: {', '.join(reasons) or f'the first choice for {options.precision}'}"
            try:
                return _load_checked(runtime, directory, dataclasses.replace(options, why=why), preferred=passed)
            except GraphNotSupported as error:
                _logger.warning("%s. Trying the next runtime.", error)
                reasons.append(f"{runtime.name} cannot compute this model")
                unable.append(error)
        passed.append(runtime)
    raise unable[0] if unable else _no_file(passed or ordered, directory)


def _no_file(runtimes: Sequence[Runtime], directory: Path) -> ServeError:
    markers = " or ".join(runtime.marker for runtime in runtimes)
    return ServeError(f"no {markers} in {directory}. Export the bundle there, or choose another --runtime.")


def _who_can(precision: str) -> str:
    names = [runtime.name for runtime in RUNTIMES if precision in runtime.precisions]
    return f"Choose --runtime {' or '.join(names)}, or leave --precision out."


def _precision(asked: str, directory: Path) -> str:
    """Return the precision wanted of a version: as asked; else the bundle's, bfloat16 only where it is fast."""
    exported = Manifest.read(directory).precision if (directory / MANIFEST_FILE).is_file() else "float32"
    if exported == "int8" and asked != "bundle":
        raise ServeError(
            f"the ONNX files in {directory} are int8, --precision {asked} was asked for. Leave it out, or export the "
            "bundle in that precision."
        )
    fast = fast_bfloat16() is not None
    if asked == "bfloat16" and not fast:
        _logger.warning("bfloat16 is slow on this processor: it has none of %s", ", ".join(BFLOAT16_FLAGS))
    if asked != "bundle":
        return asked
    return exported if fast or exported == "int8" else "float32"


def _load_checked(
    runtime: Runtime, directory: Path, options: RuntimeOptions, *, preferred: Sequence[Runtime] = ()
) -> Servable:
    """Load a version, and while it loads check the files that the runtime reads against the manifest."""
    if not (directory / MANIFEST_FILE).is_file():
        return runtime.load(directory, options)
    listed = Manifest.read(directory).files
    # The preferred runtimes' files, too: without them this may be a bundle that is still being copied.
    wanted = {better.marker for better in preferred}
    files = {name: info for name, info in listed.items() if name in wanted or not name.startswith(runtime.ignores)}
    check_sizes(directory, files)
    with ThreadPoolExecutor(1, thread_name_prefix="digests") as pool:
        checked = pool.submit(check_digests, directory, files)
        try:
            servable = runtime.load(directory, options)
        except Exception:
            checked.result()  # a damaged file is the better reason
            raise
    try:
        checked.result()
    except ServeError:
        servable.close()
        raise
    return servable
