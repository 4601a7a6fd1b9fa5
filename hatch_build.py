"""Build hook: bertbundle-toolkit requires the bertbundle of its own version."""

from __future__ import annotations

from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ToolkitDependencies(MetadataHookInterface):
    """Fill in `project.dependencies`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Pin bertbundle to the version that hatchling has read from its `__init__.py`."""
        metadata["dependencies"] = [f"bertbundle=={metadata['version']}"]
