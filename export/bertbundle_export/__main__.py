"""The `bertbundle-export` command, also as `python -m bertbundle_export`."""

from __future__ import annotations

import os
import sys

__all__ = ["run"]


def run() -> int:
    """Run the command line; return its exit code."""
    # transformers imports torch if it is installed, which takes seconds. Pickles are read with torch directly.
    os.environ.setdefault("USE_TORCH", "0")
    from bertbundle_export.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
