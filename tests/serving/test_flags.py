"""The flags of `bertbundle-serve` are compatible with those of tensorflow_model_server."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertbundle_serving.flags import parse_flags


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param([], {"port": 8500, "host": "127.0.0.1", "warmup": True, "runtime": "auto"}, id="defaults"),
        pytest.param(["--port", "1"], {"port": 1}, id="two-words"),
        pytest.param(["--port=1"], {"port": 1}, id="equals-sign"),
        pytest.param(["--enable_model_warmup=false"], {"warmup": False}, id="boolean-off"),
        pytest.param(["--enable_serialization_as_tensor_content"], {"tensor_content": True}, id="boolean-alone"),
        pytest.param(["--enable_model_warmup", "false", "--port=1"], {"warmup": False}, id="boolean-two-words"),
        pytest.param(["--file_system_poll_wait_seconds=-1"], {"poll_seconds": -1.0}, id="negative"),
        pytest.param(["--tensorflow_intra_op_parallelism=3", "--runtime=onnx"], {"threads": 3}, id="threads"),
        pytest.param(["--tensorflow_intra_op_parallelism=0"], {"threads": None}, id="threads-chosen"),
    ],
)
def test_flags(tmp_path: Path, flags: list[str], expected: dict[str, object]) -> None:
    """Flags have TensorFlow Serving's spelling."""
    options = parse_flags([f"--model_base_path={tmp_path}", *flags])
    assert {name: getattr(options, name) for name in expected} == expected
    assert options.models[0].name == "default"


@pytest.mark.parametrize(
    "flag",
    [
        "--file_system_poll_wait_seconds=nan",
        "--tensorflow_intra_op_parallelism=100000",
        "--port=x",
        "--port=65536",
        "--grpc_max_threads=0",
        "--enable_model_warmup=perhaps",
        "--runtime=torch",
    ],
)
def test_malformed_flags_are_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid value of a flag ends the command with code 2 and a message that names the flag and the value."""
    with pytest.raises(SystemExit) as caught:
        parse_flags([flag])
    assert caught.value.code == 2
    name, value = flag.split("=")
    error = capsys.readouterr().err
    assert name in error
    assert value in error


def test_help_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In a terminal of 80 columns, no line of --help is longer."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        parse_flags(["--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_flags_of_tensorflow_serving_are_accepted(tmp_path: Path) -> None:
    """The flags of tensorflow_model_server set the corresponding options."""
    (tmp_path / "batching.config").write_text("max_batch_size { value: 4 }")
    (tmp_path / "monitoring.config").write_text("prometheus_config { enable: true }")
    flags = {
        "port": "8500",
        "grpc_socket_path": "/tmp/s",  # noqa: S108  # no file is created there
        "rest_api_port": "8501",
        "rest_api_timeout_in_ms": "5000",
        "rest_api_enable_cors_support": "true",
        "model_name": "m",
        "model_base_path": str(tmp_path),
        "model_config_file_poll_wait_seconds": "7",
        "file_system_poll_wait_seconds": "3",
        "enable_batching": "true",
        "batching_parameters_file": str(tmp_path / "batching.config"),
        "enable_per_model_batching_parameters": "false",
        "enable_model_warmup": "false",
        "num_load_threads": "2",
        "max_num_load_retries": "1",
        "load_retry_interval_micros": "2000000",
        "grpc_max_threads": "9",
        "grpc_channel_arguments": "grpc.max_connection_age_ms=1000,grpc.primary_user_agent=x",
        "monitoring_config_file": str(tmp_path / "monitoring.config"),
        "enable_grpc_healthcheck_service": "false",
        "allow_version_labels_for_unavailable_models": "true",
        "enable_serialization_as_tensor_content": "true",
        "tensorflow_intra_op_parallelism": "2",
        "tensorflow_inter_op_parallelism": "1",
    }
    options = parse_flags([f"--{name}={value}" for name, value in flags.items()])
    assert options.batching is not None
    found = (
        options.rest_port,
        options.rest_timeout_seconds,
        options.cors,
        options.config_poll_seconds,
        options.poll_seconds,
        options.batching.max_batch_size,
        options.batch_non_bundles,
        options.per_version_batching,
        options.warmup,
        options.load_threads,
        options.load_retries,
        options.load_retry_seconds,
        options.limits.calls,
        options.channel_arguments,
        options.metrics_path,
        options.health,
        options.labels_for_unavailable,
        options.tensor_content,
        options.threads,
        options.inter_op_threads,
    )
    assert found == (
        8501,
        5.0,
        True,
        7.0,
        3.0,
        4,
        True,
        False,
        False,
        2,
        1,
        2.0,
        9,
        (("grpc.max_connection_age_ms", 1000), ("grpc.primary_user_agent", "x")),
        "/monitoring/prometheus/metrics",
        False,
        True,
        True,
        2,
        1,
    )


@pytest.mark.parametrize(("flags", "names"), [(["--ui"], "--ui"), (["--ui", "--rest_api_port=1"], None)])
def test_flags_of_the_rest_api(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, flags: list[str], names: str | None
) -> None:
    """Flags that have no effect without the REST API say so."""
    parse_flags([f"--model_base_path={tmp_path}", *flags])
    expected = [f"{names} has no effect without the REST API: add --rest_api_port 8501"] if names else []
    assert [record.getMessage() for record in caplog.records] == expected
