"""The --monitoring_config_file."""

from __future__ import annotations

from pathlib import Path

from bertbundle_serving.config.text_format import read_text_file
from bertbundle_serving.errors import ServeError
from bertbundle_serving.protos import _config_pb2 as proto

__all__ = ["read_metrics_path"]

_DEFAULT = "/monitoring/prometheus/metrics"


def read_metrics_path(path: Path) -> str | None:
    """Return where a MonitoringConfig in text form wants the metrics; None for nowhere.

    Raises:
        ServeError: the file is missing or malformed.
    """
    config = read_text_file(path, proto.MonitoringConfig(), "--monitoring_config_file")
    place = config.prometheus_config.path or _DEFAULT
    if not place.startswith("/"):
        raise ServeError(f"--monitoring_config_file {path}: the path {place!r} does not begin with a slash.")
    return place if config.prometheus_config.enable else None
