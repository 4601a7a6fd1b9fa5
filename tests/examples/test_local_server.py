"""A server that an example runs is ended whatever happens."""

from __future__ import annotations

import os
import sys

import pytest

from bertbundle_serving.errors import ServeError
from local_server import running


def script(code: str) -> list[str]:
    return [sys.executable, "-c", f"import os, time; {code}"]


def test_a_server_is_ended_even_on_an_error() -> None:
    """The server's process is gone when the context is left by an exception."""
    code = "print('starting'); print(f'bertbundle-serve: listening on {os.getpid()}', flush=True); time.sleep(600)"
    with pytest.raises(ZeroDivisionError), running(script(code)) as address:  # noqa: PT012
        os.kill(int(address), 0)
        raise ZeroDivisionError
    with pytest.raises(ProcessLookupError):
        os.kill(int(address), 0)


def test_a_server_that_cannot_start_says_why() -> None:
    """The exit code and what the server printed are in the message."""
    command = script("import sys; sys.exit('the disk is full')")
    with pytest.raises(ServeError, match=r"exit code 1(?s:.*)the disk is full"), running(command):
        pytest.fail("it does not run")
