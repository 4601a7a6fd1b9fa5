"""Import onnxruntime with its telemetry disabled, and the session options that all sessions share."""

from __future__ import annotations

import os
from typing import Any

from bertbundle._shared.cpu_features import fast_int8

__all__ = ["import_onnxruntime", "session_options"]

_ERRORS_ONLY = 3
_EXACT_INT8 = ("session.x64quantprecision", "1")
"""Use int8 kernels that do not overflow on CPUs without `INT8_FLAGS`. On the others it would switch off the fast ones
(onnxruntime_session_options_config_keys.h, ``kOrtSessionOptionsAvx2PrecisionMode``)."""


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


def session_options(onnxruntime: Any) -> Any:
    """Return options of a session that logs only errors and whose int8 products do not overflow on any CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if fast_int8() is None:
        options.add_session_config_entry(*_EXACT_INT8)
    return options
