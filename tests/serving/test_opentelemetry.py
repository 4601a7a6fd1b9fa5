"""OpenTelemetry: one trace from the client to the engine, and the traces of callers over gRPC and REST."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from bertbundle.wire import _wire_pb2 as wire
from fakes import write_bundle
from http_calls import fetch
from local_server import running
from optional import skip_without
from otlp_receiver import OtlpReceiver, Span
from waiting import wait_until

pytestmark = pytest.mark.slow  # starts processes

SECONDS = 60
GRPC, REST = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319d"
CLIENT = """
import sys
from bertbundle import Client

with Client(sys.argv[1], "tiny") as client:
    print(client.entities("Wang lives in Berlin"))
"""


@dataclass(frozen=True)
class Traced:
    """A server that runs under OpenTelemetry's launcher, and the receiver of its spans.

    Attributes:
        address: its gRPC address.
        rest: the root of its REST API.
        receiver: receives the spans.
    """

    address: str
    rest: str
    receiver: OtlpReceiver


def launched(*command: str) -> list[str]:
    """Return a command of this Python with OpenTelemetry's launcher in front."""
    launcher = Path(sys.executable).with_name("opentelemetry-instrument")
    if not launcher.is_file():
        skip_without("the otel extra")
    return [str(launcher), sys.executable, *command]


def settings(service: str, receiver: OtlpReceiver) -> dict[str, str]:
    """Return OpenTelemetry's settings; the exporter is OTLP over gRPC by default."""
    return {
        "OTEL_SERVICE_NAME": service,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """A server of the small tagger under OpenTelemetry's launcher."""
    receiver = OtlpReceiver()
    base = tmp_path_factory.mktemp("models") / "tiny"
    write_bundle(base)
    with socket.create_server(("127.0.0.1", 0)) as free:
        rest_port = free.getsockname()[1]
    flags = ["--port=0", f"--rest_api_port={rest_port}", "--model_name=tiny", f"--model_base_path={base}"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings("bertbundle-serve", receiver).items():
            patch.setenv(name, value)
        with running(launched("-m", "bertbundle_serving", *flags)) as address:
            yield Traced(address, f"http://127.0.0.1:{rest_port}", receiver)
    receiver.stop()


def parent(trace: str) -> dict[str, str]:
    """Return the W3C traceparent header for a caller's span in a trace."""
    return {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}


def test_traces_are_continued(traced: Traced) -> None:
    """Requests for a model's status, over gRPC and REST, belong to the traces of their callers."""
    request = wire.GetModelStatusRequest(model_spec=wire.ModelSpec(name="tiny")).SerializeToString()
    with grpc.insecure_channel(traced.address) as channel:
        method = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")
        method(request, timeout=SECONDS, metadata=tuple(parent(GRPC).items()))
    assert fetch(f"{traced.rest}/v1/models/tiny", headers=parent(REST))[0] == 200
    wait_until(lambda: {GRPC, REST} <= {span.trace for span in find(traced, "SERVER")})
    parents = {span.trace: (span.service, span.parent) for span in find(traced, "SERVER")}
    assert parents[GRPC] == parents[REST] == ("bertbundle-serve", "b7ad6b7169203331")


def test_one_trace_from_client_to_engine(traced: Traced) -> None:
    """A call of the Python client is one trace: its request, the server's, and the time in queue, batch and compute."""
    environment = {**os.environ, **settings("app", traced.receiver)}
    command = launched("-c", CLIENT, traced.address)
    answer = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=True
    ).stdout
    assert "Berlin" in answer
    method = "tensorflow.serving.PredictionService/Predict"
    *_, client = find(traced, "CLIENT")  # exported before the client exits; its first call asked for the description
    kinds = ["CLIENT", "INTERNAL", "INTERNAL", "INTERNAL", "SERVER"]
    wait_until(lambda: sorted(span.kind for span in traced.receiver.spans(client.trace)) == kinds)
    children = {span.parent: span for span in traced.receiver.spans(client.trace) if span.name != "queue"}
    (queue,) = [span for span in traced.receiver.spans(client.trace) if span.name == "queue"]
    server = children[client.span]
    batch = children[server.span]
    compute = children[batch.span]
    assert queue.parent == server.span
    assert [(span.service, span.kind, span.name.lstrip("/")) for span in (client, server, queue, batch, compute)] == [
        ("app", "CLIENT", method),
        ("bertbundle-serve", "SERVER", method),
        ("bertbundle-serve", "INTERNAL", "queue"),
        ("bertbundle-serve", "INTERNAL", "batch"),
        ("bertbundle-serve", "INTERNAL", "compute"),
    ]
    for span in (client, server):
        service, name = method.split("/")
        assert {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}.items() <= span.attributes.items()
        assert span.attributes["rpc.grpc.status_code"] == 0
    assert queue.attributes["bertbundle.model"] == "tiny"
    assert client.start <= server.start <= queue.start <= queue.end <= batch.start <= compute.start
    assert compute.end <= batch.end <= server.end <= client.end


def find(traced: Traced, name: str) -> list[Span]:
    """Return the spans of a name or of a kind, in the order of their start."""
    found = [span for span in traced.receiver.spans() if name in (span.name, span.kind)]
    return sorted(found, key=lambda span: span.start)
