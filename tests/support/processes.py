"""Find processes of this machine by their command lines."""

from __future__ import annotations

from pathlib import Path

__all__ = ["processes_with"]


def processes_with(*parts: bytes) -> list[int]:
    """Return the ids of the processes whose command lines have all parts."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:  # it has just ended
            continue
        if all(part in line for part in parts):
            found.append(int(path.parent.name))
    return found
