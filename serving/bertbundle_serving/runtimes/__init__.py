"""The runtimes: one file each, and one row of the table."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bertbundle.errors import ServeError
from bertbundle.manifest import MANIFEST_FILE, Manifest
from bertbundle_serving.digests import check_digests, check_sizes
from bertbundle_serving.runtimes import onnx, saved_model
from bertbundle_serving.runtimes.base import Runtime, RuntimeOptions, Servable, SignatureSpec, TensorSpec

__all__ = [
    "RUNTIMES",
    "Runtime",
    "RuntimeOptions",
    "Servable",
    "SignatureSpec",
    "TensorSpec",
    "loader",
    "runtime_names",
]

# In the order of preference of `--runtime auto`.
RUNTIMES: tuple[Runtime, ...] = (onnx.RUNTIME, saved_model.RUNTIME)


def runtime_names() -> tuple[str, ...]:
    """Return the values that ``--runtime`` takes."""
    return ("auto", *(runtime.name for runtime in RUNTIMES))


def loader(name: str, options: RuntimeOptions) -> Callable[[Path], Servable]:
    """Return the function that loads a version directory with the named runtime, or with ``"auto"`` the first whose
    file is there.

    Raises:
        ServeError: no such runtime; from the function returned: no file that a runtime loads.
    """
    candidates = tuple(runtime for runtime in RUNTIMES if name in ("auto", runtime.name))
    if not candidates:
        raise ServeError(f"no runtime {name!r}. Choose one of {', '.join(runtime_names())}.")

    def load(directory: Path) -> Servable:
        for runtime in candidates:
            if (directory / runtime.marker).is_file():
                return _load_checked(runtime, directory, options, preferred=candidates[0])
        markers = " or ".join(runtime.marker for runtime in candidates)
        raise ServeError(f"no {markers} in {directory}. Export the bundle there, or choose another --runtime.")

    return load


def _load_checked(runtime: Runtime, directory: Path, options: RuntimeOptions, *, preferred: Runtime) -> Servable:
    """Load a version, and while it loads check the files that the runtime reads against the manifest."""
    if not (directory / MANIFEST_FILE).is_file():
        return runtime.load(directory, options)
    listed = Manifest.read(directory).files
    # The preferred runtime's file, too: without it this may be a bundle that is still being copied.
    files = {
        name: info for name, info in listed.items() if name == preferred.marker or not name.startswith(runtime.ignores)
    }
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
