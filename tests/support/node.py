"""Run JavaScript with Node.js and packages of npm, which are not part of `make setup`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from optional import skip_without

__all__ = ["node_output"]

_VARIABLE = "BERTBUNDLE_NODE_MODULES"
_SECONDS = 60


def node_output(script: str | Path, *arguments: str, packages: tuple[str, ...] = ()) -> str:
    """Return what a script prints. The test is skipped without Node.js 18 or newer, or without a package.

    Args:
        script: an ES module, as source or as a path.
        *arguments: its arguments.
        packages: packages of npm that it imports.
    """
    node, modules = shutil.which("node"), os.environ.get(_VARIABLE)
    if node is None:
        skip_without("node")
    if packages and (modules is None or not all((Path(modules) / package).is_dir() for package in packages)):
        skip_without("npm packages")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "script.mjs"
        path.write_text(script if isinstance(script, str) else script.read_text(encoding="utf-8"), encoding="utf-8")
        if modules is not None:
            (Path(scratch) / "node_modules").symlink_to(Path(modules).resolve())
        command = [node, str(path), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
