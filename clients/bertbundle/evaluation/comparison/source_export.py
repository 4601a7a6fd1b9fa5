"""Export a checkpoint to a temporary bundle, with the `bertbundle-export` command if it is installed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from bertbundle._shared.commands import ended_by_signals
from bertbundle.contract.manifest import MANIFEST_FILE
from bertbundle.errors import InputError

__all__ = ["exported_bundle", "is_checkpoint"]

_PACKAGE = "bertbundle_export"
_COMMAND = (sys.executable, "-m", _PACKAGE)
"""A process of its own: the client does not import TensorFlow, and the memory of the export is freed."""


def is_checkpoint(path: Path) -> bool:
    """Return whether a path exists and is neither a bundle nor a directory of bundles."""
    return path.exists() and not any(
        directory.joinpath(MANIFEST_FILE).exists() for directory in (path, *path.glob("[0-9]*"))
    )


@contextlib.contextmanager
def exported_bundle(source: Path, options: Sequence[str]) -> Iterator[Path]:
    """Export a checkpoint with onnx files, verified against its own model, and remove them afterwards.

    Args:
        source: the checkpoint.
        options: further arguments of `bertbundle-export`.

    Yields:
        The directory of the model.

    Raises:
        InputError: the export is not installed, or refuses the checkpoint or the options.
    """
    if find_spec(_PACKAGE) is None:
        raise InputError(
            f"{source} is not a bundle, and bertbundle-export is not installed to make one of a checkpoint: "
            "pip install 'bertbundle-toolkit[export]'. Or, where it is installed, run bertbundle-export "
            f"{source} --name NAME, and pass the bundle."
        )
    if sys.stderr.isatty():  # it takes minutes; what is printed next overwrites the line
        sys.stderr.write(f"\x1b[Kexporting {source} ...\r")
        sys.stderr.flush()
    with ended_by_signals(), tempfile.TemporaryDirectory(prefix="bertbundle-") as output:
        target = ("--name", "source", "--output", output, "--formats", "onnx")
        done = subprocess.run(  # noqa: S603 - the arguments are the user's own
            [*_COMMAND, str(source), *options, *target], capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}."]
            message = lines[-1].removeprefix("bertbundle-export: ")
            raise InputError(f"{source} is not a bundle, and its export failed: {message}")
        yield Path(output) / "source"
