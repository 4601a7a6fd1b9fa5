"""What comes with gRPC beside the API: health, reflection, a Unix socket, TLS, reload, limits, string contents."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.wrappers_pb2 import Int64Value
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import decode_tensor, encode_tensors
from bertbundle_serving.config.tls import read_credentials
from bertbundle_serving.dataplane.admission import Limits
from bertbundle_serving.errors import ServeError
from bertbundle_serving.protos import _api_pb2 as api
from bertbundle_serving.protos import _config_pb2 as config
from optional import skip_without
from waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from tests.serving.conftest import Bundles, Serve

RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
PREDICT = "/tensorflow.serving.PredictionService/Predict"


def predict_request(features: Any, name: str = "tiny") -> bytes:
    """Return the bytes of a PredictRequest."""
    return wire.PredictRequest(
        model_spec=wire.ModelSpec(name=name), inputs=encode_tensors(features)
    ).SerializeToString()


def test_health(bundles: Bundles, serve: Serve) -> None:
    """The standard health service says SERVING for the server and its services, NOT_FOUND for others."""
    bundles.write(1)
    stub = health_pb2_grpc.HealthStub(serve(bundles.base).address.channel)
    for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=SECONDS)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_health_may_be_off(bundles: Bundles, serve: Serve) -> None:
    """Without the flag there is no health service."""
    bundles.write(1)
    stub = health_pb2_grpc.HealthStub(serve(bundles.base, health=False).address.channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_reflection(bundles: Bundles, serve: Serve) -> None:
    """By reflection alone a tool finds the services, and messages that it can call them with."""
    from google.protobuf import json_format, message_factory

    bundles.write(1)
    channel = serve(bundles.base).address.channel
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService", "grpc.health.v1.Health"} <= set(
        database.get_services()
    )
    pool = DescriptorPool(database)
    method = pool.FindServiceByName("tensorflow.serving.PredictionService").FindMethodByName("Predict")
    tensors = {
        name: {"dtype": 3, "tensor_shape": {"dim": [{"size": 1}, {"size": 8}]}, "int_val": [0] * 8}
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    request = message_factory.GetMessageClass(method.input_type)()
    json_format.ParseDict({"model_spec": {"name": "tiny"}, "inputs": tensors}, request, descriptor_pool=pool)
    data = channel.unary_unary(PREDICT)(request.SerializeToString(), timeout=SECONDS)
    answer: Any = message_factory.GetMessageClass(method.output_type).FromString(data)
    assert list(answer.outputs["logits"].float_val) == [0.0] * 8
    assert [m.name for m in pool.FindServiceByName("tensorflow.serving.ModelService").methods] == [
        "GetModelStatus",
        "HandleReloadConfigRequest",
    ]


def test_unix_socket(bundles: Bundles, serve: Serve, tmp_path: Path) -> None:
    """The server answers on a Unix socket, too."""
    bundles.write(1)
    path = tmp_path / "s.sock"
    serve(bundles.base, socket_path=str(path))
    with grpc.insecure_channel(f"unix:{path}") as channel:
        data = channel.unary_unary(PREDICT)(predict_request(bundles.features()), timeout=SECONDS)
    assert wire.PredictResponse.FromString(data).model_spec.version.value == 1


def test_strings_as_content(bundles: Bundles, serve: Serve) -> None:
    """With --enable_serialization_as_tensor_content strings are in tensor_content, too."""
    bundles.write(1)
    import numpy as np

    spec = wire.ModelSpec(name="tiny", signature_name="bundle_info")
    request = wire.PredictRequest(model_spec=spec, inputs=encode_tensors({"row": np.zeros(3, np.int32)}))
    tensor = serve(bundles.base, tensor_content=True).address.predict(request).outputs["tokenizer"]
    assert not tensor.string_val
    assert decode_tensor(tensor).tolist() == [b'{"fake": "tokenizer"}'] * 3


# ---- limits


def test_too_many_calls(bundles: Bundles, serve: Serve, engine_gate: threading.Event) -> None:
    """A call beyond --grpc_max_threads is refused with TensorFlow Serving's text; the others are answered."""
    bundles.write(1, warmup=b"")
    engine_gate.clear()
    address = serve(bundles.base, limits=Limits(calls=2)).address
    call = address.channel.unary_unary(PREDICT)
    running = [call.future(predict_request(bundles.features()), timeout=60) for _ in range(6)]
    wait_until(lambda: sum(future.done() for future in running) == 4)
    refused = [future for future in running if future.done()]
    engine_gate.set()
    assert [future.code() for future in running].count(grpc.StatusCode.OK) == 2
    assert {(f.code(), f.details()) for f in refused} == {
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
    }


def test_too_large_message(bundles: Bundles, serve: Serve) -> None:
    """A message beyond the limit is refused."""
    bundles.write(1)
    address = serve(bundles.base, limits=Limits(message_bytes=10_000)).address
    with pytest.raises(grpc.RpcError) as caught:
        address.send(PREDICT, predict_request(bundles.features(200)))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_too_much_in_flight(bundles: Bundles, serve: Serve, engine_gate: threading.Event) -> None:
    """Requests that together hold more than the limit are refused, a single one never."""
    bundles.write(1, warmup=b"")
    engine_gate.clear()
    address = serve(bundles.base, limits=Limits(total_bytes=100)).address
    call = address.channel.unary_unary(PREDICT)
    running = [call.future(predict_request(bundles.features()), timeout=60) for _ in range(3)]
    wait_until(lambda: sum(future.done() for future in running) == 2)
    engine_gate.set()
    assert sorted(future.code().name for future in running) == ["OK", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]


def test_deadline_in_the_queue(bundles: Bundles, serve: Serve, engine_gate: threading.Event) -> None:
    """A call whose deadline passes while it waits is answered then, and never computed."""
    bundles.write(1, warmup=b"")
    engine_gate.clear()
    server = serve(bundles.base)
    call = server.address.channel.unary_unary(PREDICT)
    running = [call.future(predict_request(bundles.features()), timeout=60) for _ in range(2)]
    wait_until(lambda: server.server._front._calls == 2)
    with pytest.raises(grpc.RpcError) as caught:
        call(predict_request(bundles.features(3)), timeout=0.1)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    engine_gate.set()
    assert [future.code() for future in running] == [grpc.StatusCode.OK] * 2
    # 2 rows each: the 3 rows were never in a batch.
    assert b'bertbundle_batch_rows_sum{model="tiny",signature="serving_default"} 4.0' in (
        server.server.metrics.exposition()
    )


# ---- reload


def reload_request(**models: Path) -> bytes:
    """Return a ReloadConfigRequest for these models."""
    entries = [config.ModelConfig(name=name, base_path=str(base)) for name, base in models.items()]
    listed = config.ModelServerConfig(model_config_list=config.ModelConfigList(config=entries))
    return api.ReloadConfigRequest(config=listed).SerializeToString()


def test_reload_adds_and_removes(bundles: Bundles, serve: Serve) -> None:
    """Models come and go while the server runs; one that went ends, and its status says so."""
    bundles.write(1)
    address = serve(bundles.base).address
    address.send(RELOAD, reload_request(tiny=bundles.base, other=bundles.base))
    assert address.statuses("other")[1].state == wire.ModelVersionStatus.AVAILABLE
    address.send(RELOAD, reload_request(other=bundles.base))
    with pytest.raises(grpc.RpcError) as caught:
        address.predict_tiny()
    assert caught.value.details() == "Servable not found for request: Latest(tiny)"
    assert address.statuses("tiny")[1].state == wire.ModelVersionStatus.END


def test_reload_changes_policy_and_labels(bundles: Bundles, serve: Serve) -> None:
    """A reload may change which versions of a model are served, and then what labels point to."""
    bundles.write(1)
    bundles.write(2)
    address = serve(bundles.base).address
    entry = config.ModelConfig(name="tiny", base_path=str(bundles.base))
    entry.model_version_policy.all.SetInParent()
    listed = config.ModelServerConfig(model_config_list=config.ModelConfigList(config=[entry]))
    address.send(RELOAD, api.ReloadConfigRequest(config=listed).SerializeToString())
    listed.model_config_list.config[0].version_labels["stable"] = 1
    address.send(RELOAD, api.ReloadConfigRequest(config=listed).SerializeToString())
    spec = wire.ModelSpec(name="tiny", version_label="stable")
    request = wire.PredictRequest(model_spec=spec, inputs=encode_tensors(bundles.features()))
    assert address.predict(request).model_spec.version == Int64Value(value=1)


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        pytest.param(
            b"",
            "INVALID_ARGUMENT",
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported",
            id="no-list",
        ),
        pytest.param(
            api.ReloadConfigRequest(
                config=config.ModelServerConfig(
                    model_config_list=config.ModelConfigList(config=[config.ModelConfig(name="a", base_path="/a")] * 2)
                )
            ).SerializeToString(),
            "INVALID_ARGUMENT",
            "Illegal to list model a multiple times in config list",
            id="twice",
        ),
        pytest.param(
            reload_request(a=Path("/absent")),
            "FAILED_PRECONDITION",
            "model a has base path /absent, which is not a directory. "
            "Give the directory that holds one directory per version.",
            id="absent",
        ),
    ],
)
def test_refused_reload_changes_nothing(bundles: Bundles, serve: Serve, data: bytes, code: str, text: str) -> None:
    """A reload that cannot be done is refused as a whole."""
    bundles.write(1)
    address = serve(bundles.base).address
    with pytest.raises(grpc.RpcError) as caught:
        address.send(RELOAD, data)
    assert (caught.value.code().name, caught.value.details()) == (code, text)
    assert address.predict_tiny().model_spec.version.value == 1


def test_config_file_is_polled(bundles: Bundles, serve: Serve, tmp_path: Path) -> None:
    """A changed model_config_file is followed; a broken one is not."""
    from bertbundle_serving.config.models import read_model_configs

    bundles.write(1)
    path = tmp_path / "models.config"
    entry = f'config {{ name: "%s" base_path: "{bundles.base}" }}'
    path.write_text(f"model_config_list {{ {entry % 'tiny'} }}")
    models = read_model_configs(path)
    address = serve(bundles.base, models=models, model_config_file=path, config_poll_seconds=0.05).address
    path.write_text("model_config_list {")
    time.sleep(0.2)
    assert address.predict_tiny().model_spec.version.value == 1
    path.write_text(f"model_config_list {{ {entry % 'tiny'} {entry % 'second'} }}")
    wait_until(lambda: _knows(address, "second"))


def test_config_file_that_changes_while_the_server_starts(bundles: Bundles, serve: Serve, tmp_path: Path) -> None:
    """What changes between the reading of the file and the first look at it is not missed."""
    from bertbundle_serving.config.models import read_model_configs

    bundles.write(1)
    path = tmp_path / "models.config"
    entry = f'config {{ name: "%s" base_path: "{bundles.base}" }}'
    path.write_text(f"model_config_list {{ {entry % 'tiny'} }}")
    models = read_model_configs(path)
    path.write_text(f"model_config_list {{ {entry % 'tiny'} {entry % 'second'} }}")
    address = serve(bundles.base, models=models, model_config_file=path, config_poll_seconds=0.05).address
    wait_until(lambda: _knows(address, "second"))


def _knows(address: Any, model: str) -> bool:
    try:
        return bool(address.statuses(model))
    except grpc.RpcError:
        return False


# ---- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A CA, and a key and certificate for localhost that it signed, as PEM texts."""
    if shutil.which("openssl") is None:
        skip_without("openssl")
    place = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    openssl("req", *key, "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=localhost")
    (place / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2")
    openssl("x509", "-req", "-in", "csr.pem", "-out", "cert.pem", *signed)
    openssl("pkey", "-in", "key.pem", "-out", "encrypted.pem", "-aes256", "-passout", "pass:secret")
    (place / "other.pem").write_bytes((place / "ca.key").read_bytes())
    return {name: (place / f"{name}.pem").read_text() for name in ("ca", "key", "cert", "encrypted", "other")}


def ssl_config(path: Path, certificates: dict[str, str], *, verify: bool) -> Path:
    """Write an ssl_config_file."""
    from google.protobuf import text_format

    message = config.SSLConfig(
        server_key=certificates["key"],
        server_cert=certificates["cert"],
        custom_ca=certificates["ca"] if verify else "",
        client_verify=verify,
    )
    path.write_text(text_format.MessageToString(message))
    return path


@pytest.mark.parametrize("verify", [pytest.param(False, id="tls"), pytest.param(True, id="mtls")])
def test_tls(bundles: Bundles, serve: Serve, tmp_path: Path, certificates: dict[str, str], verify: bool) -> None:
    """With an ssl_config_file only TLS is spoken, and with client_verify only to clients with a certificate."""
    bundles.write(1)
    port = serve(bundles.base, ssl_config_file=ssl_config(tmp_path / "ssl", certificates, verify=verify)).server.port
    ca, key, cert = (certificates[name].encode() for name in ("ca", "key", "cert"))
    secure = grpc.ssl_channel_credentials(ca, key, cert) if verify else grpc.ssl_channel_credentials(ca)
    with grpc.secure_channel(f"localhost:{port}", secure) as channel:
        data = channel.unary_unary(PREDICT)(predict_request(bundles.features()), timeout=SECONDS)
    assert wire.PredictResponse.FromString(data).model_spec.version.value == 1
    strangers = [grpc.insecure_channel(f"localhost:{port}")]
    if verify:
        strangers.append(grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(ca)))
    for stranger in strangers:
        with stranger, pytest.raises(grpc.RpcError) as caught:
            stranger.unary_unary(PREDICT)(predict_request(bundles.features()), timeout=2)
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("server_key: 1", "cannot read --ssl_config_file", id="malformed"),
        pytest.param('server_key: "k"', "lacks server_key or server_cert", id="no-certificate"),
        pytest.param(
            'server_key: "k" server_cert: "c" client_verify: true', "without a custom_ca to verify with", id="no-ca"
        ),
    ],
)
def test_malformed_ssl_config(tmp_path: Path, text: str, message: str) -> None:
    """An ssl_config_file that cannot work is refused with the reason."""
    path = tmp_path / "ssl.config"
    path.write_text(text)
    with pytest.raises(ServeError, match=message):
        read_credentials(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"key": "other"}, "the private key does not match the certificate", id="key-of-another"),
        pytest.param({"key": "encrypted"}, "the private key is encrypted; decrypt it", id="encrypted"),
        pytest.param({"key": "cert"}, "the private key is not a PEM key", id="key-is-a-certificate"),
        pytest.param({"cert": "key"}, "the certificates contain no PEM certificate", id="certificate-is-a-key"),
        pytest.param(
            {"ca": "key"}, "the certificates of custom_ca contain no PEM certificate", id="authority-is-a-key"
        ),
    ],
)
def test_unusable_certificates(
    tmp_path: Path, certificates: dict[str, str], changes: dict[str, str], message: str
) -> None:
    """A key and certificates that cannot serve are refused with the reason, which gRPC would not tell."""
    wrong = certificates | {name: certificates[other] for name, other in changes.items()}
    with pytest.raises(ServeError, match=message):
        read_credentials(ssl_config(tmp_path / "ssl", wrong, verify=True))


def test_error_does_not_quote_a_key(tmp_path: Path) -> None:
    """What is wrong with an ssl_config_file is told by its place: the line may hold the private key."""
    (tmp_path / "ssl").write_text('server_cert: "c"\nserver_key: "SECRET" }')
    with pytest.raises(ServeError, match=r"cannot read --ssl_config_file .*ssl: 2:22 is malformed") as caught:
        read_credentials(tmp_path / "ssl")
    assert "SECRET" not in str(caught.value)


def test_idle_connections_cost_little(bundles: Bundles, serve: Serve) -> None:
    """A thousand connections that do nothing do not keep others from being answered."""
    import socket

    bundles.write(1)
    server = serve(bundles.base, rest_port=0)
    idle = []
    try:
        for index in range(1000):
            port = server.server.port if index % 2 else server.server.rest_port
            idle.append(socket.create_connection(("127.0.0.1", port or 0)))
        callers = [threading.Thread(target=server.address.predict_tiny) for _ in range(50)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert server.address.predict_tiny().model_spec.version.value == 1
    finally:
        for connection in idle:
            connection.close()
