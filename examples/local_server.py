"""Run an embedded server for a demo or a test, and stop it at the end, even after an error."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

from bertbundle_serving.errors import ServeError

_LISTENING = ": listening on "
_STOP_SECONDS = 30


def serving(**flags: object) -> contextlib.AbstractContextManager[str]:
    """Run ``bertbundle-serve`` on a free port, see `running`.

    Args:
        **flags: the server's flags, for example ``model_name="ner", model_base_path="models/ner"``.
    """
    options = [f"--{name}={value}" for name, value in flags.items()]
    return running([sys.executable, "-m", "bertbundle_serving", "--port=0", *options])


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[str]:
    """Run a server's command while the context is open; yield its ``host:port``.

    Raises:
        ServeError: the server exited before it listened; the message ends with its output.
    """
    with server_process(command) as (_, address):
        yield address


@contextlib.contextmanager
def server_process(command: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Run a server as `running` does; yield the process id, too."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield process.pid, _address(process, log)
        finally:
            _stop(process)


def _address(process: subprocess.Popen[str], log: IO[str]) -> str:
    for line in process.stdout or ():
        if _LISTENING in line:
            return line.partition(_LISTENING)[2].strip()
    code = process.wait()
    log.seek(0)
    raise ServeError(f"the server exited before it listened, with exit code {code}:\n{log.read().strip()}")


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()
