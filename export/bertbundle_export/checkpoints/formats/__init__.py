"""The checkpoint formats, one module each with a `FORMAT`; modules with a leading underscore are shared by several."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from bertbundle_export.checkpoints.base import CheckpointFormat

__all__ = ["CHECKPOINT_FORMATS"]


def _find_formats() -> Mapping[str, CheckpointFormat]:
    names = sorted(item.name for item in pkgutil.iter_modules(__path__) if not item.name.startswith("_"))
    formats = [importlib.import_module(f"{__name__}.{name}").FORMAT for name in names]
    return {item.name: item for item in formats}


CHECKPOINT_FORMATS: Mapping[str, CheckpointFormat] = _find_formats()
"""Every format by name."""
