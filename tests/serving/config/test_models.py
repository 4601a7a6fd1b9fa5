"""Flags and configuration files, and that their schema is TensorFlow Serving's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bertbundle_serving.config.models import read_model_configs
from bertbundle_serving.config.version_policy import All, Latest, Policy, Specific
from bertbundle_serving.errors import ServeError
from bertbundle_serving.flags import parse_flags
from bertbundle_serving.protos import _config_pb2 as proto
from generated_code import descriptors
from optional import require_package
from paths import ROOT

SERVING = ROOT / "serving"


def read(tmp_path: Path, text: str) -> object:
    """Read a model_config_file."""
    path = tmp_path / "models.config"
    path.write_text(text)
    return read_model_configs(path)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        pytest.param("", Latest(1), id="default"),
        pytest.param("model_version_policy { latest {} }", Latest(1), id="latest"),
        pytest.param("model_version_policy { latest { num_versions: 2 } }", Latest(2), id="latest-2"),
        pytest.param("model_version_policy { all {} }", All(), id="all"),
        pytest.param(
            "model_version_policy { specific { versions: 1 versions: 3 } }", Specific(frozenset({1, 3})), id="specific"
        ),
    ],
)
def test_config_names_a_policy(tmp_path: Path, text: str, policy: Policy) -> None:
    """A model's version policy is read."""
    path = tmp_path / "models.config"
    path.write_text(
        'model_config_list { config { name: "bert" base_path: "/models/bert" model_platform: "tensorflow" '
        f'version_labels {{ key: "stable" value: 1 }} {text} }} }}'
    )
    (model,) = read_model_configs(path)
    assert (model.name, model.base_path, model.policy) == ("bert", Path("/models/bert"), policy)
    assert model.labels == {"stable": 1}


ONE = 'config { name: "a" base_path: "/a" }'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("model_config_list {", "models.config: ", id="syntax"),
        pytest.param("models { }", 'has no field named "models". It holds', id="unknown-field"),
        pytest.param("", "it lists no models", id="empty"),
        pytest.param(f"model_config_list {{ {ONE} {ONE} }}", "Illegal to list model a multiple times", id="twice"),
        pytest.param('model_config_list { config { base_path: "/a" } }', "a model needs a name", id="no-name"),
        pytest.param('model_config_list { config { name: "a" } }', "model a has no base_path", id="no-path"),
        pytest.param(
            'model_config_list { config { name: "a" base_path: "/a" model_platform: "caffe" } }',
            "model_platform 'caffe'",
            id="platform",
        ),
        pytest.param(
            'model_config_list { config { name: "a" base_path: "/a" model_version_policy { specific {} } } }',
            "at least one version",
            id="specific-none",
        ),
    ],
)
def test_malformed_config_is_explained(tmp_path: Path, text: str, message: str) -> None:
    """A model_config_file that cannot be used says what is wrong with it."""
    with pytest.raises(ServeError, match=re.escape(message)):
        read(tmp_path, text)


def test_missing_config_is_explained(tmp_path: Path) -> None:
    """A model_config_file that is not there is named."""
    with pytest.raises(ServeError, match=r"absent: No such file or directory\. It holds ModelServerConfig in"):
        read_model_configs(tmp_path / "absent")


def test_config_from_windows(tmp_path: Path) -> None:
    """A file with a byte order mark and Windows' ends of lines is read."""
    (tmp_path / "models.config").write_bytes(b"\xef\xbb\xbf" + f"model_config_list {{\r\n {ONE}\r\n}}".encode())
    assert [model.name for model in read_model_configs(tmp_path / "models.config")] == ["a"]


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
    """Flags are spelled as TensorFlow Serving's."""
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
    """A flag with a value it cannot have ends the command with code 2 and names both."""
    with pytest.raises(SystemExit) as caught:
        parse_flags([flag])
    assert caught.value.code == 2
    name, value = flag.split("=")
    error = capsys.readouterr().err
    assert name in error
    assert value in error


def test_help_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No line of --help is longer than a terminal of 80 columns is wide."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        parse_flags(["--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_generated_code_is_up_to_date() -> None:
    """_config_pb2.py holds exactly what _config.proto compiles to: run `make proto` after a change."""
    compiled, committed = descriptors(SERVING, "bertbundle_serving/protos/_config.proto", proto)
    assert committed == compiled


def test_model_server_config_is_the_official_one() -> None:
    """Every field of ModelServerConfig has the official name, number and type."""
    official = require_package("tensorflow_serving.config.model_server_config_pb2")
    assert _differences(proto.ModelServerConfig.DESCRIPTOR, official.ModelServerConfig.DESCRIPTOR) == []


def _differences(ours: Any, theirs: Any) -> list[str]:
    differences = []
    for field in ours.fields:
        other = theirs.fields_by_name.get(field.name)
        kinds = [(f.number, f.type, f.is_repeated) for f in (field, other) if f is not None]
        if len(set(kinds)) != 1 or len(kinds) != 2:
            differences.append(f"{ours.name}.{field.name}")
        elif field.message_type is not None and other is not None and other.message_type is not None:
            differences += _differences(field.message_type, other.message_type)
    return differences


def test_every_flag_of_tensorflow_serving_is_taken(tmp_path: Path) -> None:
    """A command line written for tensorflow_model_server starts this server, and its values count."""
    (tmp_path / "batching.config").write_text("max_batch_size { value: 4 }")
    (tmp_path / "monitoring.config").write_text("prometheus_config { enable: true }")
    flags = {
        "port": "8500",
        "grpc_socket_path": "/tmp/s",  # noqa: S108  # nothing is made there
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
        options.rest_seconds,
        options.cors,
        options.config_poll_seconds,
        options.poll_seconds,
        options.batching.max_batch_size,
        options.batch_any,
        options.model_batching,
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
