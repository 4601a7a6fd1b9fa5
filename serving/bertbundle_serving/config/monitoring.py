"""Read a --monitoring_config_file."""

from __future__ import annotations

from pathlib import Path

from bertbundle_serving.config.text_format import read_text_file
from bertbundle_serving.errors import ServeError
from bertbundle_serving.protos import _config_pb2 as proto

__all__ = ["read_metrics_path"]

_DEFAULT_PATH = "/monitoring/prometheus/metrics"


def read_metrics_path(path: Path) -> str | None:
    """Return the URL path of the metrics in a MonitoringConfig file; None if they are disabled.

    Raises:
        ServeError: the file is missing or malformed.
    """
    config = read_text_file(path, proto.MonitoringConfig(), "--monitoring_config_file")
    url_path = config.prometheus_config.path or _DEFAULT_PATH
    if not url_path.startswith("/"):
        raise ServeError(f"--monitoring_config_file {path}: the path {url_path!r} does not begin with a slash.")
    return url_path if config.prometheus_config.enable else None
