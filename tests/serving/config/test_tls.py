"""The --ssl_config_file: TLS for gRPC."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import grpc
import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_serving.config.tls import read_credentials
from bertbundle_serving.errors import ServeError
from bertbundle_serving.protos import _config_pb2 as config
from embedded_server import PREDICT, Serve
from optional import skip_without
from tiny_bundles import TinyBundles, predict_request
from waiting import SECONDS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A CA, and a key and certificate for localhost that it signed, as PEM texts."""
    if shutil.which("openssl") is None:
        skip_without("openssl")
    directory = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    openssl("req", *key, "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=localhost")
    (directory / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2")
    openssl("x509", "-req", "-in", "csr.pem", "-out", "cert.pem", *signed)
    openssl("pkey", "-in", "key.pem", "-out", "encrypted.pem", "-aes256", "-passout", "pass:secret")
    (directory / "other.pem").write_bytes((directory / "ca.key").read_bytes())
    return {name: (directory / f"{name}.pem").read_text() for name in ("ca", "key", "cert", "encrypted", "other")}


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
def test_tls(bundles: TinyBundles, serve: Serve, tmp_path: Path, certificates: dict[str, str], verify: bool) -> None:
    """With an ssl_config_file the server accepts only TLS, and with client_verify only clients with a certificate."""
    bundles.write(1)
    port = serve(bundles.base, ssl_config_file=ssl_config(tmp_path / "ssl", certificates, verify=verify)).server.port
    ca, key, cert = (certificates[name].encode() for name in ("ca", "key", "cert"))
    secure = grpc.ssl_channel_credentials(ca, key, cert) if verify else grpc.ssl_channel_credentials(ca)
    with grpc.secure_channel(f"localhost:{port}", secure) as channel:
        data = channel.unary_unary(PREDICT)(predict_request(bundles.features()).SerializeToString(), timeout=SECONDS)
    assert wire.PredictResponse.FromString(data).model_spec.version.value == 1
    rejected = [grpc.insecure_channel(f"localhost:{port}")]
    if verify:
        rejected.append(grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(ca)))
    for channel in rejected:
        with channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(PREDICT)(predict_request(bundles.features()).SerializeToString(), timeout=2)
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("server_key: 1", "cannot read --ssl_config_file", id="malformed"),
        pytest.param('server_key: "k"', "lacks server_key or server_cert", id="no-certificate"),
        pytest.param(
            'server_key: "k" server_cert: "c" client_verify: true',
            "has client_verify but no custom_ca to verify with",
            id="no-ca",
        ),
    ],
)
def test_malformed_ssl_config(tmp_path: Path, text: str, message: str) -> None:
    """The message about an invalid ssl_config_file says what is wrong."""
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
    """The message about an unusable key or certificate says what is wrong, which gRPC would not."""
    wrong = certificates | {name: certificates[other] for name, other in changes.items()}
    with pytest.raises(ServeError, match=message):
        read_credentials(ssl_config(tmp_path / "ssl", wrong, verify=True))


def test_error_does_not_quote_a_key(tmp_path: Path) -> None:
    """The message about a malformed ssl_config_file has only the position: the line may contain the private key."""
    (tmp_path / "ssl").write_text('server_cert: "c"\nserver_key: "SECRET" }')
    text = (
        r"cannot read --ssl_config_file .*ssl: Error parsing text-format tensorflow\.serving\.SSLConfig: 2:22 is malfor"
    )
    with pytest.raises(ServeError, match=text) as caught:
        read_credentials(tmp_path / "ssl")
    assert "SECRET" not in str(caught.value)
