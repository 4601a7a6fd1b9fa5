"""The `bertbundle-serve` command, run as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from embedded_server import Launch
from tiny_bundles import TinyBundles
from waiting import SECONDS, wait_until

pytestmark = pytest.mark.slow  # starts processes

COMMAND = [sys.executable, "-m", "bertbundle_serving"]


def start_error(*flags: str) -> str:
    """Run a command that must not start, check that it exits with code 2 and no traceback, and return its stderr."""
    result = subprocess.run([*COMMAND, *flags], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def test_start_up_lines(bundles: TinyBundles, launch: Launch) -> None:
    """Port 0 picks a port. The first line names it, the next line the model, its runtime and its threads."""
    bundles.write(7)
    server = launch("--model_name=tiny", f"--model_base_path={bundles.base}", "--tensorflow_intra_op_parallelism=1")
    assert server.banner[0].startswith("bertbundle-serve: listening on 127.0.0.1:")
    # OpenVINO may be installed, but this bundle has no file for it.
    line = "bertbundle-serve: model tiny version 7 runtime onnx precision float32 threads 1 (auto: %s)"
    assert server.banner[1] in (line % "no model_standard.onnx for openvino", line % "openvino is not installed")
    assert server.address().predict_tiny().model_spec.version.value == 7


def test_models_from_a_file(bundles: TinyBundles, launch: Launch, tmp_path: Path) -> None:
    """A model_config_file may list models and labels."""
    bundles.write(1)
    bundles.write(2)
    (tmp_path / "models.config").write_text(
        f'model_config_list {{ config {{ name: "tiny" base_path: "{bundles.base}" model_version_policy {{ all {{}} }} '
        'version_labels { key: "stable" value: 1 } } }'
    )
    server = launch(f"--model_config_file={tmp_path / 'models.config'}")
    assert server.address().statuses().keys() == {1, 2}


def test_occupied_port() -> None:
    """If the port is in use, the command prints one message and exits with code 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = start_error(f"--port={port}", f"--model_base_path={Path(__file__).parent}")
    assert error == (
        f"bertbundle-serve: cannot listen on 127.0.0.1:{port}: Address already in use. Stop the process that uses "
        "it, or choose another --port (0 picks a free one) or --host.\n"
    )


def test_occupied_rest_port(bundles: TinyBundles) -> None:
    """If the REST port is in use, the command prints one message and exits with code 2, before it loads a model."""
    bundles.write(1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = start_error("--port=0", f"--rest_api_port={port}", f"--model_base_path={bundles.base}")
    assert error == (
        f"bertbundle-serve: cannot listen on 127.0.0.1:{port}: Address already in use. Stop the process that uses "
        "it, or choose another --rest_api_port (0 disables REST) or --host.\n"
    )


def test_two_servers_do_not_share_a_port(bundles: TinyBundles, launch: Launch) -> None:
    """A second server does not start on the port of the first."""
    bundles.write(1)
    port = launch(f"--model_base_path={bundles.base}").address().port
    assert "cannot listen" in start_error(f"--port={port}", f"--model_base_path={bundles.base}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param([], "no model to serve. Give --model_base_path", id="no-base-path"),
        pytest.param(["--model_base_path=absent"], "base path absent, which is not a directory", id="absent"),
        pytest.param(["--model_config_file=absent"], "cannot read --model_config_file absent", id="no-config"),
        pytest.param(["--model_base_path=.", "--model_name="], "--model_name is empty", id="no-name"),
        pytest.param(["--rest_port=1"], "unrecognized arguments: --rest_port=1", id="unknown-flag"),
        pytest.param(["--grpc_max_threads=-5"], "'-5' is not a number from 1 to 4096", id="no-threads"),
    ],
)
def test_misconfiguration(flags: list[str], message: str) -> None:
    """A command that cannot start prints the reason in one message and exits with code 2."""
    assert message in start_error("--port=0", *flags)


def test_malformed_config_file(tmp_path: Path) -> None:
    """The message about a malformed model_config_file names the file and the position in it."""
    path = tmp_path / "models.config"
    path.write_text("model_config_list {\n  config { nam: }\n}")
    error = start_error("--port=0", f"--model_config_file={path}")
    text = "Error parsing text-format tensorflow.serving.ModelServerConfig: 2:12"
    assert f"cannot read --model_config_file {path}: {text}" in error


def test_base_path_that_is_a_version(bundles: TinyBundles) -> None:
    """If the base path is a version directory, the message names the right path."""
    version = bundles.write(1)
    assert f"Give its parent directory, {bundles.base}." in start_error(f"--model_base_path={version}")


def test_base_path_that_is_a_checkpoint(tmp_path: Path) -> None:
    """If the base path is a checkpoint, the message says to export it."""
    (tmp_path / "config.json").write_text("{}")
    assert "which is a checkpoint. Export it with bertbundle-export" in start_error(f"--model_base_path={tmp_path}")


def test_broken_only_version(bundles: TinyBundles) -> None:
    """A server whose only version is broken exits and prints the reason."""
    bundles.write(1, warmup=b"not a record")
    error = start_error("--port=0", "--model_name=tiny", f"--model_base_path={bundles.base}")
    assert "no version of model tiny" in error
    assert "corrupted record in tf_serving_warmup_requests at byte 0. Repair or remove it." in error


def test_broken_warmup_may_be_skipped(bundles: TinyBundles, launch: Launch) -> None:
    """Warmup can be disabled."""
    bundles.write(1, warmup=b"not a record")
    server = launch("--model_name=tiny", f"--model_base_path={bundles.base}", "--enable_model_warmup=false")
    assert server.address().predict_tiny().model_spec.version.value == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_in_flight_calls_finish_after_a_signal(bundles: TinyBundles, launch: Launch, tmp_path: Path, name: str) -> None:
    """After SIGTERM or SIGINT the calls in flight are answered, then the server exits with code 0."""
    bundles.write(1, warmup=b"")
    gate = tmp_path / "gate"
    server = launch("--model_name=tiny", f"--model_base_path={bundles.base}", gate=gate)
    address = server.address()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(address.predict_tiny, 60)
        wait_until(gate.with_suffix(".reached").exists)
        os.kill(server.process.pid, getattr(signal, name))
        wait_until(lambda: not _listens(address.port))
        assert not answer.done()
        gate.touch()
    assert answer.result().model_spec.version.value == 1
    assert server.process.wait(20) == 0


def _listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def test_version() -> None:
    """--version prints the version and exits."""
    result = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("bertbundle-serve ")


@pytest.mark.parametrize("closed", [pytest.param(True, id="closed"), pytest.param(False, id="reader-gone")])
def test_unreadable_stdout(bundles: TinyBundles, tmp_path: Path, closed: bool) -> None:
    """If stdout is closed or its reader is gone, the server still serves, and exits with code 0 and no traceback."""
    bundles.write(1)
    path = tmp_path / "socket"
    flags = ["--port=0", f"--grpc_socket_path={path}", "--model_name=tiny", f"--model_base_path={bundles.base}"]
    reader, writer = os.pipe()
    os.close(reader)
    shell = ["sh", "-c", 'exec "$@" >&-', "sh"] if closed else []
    with subprocess.Popen([*shell, *COMMAND, *flags], stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        with grpc.insecure_channel(f"unix:{path}") as channel:
            request = health_pb2.HealthCheckRequest()
            answer = health_pb2_grpc.HealthStub(channel).Check(request, wait_for_ready=True, timeout=SECONDS)
        process.terminate()
        stderr = process.communicate(timeout=SECONDS)[1]
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert (process.returncode, "Traceback" in stderr) == (0, False)


@pytest.mark.parametrize(
    ("inherited", "expected"), [("default_int_handler", "SIG_DFL"), ("SIG_IGN", "SIG_IGN")], ids=["handled", "ignored"]
)
def test_interrupt_before_the_start(inherited: str, expected: str) -> None:
    """Until the server answers, Ctrl-C ends the command at once, without a traceback; if it is ignored, it stays so."""
    program = f"""
import signal
from bertbundle_serving.cli import main
signal.signal(signal.SIGINT, signal.{inherited})
try:
    main(["--version"])
except SystemExit:
    print(signal.getsignal(signal.SIGINT) is signal.{expected})
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "True"
