"""Start embedded servers, in this process or as a process of their own, and call them with wire messages."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_serving.config.models import ModelConfig
from bertbundle_serving.server import Server, ServerOptions
from tiny_bundles import predict_request
from waiting import SECONDS

__all__ = [
    "GET_STATUS",
    "PREDICT",
    "RELOAD",
    "InProcessServer",
    "Launch",
    "Serve",
    "ServerAddress",
    "ServerProcess",
    "start_process",
    "start_server",
]

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"


class ServerAddress:
    """The address of a server, and a channel to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=unlimited)

    def send(self, path: str, data: bytes, timeout: float = SECONDS) -> bytes:
        """Call a method with the bytes of a message."""
        response: bytes = self.channel.unary_unary(path)(data, timeout=timeout)
        return response

    def predict(self, request: wire.PredictRequest, timeout: float = SECONDS) -> wire.PredictResponse:
        """Call Predict."""
        return wire.PredictResponse.FromString(self.send(PREDICT, request.SerializeToString(), timeout))

    def predict_tiny(self, timeout: float = SECONDS) -> wire.PredictResponse:
        """Call Predict on the model ``tiny`` with valid inputs."""
        return self.predict(predict_request(), timeout)

    def statuses(self, name: str = "tiny") -> dict[int, wire.ModelVersionStatus]:
        """Call GetModelStatus; return the status of each version."""
        request = wire.GetModelStatusRequest(model_spec=wire.ModelSpec(name=name))
        response = wire.GetModelStatusResponse.FromString(self.send(GET_STATUS, request.SerializeToString()))
        return {status.version: status for status in response.model_version_status}


class InProcessServer:
    """A server in this process, with an event loop in a thread of its own."""

    def __init__(self, options: ServerOptions) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.server: Server = self._run(self._start(options))
        self.address = ServerAddress(self.server.port)

    def stop(self) -> None:
        """Stop the server and the event loop."""
        self.address.channel.close()
        self._run(self.server.stop(1.0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(SECONDS)

    @staticmethod
    async def _start(options: ServerOptions) -> Server:
        server = Server(options)
        await server.start()
        return server


class Serve(Protocol):
    """Starts a server in this process."""

    def __call__(self, base: Path, **options: Any) -> InProcessServer: ...


def start_server(base: Path, **options: Any) -> InProcessServer:
    """Start a server of the model ``tiny`` in this process. The caller stops it.

    Args:
        base: base path of the model.
        **options: fields of ServerOptions; ``labels`` are those of the model.
    """
    config = ModelConfig("tiny", base, labels=options.pop("labels", {}))
    models = options.pop("models", (config,))
    return InProcessServer(ServerOptions(models=models, port=0, **{"poll_seconds": 0.02} | options))


@dataclass
class ServerProcess:
    """A `bertbundle-serve` process that is ready.

    Attributes:
        process: the process.
        banner: its first two start-up lines.
    """

    process: subprocess.Popen[str]
    banner: list[str] = field(default_factory=list)

    def address(self) -> ServerAddress:
        """Return its address."""
        return ServerAddress(int(re.sub(r".*:", "", self.banner[0])))


class Launch(Protocol):
    """Starts a `bertbundle-serve` process; see `start_process`."""

    def __call__(self, *flags: str, gate: Path | None = None, ignore_sigint: bool = False) -> ServerProcess: ...


# The child inherits ignored signals, so SIGINT is set explicitly: in a background job of a shell it would be ignored.
_PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN if {ignore_sigint} else signal.default_int_handler)
from bertbundle_serving.cli import main
{prepare}
sys.exit(main())
"""

_WAIT_FOR_GATE = """
import time
from pathlib import Path
from bertbundle_serving.runtimes.onnx import OnnxServable
gate, run = Path(sys.argv.pop(1)), OnnxServable.run
def wait_and_run(*arguments):
    gate.with_suffix(".reached").touch()
    while not gate.exists():
        time.sleep(0.01)
    return run(*arguments)
OnnxServable.run = wait_and_run
"""


def start_process(*flags: str, gate: Path | None = None, ignore_sigint: bool = False) -> subprocess.Popen[str]:
    """Start a `bertbundle-serve` process.

    Args:
        *flags: flags of the command.
        gate: a file; the process computes nothing until it exists, and creates ``<gate>.reached`` when it waits.
        ignore_sigint: whether SIGINT is ignored when the command starts, as in a background job of a shell.
    """
    program = _PROGRAM.format(ignore_sigint=ignore_sigint, prepare=_WAIT_FOR_GATE if gate else "")
    command = [sys.executable, "-c", program, *([str(gate)] if gate else []), "--port=0", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
