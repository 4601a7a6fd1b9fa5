"""The gRPC transports against servers in this process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from bertbundle import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    GrpcTransport,
    InvalidRequest,
    Overloaded,
    PredictCall,
    ServerError,
    ServerUnavailable,
    VersionStatus,
)
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.status_errors import error_from_status
from bertbundle.wire.tensors import encode_tensor
from fakes import FakeServer, ask_repeatedly, predict_method, status_method
from waiting import SECONDS

StartServer = Callable[..., FakeServer]
Replica = Callable[..., FakeServer]


# ---- requests and responses


def test_predict(start_server: StartServer) -> None:
    """A request has the model, signature, output filter and tensors; the response has arrays and the version."""
    requests: list[wire.PredictRequest] = []

    def predict(data: bytes, context: grpc.ServicerContext) -> bytes:
        del context
        requests.append(wire.PredictRequest.FromString(data))
        response = wire.PredictResponse(outputs={"y": encode_tensor(np.array([[0.5]], np.float32), as_content=False)})
        response.model_spec.version.value = 2**40
        return response.SerializeToString()

    transport = GrpcTransport(start_server(predict).address)
    prediction = transport.predict(
        PredictCall("tiny", "length_4", {"x": np.array([[1, 2]], np.int32)}, outputs=("y",)), timeout=9
    )
    assert prediction.version == 2**40
    assert prediction.outputs["y"].tolist() == [[0.5]]
    (request,) = requests
    assert (request.model_spec.name, request.model_spec.signature_name) == ("tiny", "length_4")
    assert not request.model_spec.HasField("version")
    assert request.output_filter == ["y"]
    assert request.inputs["x"] == encode_tensor(np.array([[1, 2]], np.int32))
    transport.predict(PredictCall("tiny", "length_4", {}, version=0), timeout=9)
    assert requests[-1].model_spec.HasField("version")
    assert requests[-1].model_spec.version.value == 0
    transport.predict(PredictCall("tiny", "length_4", {}, version="stable"), timeout=9)
    assert requests[-1].model_spec.version_label == "stable"
    transport.close()


def test_status(start_server: StartServer) -> None:
    """The status has the state and the error of each version, by name."""
    transport = GrpcTransport(start_server(predict_method(), status_method).address)
    assert transport.status("tiny", timeout=9) == [
        VersionStatus(2, "LOADING", "OK", ""),
        VersionStatus(1, "AVAILABLE", "OK", ""),
        VersionStatus(0, "END", "INVALID_ARGUMENT", "no model.onnx"),
    ]
    transport.close()


def test_unknown_state(start_server: StartServer) -> None:
    """A state that this version does not have a name for is returned as its number."""
    state = wire.GetModelStatusResponse(model_version_status=[wire.ModelVersionStatus(version=1)])
    state.model_version_status[0].state = 60  # type: ignore[assignment]
    state.model_version_status[0].status.error_code = 99
    transport = GrpcTransport(start_server(lambda *_: b"", lambda *_: state.SerializeToString()).address)
    assert transport.status("tiny", timeout=9) == [VersionStatus(1, "60", "UNKNOWN", "")]
    transport.close()


@pytest.mark.parametrize("as_content", [pytest.param(True, id="content"), pytest.param(False, id="values")])
def test_client_over_grpc(start_server: StartServer, as_content: bool) -> None:
    """A client gets the same results from both encodings of tensors."""
    server = start_server(predict_method(as_content=as_content))
    with Client(server.address, "tiny") as client:
        assert [(entity.label, entity.text) for entity in client.entities("Wang lives in 北京")] == [
            ("PER", "Wang"),
            ("LOC", "北京"),
        ]


def test_large_response(start_server: StartServer) -> None:
    """A response may be larger than 4 MB, the default limit of gRPC."""
    tensor = encode_tensor(np.ones(2**21, np.float32))
    response = wire.PredictResponse(outputs={"y": tensor}).SerializeToString()
    transport = GrpcTransport(start_server(lambda *_: response).address)
    assert transport.predict(PredictCall("tiny", "s", {}), timeout=30).outputs["y"].nbytes == 2**23
    transport.close()


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_token_metadata_and_compression(start_server: StartServer, compression: str) -> None:
    """Each call has the token and the metadata, and requests are compressed."""
    seen: list[dict[str, str]] = []
    answer = predict_method()

    def predict(data: bytes, context: grpc.ServicerContext) -> bytes:
        seen.append(dict(context.invocation_metadata()))
        return answer(data, context)

    server = start_server(predict)
    with Client(
        server.address, "tiny", token=lambda: "secret", metadata={"X-Team": "search"}, compression=compression
    ) as client:
        client.entities("wang")
    assert {key: seen[-1][key] for key in ("authorization", "x-team")} == {
        "authorization": "Bearer secret",
        "x-team": "search",
    }


@pytest.mark.parametrize("metadata", [pytest.param({"a b": "c"}, id="name"), pytest.param({"a": "ü"}, id="value")])
def test_invalid_metadata(metadata: dict[str, str]) -> None:
    """Metadata that gRPC does not accept raises ValueError when the transport is created, before any call."""
    with pytest.raises(ValueError, match="metadata must have names of a-z 0-9"):
        GrpcTransport("localhost:1", metadata=metadata)


# ---- errors


@pytest.mark.parametrize("code", [pytest.param(code, id=code.name) for code in grpc.StatusCode if code.value[0]])
def test_status_codes(start_server: StartServer, code: grpc.StatusCode) -> None:
    """A server's status code raises the exception of `error_from_status`, caused by gRPC's error."""

    def abort(data: bytes, context: grpc.ServicerContext) -> bytes:
        del data
        context.abort(code, "these details")
        raise AssertionError

    server = start_server(abort, abort)
    transport = GrpcTransport(server.address)
    for call in (
        lambda: transport.predict(PredictCall("tiny", "s", {}), timeout=9),
        lambda: transport.status("tiny", timeout=9),
    ):
        with pytest.raises(ServerError) as caught:
            call()
        assert type(caught.value) is type(error_from_status(code, "these details", server.address))
        assert f"call to {server.address} failed with {code.name}: these details" in str(caught.value)
        assert isinstance(caught.value.__cause__, grpc.RpcError)
    transport.close()


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(wire.Tensor(dtype=99), id="dtype"),
        pytest.param(wire.Tensor(dtype=1, float_val=[b"12345"]), id="float-of-5-bytes"),
        pytest.param(wire.Tensor(dtype=3, int_val=[b"\x80"]), id="truncated-varint"),
    ],
)
def test_malformed_tensor(start_server: StartServer, tensor: wire.Tensor) -> None:
    """A malformed tensor in a response raises a ServerError that names the address and the problem."""
    response = wire.PredictResponse(outputs={"y": tensor}).SerializeToString()
    server = start_server(lambda *_: response)
    transport = GrpcTransport(server.address)
    with pytest.raises(ServerError, match=f"{server.address} sent a malformed tensor: ") as caught:
        transport.predict(PredictCall("tiny", "s", {}), timeout=9)
    assert caught.value.code == "INTERNAL"
    transport.close()


def test_malformed_response(start_server: StartServer) -> None:
    """A response that is not a protobuf message raises ServerError."""
    transport = GrpcTransport(start_server(lambda *_: b"\xff\xff").address)
    with pytest.raises(ServerError, match="failed with INTERNAL: "):
        transport.predict(PredictCall("tiny", "s", {}), timeout=9)
    transport.close()


def test_cancelled_calls(start_server: StartServer) -> None:
    """A call that the server cancels, as one that stops does, is retried; a call that the caller cancels is not."""
    attempts, gate, answer = Counter[str](), threading.Event(), predict_method()

    def predict(data: bytes, context: grpc.ServicerContext) -> bytes:
        attempts["server"] += 1
        if attempts["server"] == 1:
            context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
        return answer(data, context)

    def wait(data: bytes, context: grpc.ServicerContext) -> bytes:
        attempts["caller"] += 1
        gate.wait(SECONDS)
        return answer(data, context)

    async def cancel(address: str) -> None:
        async with AsyncClient(address, "tiny") as client:
            task = asyncio.ensure_future(client.entities("wang"))
            while not attempts["caller"]:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gate.set()

    with Client(start_server(predict).address, "tiny") as client:
        ask_repeatedly(client, 1)
    assert attempts["server"] == 3  # the manifest twice, and the text
    asyncio.run(cancel(start_server(wait).address))
    assert attempts["caller"] == 1


def test_no_server() -> None:
    """If no server listens at the address, a call raises ServerUnavailable before its timeout."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but not listening: connections are refused
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(ServerUnavailable, match="Is a server running there") as caught, Client(address, "m") as c:
            c.status()
        assert time.monotonic() - begin < 10
    assert address in str(caught.value)
    assert caught.value.code == "UNAVAILABLE"


def test_deadline(start_server: StartServer) -> None:
    """If a server does not respond within the timeout, the call raises DeadlineExceeded at that time."""
    release = threading.Event()
    answer = predict_method()

    def hang(data: bytes, context: grpc.ServicerContext) -> bytes:
        release.wait(20)
        return answer(data, context)

    server = start_server(hang)
    begin = time.monotonic()
    with (
        pytest.raises(DeadlineExceeded, match="Raise the timeout") as caught,
        Client(server.address, "tiny", timeout=0.2) as client,
    ):
        client.entities("wang")
    release.set()
    assert 0.2 <= time.monotonic() - begin < 10
    assert caught.value.code == "DEADLINE_EXCEEDED"


def test_other_grpc_service(start_server: StartServer) -> None:
    """A gRPC server without TensorFlow Serving's API raises an error that suggests the right port."""
    with (
        pytest.raises(ServerError, match=r"UNIMPLEMENTED.*8500, not the REST port 8501") as caught,
        Client(start_server(lambda *_: b"").address, "tiny") as client,
    ):
        client.status()
    assert caught.value.code == "UNIMPLEMENTED"


# ---- several endpoints


def test_calls_are_distributed(replica: Replica, calls: Counter[str]) -> None:
    """Calls take turns over the addresses and skip one that is unavailable, which does not count as a retry."""
    first, second = replica("first"), replica("second")
    with Client(f"localhost:{first.port}, {second.address}", "tiny") as client:
        ask_repeatedly(client, 20)
        assert min(calls["first"], calls["second"]) >= 10
        first.stop()
        ask_repeatedly(client, 50)  # more than the budget of 20 retries
        assert client._runner._policy.budget._remaining == 20


def test_async_calls_are_distributed(replica: Replica, calls: Counter[str]) -> None:
    """The async transport takes turns over the addresses, too, and skips one that is unavailable."""
    first, second = replica("first"), replica("second")

    async def main() -> None:
        async with AsyncClient(f"{first.address},{second.address}", "tiny") as client:
            for _ in range(10):
                await client.entities("wang")
            assert min(calls["first"], calls["second"]) >= 5
            first.stop()
            for _ in range(10):
                assert await client.entities("wang")

    asyncio.run(main())


def test_least_busy_endpoint_first(start_server: StartServer, replica: Replica) -> None:
    """While one server is busy with a call, further calls go to the other server."""
    busy, release = threading.Event(), threading.Event()
    answer = predict_method()

    def predict(data: bytes, context: grpc.ServicerContext) -> bytes:
        busy.set()
        release.wait(20)
        return answer(data, context)

    transport = GrpcTransport(f"{start_server(predict).address},{replica('idle').address}")
    with Client("", "tiny", transport=transport) as client, ThreadPoolExecutor(9) as pool:
        futures = []
        while not busy.is_set():
            futures.append(pool.submit(ask_repeatedly, client, 1))
            busy.wait(0.05)
        ask_repeatedly(client, 20)
        release.set()
        for future in futures:
            future.result()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        pytest.param(grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest, id="invalid"),
        pytest.param(grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded, id="overloaded"),
    ],
)
def test_only_unavailable_endpoints_are_skipped(
    replica: Replica, calls: Counter[str], code: grpc.StatusCode, error: type[Exception]
) -> None:
    """An error other than UNAVAILABLE is raised without a call to the next address."""
    first, second = replica("first", code), replica("second", code)
    transport = GrpcTransport(f"{first.address},{second.address}")
    with pytest.raises(error):
        transport.predict(PredictCall("tiny", "length_4", {}), timeout=9)
    assert calls.total() == 1
    transport.close()


def test_no_server_at_any_address() -> None:
    """If no server listens at any of the addresses, a call raises ServerUnavailable."""
    with socket.socket() as one, socket.socket() as two:
        for unused in (one, two):
            unused.bind(("127.0.0.1", 0))  # bound, but not listening
        addresses = ",".join(f"127.0.0.1:{unused.getsockname()[1]}" for unused in (one, two))
        with pytest.raises(ServerUnavailable, match="Is a server running there"), Client(addresses, "tiny") as client:
            client.status()


def test_unknown_host_is_skipped(replica: Replica) -> None:
    """An address whose host cannot be resolved is skipped like an unavailable server."""
    with Client(f"no-such-host.invalid:1,{replica('known').address}", "tiny") as client:
        ask_repeatedly(client, 4)
