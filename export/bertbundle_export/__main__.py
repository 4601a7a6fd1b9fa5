"""The `bertbundle-export` command, also as `python -m bertbundle_export`."""

from __future__ import annotations

import os
import sys

__all__ = ["run"]


def run() -> int:
    """Run the command in a process of its own; return its exit code."""
    # transformers imports torch wherever it is installed, seconds for nothing: a pickle is read with torch itself.
    os.environ.setdefault("USE_TORCH", "0")
    from bertbundle_export.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
