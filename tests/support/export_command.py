"""`bertbundle-export` in this process, which saves the seconds that a new one takes to import TensorFlow."""

from __future__ import annotations

import shlex
import signal

__all__ = ["run_export"]


def run_export(command: str, *more: str) -> None:
    """Run a command line of `bertbundle-export` with more arguments in the working directory; it must succeed."""
    from bertbundle_export.cli import main

    program, *arguments = shlex.split(command)
    assert program == "bertbundle-export"
    handler = signal.getsignal(signal.SIGTERM)  # the command sets its own
    try:
        assert main([*arguments, *more]) == 0
    finally:
        signal.signal(signal.SIGTERM, handler)
