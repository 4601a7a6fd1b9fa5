"""Import onnxruntime with its telemetry disabled."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["import_onnxruntime"]


def import_onnxruntime() -> Any:
    """Import and return onnxruntime with telemetry disabled, unless ORT_DISABLE_TELEMETRY is already set.

    Since 1.29 the official packages for Linux and macOS send names and hashes of models to Microsoft and store an
    identifier in the home directory. Only this environment variable, set before the import, prevents all of that
    (onnxruntime's docs/Privacy.md, its pull request 27379).

    Raises:
        ImportError: onnxruntime is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
