"""`bertbundle-export` in this process, which saves the seconds that a new one takes to import TensorFlow."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Sequence

__all__ = ["exit_code", "run_export"]


def run_export(command: str, *more: str) -> None:
    """Run a command line of `bertbundle-export` with more arguments in the working directory; it must succeed."""
    program, *arguments = shlex.split(command)
    assert program == "bertbundle-export"
    assert exit_code([*arguments, *more]) == 0


def exit_code(arguments: Sequence[str]) -> int:
    """Run `bertbundle-export` with arguments in the working directory; return its exit code."""
    from bertbundle_export.cli import main

    handler = signal.getsignal(signal.SIGTERM)  # the command sets its own
    try:
        return main(arguments)
    except SystemExit as exited:  # of argparse
        return int(exited.code or 0)
    finally:
        signal.signal(signal.SIGTERM, handler)
