"""Import onnxruntime, which must not report to anybody."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["import_onnxruntime"]


def import_onnxruntime() -> Any:
    """Return the module, told to report nothing, unless the environment says otherwise.

    From 1.29 on the official packages for Linux and macOS send names and hashes of models to Microsoft, and keep an
    identifier in the home directory. Only this variable, set before the import, prevents all of it
    (onnxruntime's docs/Privacy.md, its pull request 27379).

    Raises:
        ImportError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
