"""What the project's commands share: one message for a user's mistake, and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from bertbundle.errors import BertBundleError

__all__ = ["INTERRUPTED", "USER_ERROR", "LineParser", "drop_output", "run_command"]

USER_ERROR = 2
INTERRUPTED = 130
"""128 and the number of SIGINT, as a shell reports it."""


class LineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error of a command."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        self.exit(USER_ERROR, f"{self.prog}: {message}. See {self.prog} --help.\n")


def run_command(name: str, action: Callable[[], None]) -> int:
    """Run a command's action and return the exit code: 0, 2 with one message on stderr, or 130 for Ctrl-C."""
    try:
        action()
        print(end="", flush=True)  # also where there is no stdout
    except BertBundleError as error:
        return _fail(name, str(error))
    except BrokenPipeError:  # the reader of our output has gone, `| head`
        drop_output()
    except OSError as error:  # no permission, disk full
        return _fail(name, f"{error.filename or 'the system'}: {error.strerror or error}.")
    except KeyboardInterrupt:
        print(f"{name}: stopped.", file=sys.stderr)
        return INTERRUPTED
    return 0


def drop_output() -> None:
    """Write what follows to nowhere: Python flushes stdout once more at its end, though its reader has gone.

    Source: the note on SIGPIPE in the docs of the module `signal`.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(name: str, message: str) -> int:
    print(f"{name}: {message}", file=sys.stderr)
    return USER_ERROR
