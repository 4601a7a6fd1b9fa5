"""The checkpoint formats: every module here has a `FORMAT`; those with a leading underscore are shared by several."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from bertbundle_export.checkpoints.base import CheckpointFormat

__all__ = ["FORMATS"]


def _find() -> Mapping[str, CheckpointFormat]:
    names = sorted(each.name for each in pkgutil.iter_modules(__path__) if not each.name.startswith("_"))
    found = [importlib.import_module(f"{__name__}.{name}").FORMAT for name in names]
    return {item.name: item for item in found}


FORMATS: Mapping[str, CheckpointFormat] = _find()
"""Every format by its name."""
