"""The command bertbundle-gateway."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from bertbundle.text.v1 import text_service_pb2 as pb
from fakes import FakeServer, predict_method
from gateways import MODEL

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-m", "bertbundle_gateway"]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_process(start_server: Callable[..., FakeServer], make_stub: Any, stop: signal.Signals) -> None:
    """The command says where it listens, answers, logs requests without texts, and ends with 0 on a signal."""
    server = start_server(predict_method())
    process = subprocess.Popen(
        [*COMMAND, f"--server={server.address}", "--port=0", "--log_requests", "--log_format=json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().rpartition("listening on ")[2].strip()
    with grpc.insecure_channel(address) as channel:
        request = pb.FindEntitiesRequest(model=MODEL, texts=["wang"])
        assert len(make_stub(channel).FindEntities(request, timeout=20).results[0].entities.entities) == 1
    process.send_signal(stop)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert '"method": "entities"' in log
    assert "wang" not in log
    assert "Traceback" not in log


def test_mistake() -> None:
    """A user's mistake is one line and exit code 2."""
    done = subprocess.run([*COMMAND, "--port=0"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("bertbundle-gateway: no server is given.")
    assert len(done.stderr.splitlines()) == 1
