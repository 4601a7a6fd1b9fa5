"""The deployment files are valid for TensorFlow Serving and Docker Compose."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from google.protobuf import text_format

from bertbundle_serving.config.models import read_model_configs
from bertbundle_serving.protos import _config_pb2 as proto
from optional import require_package
from paths import ROOT

DEPLOY = ROOT / "serving" / "deploy"


def compose_text() -> str:
    """Return the text of the compose file."""
    return (DEPLOY / "compose.yaml").read_text(encoding="utf-8")


def test_compose_follows_the_specification() -> None:
    """compose.yaml conforms to the schema of the Compose specification."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "--output-format"]
    result = subprocess.run([*command, "json", DEPLOY / "compose.yaml"], capture_output=True, text=True, check=False)
    assert json.loads(result.stdout)["status"] == "ok", result.stdout


def test_compose_mounts_its_config_files() -> None:
    """Every configuration file that a flag names exists, and their directory is mounted read-only."""
    named = set(re.findall(r"--\w+_file=/config/(\S+)", compose_text()))
    assert named == {"models.config", "batching.config", "monitoring.config"}
    for name in named:
        assert (DEPLOY / name).is_file()
    assert "- ./:/config:ro\n" in compose_text()


def test_compose_is_pinned_and_local() -> None:
    """The image has a version, and the ports are bound to loopback unless a variable says otherwise."""
    assert re.search(r"image: \$\{TF_SERVING_IMAGE:-tensorflow/serving:\d+\.\d+\.\d+\}", compose_text())
    published = re.findall(r"- (\S+):(8500|8501):\2", compose_text())
    assert published == [("${BERTBUNDLE_ADDRESS:-127.0.0.1}", "8500"), ("${BERTBUNDLE_ADDRESS:-127.0.0.1}", "8501")]


def test_compose_drops_privileges() -> None:
    """An attacker who takes over the server can write no files, and gains no privileges."""
    for setting in ("read_only: true", "cap_drop:\n      - ALL", "security_opt:\n      - no-new-privileges:true"):
        assert f"\n    {setting}\n" in compose_text()


def test_health_check_queries_a_served_model() -> None:
    """The health check's default model is in models.config."""
    match = re.search(r"MODEL_NAME: \$\{BERTBUNDLE_MODEL:-(\w+)\}", compose_text())
    assert match is not None
    assert match[1] in {model.name for model in read_model_configs(DEPLOY / "models.config")}


def test_models_config_is_official() -> None:
    """models.config is a ModelServerConfig of the official package, and serves the newest version."""
    official = require_package("tensorflow_serving.config.model_server_config_pb2")
    config = text_format.Parse((DEPLOY / "models.config").read_text(), official.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.base_path, model.model_version_policy.latest.num_versions) == ("/models/bert", 1)


def test_batching_config() -> None:
    """batching.config parses (the official package has no BatchingParameters), and padding stays off."""
    config = text_format.Parse((DEPLOY / "batching.config").read_text(), proto.BatchingParameters())
    assert not config.pad_variable_length_inputs
    # TensorFlow rejects requests of more than max_batch_size rows, even if it splits: the limit must allow splitting.
    assert config.enable_large_batch_splitting.value
    assert config.max_execution_batch_size.value < config.max_batch_size.value
    (threads,) = re.findall(r"--grpc_max_threads=(\d+)", compose_text())
    assert int(threads) > config.max_execution_batch_size.value


def test_monitoring_config() -> None:
    """monitoring.config parses (the official package has no MonitoringConfig), and enables the metrics."""
    config = text_format.Parse((DEPLOY / "monitoring.config").read_text(), proto.MonitoringConfig())
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == "/monitoring/prometheus/metrics"
