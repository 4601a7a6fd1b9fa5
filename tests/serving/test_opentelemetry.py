"""OpenTelemetry: the server's spans continue the traces of its callers, over gRPC and REST."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import grpc
import pytest

from bertbundle.wire import _wire_pb2 as wire
from optional import skip_without
from tiny_bundles import TinyBundles

pytestmark = pytest.mark.slow  # starts a process

SECONDS = 60
GRPC, REST = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319d"
SETTINGS = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}


def parent(trace: str) -> str:
    """Return the W3C traceparent header for a caller's span in a trace."""
    return f"00-{trace}-b7ad6b7169203331-01"


def ask(grpc_address: str, rest_port: int) -> None:
    """Request the model's status over gRPC and over REST, each as part of a trace."""
    request = wire.GetModelStatusRequest(model_spec=wire.ModelSpec(name="tiny")).SerializeToString()
    with grpc.insecure_channel(grpc_address) as channel:
        method = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")
        method(request, timeout=SECONDS, metadata=(("traceparent", parent(GRPC)),))
    url = f"http://127.0.0.1:{rest_port}/v1/models/tiny"
    headers = {"traceparent": parent(REST)}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS):
        pass


def test_traces_are_continued(bundles: TinyBundles) -> None:
    """Under OpenTelemetry's own launcher, the server's spans belong to the traces of its callers."""
    launcher = Path(sys.executable).with_name("opentelemetry-instrument")
    if not launcher.is_file():
        skip_without("the otel extra")
    bundles.write(1)
    with socket.create_server(("127.0.0.1", 0)) as free:
        rest_port = free.getsockname()[1]
    flags = ["--port=0", f"--rest_api_port={rest_port}", "--model_name=tiny", f"--model_base_path={bundles.base}"]
    command = [str(launcher), sys.executable, "-m", "bertbundle_serving", *flags]
    environment = {**os.environ, **SETTINGS}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        ask(address, rest_port)
        server.terminate()
        spans, _ = server.communicate(timeout=SECONDS)
    assert {GRPC, REST} <= set(re.findall(r'"trace_id": "0x(\w+)"', spans))
