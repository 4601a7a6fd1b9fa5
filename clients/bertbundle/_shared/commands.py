"""Error handling shared by the project's commands: a user's mistake is one message on stderr and exit code 2."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from bertbundle.errors import BertBundleError

__all__ = [
    "INTERRUPTED",
    "ROWS_REJECTED",
    "USER_ERROR",
    "CommandExit",
    "CommandParser",
    "discard_stdout",
    "ended_by_signals",
    "run_command",
]

USER_ERROR = 2
ROWS_REJECTED = 3
"""The exit code of a bulk job that is complete, but in which rows have no answer."""
INTERRUPTED = 130
"""128 plus the number of SIGINT, the exit code that shells report for Ctrl-C."""


class CommandExit(Exception):
    """Ends a command's action with an exit code, without a message."""

    def __init__(self, code: int) -> None:
        """Store the exit code."""
        super().__init__(code)
        self.code = code


class CommandParser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with code 2."""
        self.exit(USER_ERROR, f"{self.prog}: {message}. See {self.prog} --help.\n")


def run_command(name: str, action: Callable[[], None]) -> int:
    """Run a command's action and return the exit code: 0, 2 with one message on stderr, or 130 for Ctrl-C.

    A `CommandExit` ends the action with another code.
    """
    try:
        action()
        print(end="", flush=True)  # unlike sys.stdout.flush(), works if stdout is None
    except CommandExit as command_exit:
        return command_exit.code
    except BertBundleError as error:
        return _fail(name, str(error))
    except BrokenPipeError:  # the reader of the output has exited, as in `| head`
        discard_stdout()
    except OSError as error:  # for example permission denied, disk full
        return _fail(name, f"{error.filename or 'the system'}: {error.strerror or error}.")
    except KeyboardInterrupt:
        print(f"{name}: stopped.", file=sys.stderr)
        return INTERRUPTED
    return 0


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit, as Ctrl-C raises KeyboardInterrupt, so that what was begun is undone."""
    if threading.current_thread() is not threading.main_thread():  # only it may set handlers
        yield
        return
    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in known if signal.getsignal(number) is signal.SIG_DFL]  # nohup ignores SIGHUP
    for number in numbers:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _exit(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not end the undoing
    raise SystemExit(128 + number)


def discard_stdout() -> None:
    """Redirect stdout to os.devnull, because Python flushes it at exit and would fail again on a closed pipe.

    Source: the note on SIGPIPE in the documentation of Python's `signal` module.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(name: str, message: str) -> int:
    print(f"{name}: {message}", file=sys.stderr)
    return USER_ERROR
