"""The checkpoint formats: every module here with a `FORMAT` is one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from bertbundle_export.checkpoints.base import CheckpointFormat

__all__ = ["FORMATS"]


def _find() -> Mapping[str, CheckpointFormat]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [importlib.import_module(f"{__name__}.{name}").FORMAT for name in names]
    return {item.name: item for item in found}


FORMATS: Mapping[str, CheckpointFormat] = _find()
"""Every format by its name."""
