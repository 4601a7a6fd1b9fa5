"""The runtimes and services for KServe: their schemas, their policies, and that they refer to each other."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format
from jsonschema import ValidationError

from bertbundle_gateway.flags import parse_arguments as parse_gateway_flags
from bertbundle_serving.flags import parse_arguments as parse_server_flags
from bertbundle_serving.options import GRACE_SECONDS
from bertbundle_serving.protos import _config_pb2 as proto
from manifests import KSERVE, KUBERNETES, Manifest, containers, read_manifests, validate
from paths import ROOT

FILES = sorted(KSERVE.glob("*.yaml"))
MANIFESTS = {path.stem: read_manifests(path.read_text(encoding="utf-8")) for path in FILES}
EMBEDDED, TENSORFLOW = MANIFESTS["runtimes"]
ALL = [manifest for manifests in MANIFESTS.values() for manifest in manifests]
VALUES = yaml.safe_load((KUBERNETES / "chart/values.yaml").read_text(encoding="utf-8"))
VERSION = yaml.safe_load((KUBERNETES / "chart/Chart.yaml").read_text(encoding="utf-8"))["appVersion"]

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def named_flags(container: Manifest) -> dict[str, str]:
    """Return the flags of a container by name."""
    return dict(flag[2:].split("=", 1) for flag in container["args"] if flag.startswith("--"))


@every_file
def test_schemas(path: Path) -> None:
    """Every object is valid for KServe 0.21, without unknown fields; those of pods are Kubernetes'."""
    for manifest in MANIFESTS[path.stem]:
        validate(manifest)
        broken = yaml.safe_load(yaml.dump(manifest))
        spec = broken["spec"] if "containers" in broken["spec"] else broken["spec"]["predictor"]
        place = spec["containers"][0] if "containers" in spec else spec["model"]
        place["unknown"] = 1
        with pytest.raises(ValidationError, match="unknown"):
            validate(broken)


def test_containers_are_restricted() -> None:
    """Containers have no privileges and no writable root, but whole cores, limits, probes and a pinned image."""
    found = containers(ALL)
    assert len(found) == 4
    for container in found:
        assert re.fullmatch(r"[\w/-]+:\d+\.\d+\.\d+", container["image"])
        context = container["securityContext"]
        assert context["runAsNonRoot"] is context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        assert int(resources["limits"]["cpu"]) >= 1
        assert {"readinessProbe", "livenessProbe"} <= container.keys()


def test_images_are_those_of_the_chart() -> None:
    """The images have the versions of the Helm chart."""
    tensorflow = VALUES["images"]["tensorflow-serving"]
    expected = {f"{tensorflow['repository']}:{tensorflow['tag']}", f"bertbundle-serve:{VERSION}"}
    assert {container["image"] for container in containers(ALL)} == expected


def test_runtimes() -> None:
    """Both runtimes answer TensorFlow Serving's two protocols on KServe's ports, and announce where the metrics are."""
    config = text_format.Parse((ROOT / "serving/deploy/monitoring.config").read_text(), proto.MonitoringConfig())
    for runtime in (EMBEDDED, TENSORFLOW):
        spec = runtime["spec"]
        assert spec["protocolVersions"] == ["v1", "grpc-v1"]
        assert spec["annotations"]["prometheus.kserve.io/path"] == config.prometheus_config.path
        flags = named_flags(spec["containers"][0])
        assert (flags["port"], flags["rest_api_port"]) == ("9000", spec["annotations"]["prometheus.kserve.io/port"])
        assert (flags["model_name"], flags["model_base_path"]) == ("{{.Name}}", "/mnt/models")
    cores = TENSORFLOW["spec"]["containers"][0]["resources"]["limits"]["cpu"]
    assert named_flags(TENSORFLOW["spec"]["containers"][0])["tensorflow_intra_op_parallelism"] == cores


def test_script_of_tensorflow_serving(tmp_path: Path) -> None:
    """The script writes the monitoring configuration where the flag says, then starts the server with all flags."""
    (shell, option), (script, *flags) = (TENSORFLOW["spec"]["containers"][0][name] for name in ("command", "args"))
    script = script.replace("/usr/bin/tensorflow_model_server", "printf '%s\\n'").replace("exec ", "")
    script = script.replace("/tmp/", f"{tmp_path}/")  # noqa: S108
    done = subprocess.run([shell, option, script, *flags], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == flags
    file = tmp_path / Path(named_flags(TENSORFLOW["spec"]["containers"][0])["monitoring_config_file"]).name
    config = text_format.Parse((ROOT / "serving/deploy/monitoring.config").read_text(), proto.MonitoringConfig())
    assert text_format.Parse(file.read_text(encoding="utf-8"), proto.MonitoringConfig()) == config


def test_flags_are_known() -> None:
    """The flags of the embedded server, of TensorFlow Serving and of the gateway parse, and listen beyond loopback."""
    parsers = {"bertbundle-serve": parse_server_flags, "bertbundle-gateway": parse_gateway_flags}
    for container in containers(ALL):
        flags = [flag for flag in container["args"] if flag.startswith("--")]
        program = container["command"][0]
        parsed = parsers.get(program, parse_server_flags)(flags)
        assert program == "/bin/sh" or parsed.host == "0.0.0.0"  # noqa: S104


def test_services_name_their_runtime() -> None:
    """Each InferenceService names a runtime that supports its format and protocol; both serve the same bundle."""
    runtimes = {runtime["metadata"]["name"]: runtime["spec"] for runtime in (EMBEDDED, TENSORFLOW)}
    models = {name: MANIFESTS[name][0]["spec"]["predictor"]["model"] for name in ("embedded", "tensorflow-serving")}
    for model in (*models.values(), MANIFESTS["canary"][0]["spec"]["predictor"]["model"]):
        runtime = runtimes[model["runtime"]]
        assert model["modelFormat"]["name"] in {one["name"] for one in runtime["supportedModelFormats"]}
        assert model["protocolVersion"] in runtime["protocolVersions"]
    assert len({model["storageUri"] for model in models.values()}) == 1


def test_canary_changes_the_first_service() -> None:
    """The canary is the service of embedded.yaml with another storageUri and a share of the requests."""
    (before,), (after,) = MANIFESTS["embedded"], MANIFESTS["canary"]
    assert after["metadata"]["name"] == before["metadata"]["name"]
    models = [manifest["spec"]["predictor"]["model"] for manifest in (before, after)]
    assert {**models[1], "storageUri": models[0]["storageUri"]} == models[0] != models[1]
    assert 0 < after["spec"]["predictor"]["canaryTrafficPercent"] < 100


def test_collocation() -> None:
    """The gateway asks the server in its pod for the model that is served there, and listens on KServe's port."""
    server, gateway = MANIFESTS["collocation"][0]["spec"]["predictor"]["containers"]
    assert (server["name"], gateway["name"]) == ("kserve-container", "transformer-container")
    flags = named_flags(server)
    assert named_flags(gateway)["model"] == f"{flags['model_name']}=localhost:{flags['port']}"
    assert named_flags(gateway)["rest_api_port"] == str(gateway["ports"][0]["containerPort"]) == "8080"
    ports = [named_flags(container)[name] for container in (server, gateway) for name in ("port", "rest_api_port")]
    assert len(set(ports)) == 4
    assert [variable["name"] for variable in server["env"]] == ["STORAGE_URI"]
    waits, seconds = gateway["lifecycle"]["preStop"]["exec"]["command"]
    assert waits == "sleep"
    assert int(seconds) < int(flags["lame_duck_seconds"]) < 30 - GRACE_SECONDS  # 30 is Kubernetes' grace period
