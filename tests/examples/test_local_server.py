"""A server that an example starts is stopped in any case."""

from __future__ import annotations

import os
import sys

import pytest

from bertbundle_serving.errors import ServeError
from local_server import running


def script(code: str) -> list[str]:
    return [sys.executable, "-c", f"import os, time; {code}"]


def test_server_is_terminated_after_an_error() -> None:
    """The server's process is terminated when an exception leaves the context."""
    code = "print('starting'); print(f'bertbundle-serve: listening on {os.getpid()}', flush=True); time.sleep(600)"
    with pytest.raises(ZeroDivisionError), running(script(code)) as address:  # noqa: PT012
        os.kill(int(address), 0)
        raise ZeroDivisionError
    with pytest.raises(ProcessLookupError):
        os.kill(int(address), 0)


def test_server_that_cannot_start() -> None:
    """If the server cannot start, the error contains its exit code and output."""
    command = script("import sys; sys.exit('the disk is full')")
    with pytest.raises(ServeError, match=r"exit code 1(?s:.*)the disk is full"), running(command):
        pytest.fail("the server has not started")
