"""The settings of BERT that a whole model of keras-bert or bert4keras stores in its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bertbundle_export.checkpoints.readers.keras_file import KerasFile

__all__ = ["stored_settings"]

_POSITIONS = "Embedding-Position/embeddings"


def stored_settings(rows: Mapping[str, tuple[str, str]]) -> Callable[[KerasFile], dict[str, Any]]:
    """Return a function that returns a file's settings: the number of positions, and those of its layers.

    Args:
        rows: by the end of a layer's name, the key of its configuration, and the setting of config.json.
    """

    def settings(file: KerasFile) -> dict[str, Any]:
        found = {}
        for name, shape in file.shapes.items():
            if name.endswith(_POSITIONS):
                found["max_position_embeddings"] = shape[0]
        for name, layer in file.layers.items():
            key, setting = next((row for end, row in rows.items() if name.endswith(end)), ("", ""))
            if value := layer.config.get(key):
                found[setting] = _name(value)
        return found

    return settings


def _name(stored: Any) -> Any:
    """Return the name of an activation: newer versions store a list of functions, one for each gate."""
    if isinstance(stored, list) and len(stored) == 1:
        return _name(stored[0])
    return stored.get("config") if isinstance(stored, dict) else stored
