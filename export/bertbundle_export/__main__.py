"""The `bertbundle-export` command, also as `python -m bertbundle_export`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["run"]


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, by default that of this process; return its exit code."""
    # transformers imports torch if it is installed, which takes seconds. Pickles are read with torch directly.
    os.environ.setdefault("USE_TORCH", "0")
    from bertbundle_export.cli import main

    return main(arguments)


if __name__ == "__main__":
    sys.exit(run())
