"""The kustomize overlays: their schemas, their policies, and that their parts fit together."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from jsonschema import ValidationError

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_gateway.flags import parse_arguments as parse_gateway_flags
from bertbundle_serving.config.models import to_model_configs
from bertbundle_serving.flags import parse_arguments as parse_server_flags
from bertbundle_serving.options import GRACE_SECONDS
from bertbundle_serving.protos import _config_pb2 as proto
from manifests import KUBERNETES, Manifest, build, containers, pods, read_manifests, validate
from optional import require_package
from paths import ROOT

OVERLAYS = ("embedded", "tensorflow-serving", "gateway")
COMPONENTS = sorted(path.name for path in (KUBERNETES / "components").iterdir())
FILES = sorted(path for path in KUBERNETES.rglob("*.yaml") if "chart" not in path.parts)
PARSERS = {"embedded": parse_server_flags, "tensorflow-serving": parse_server_flags, "gateway": parse_gateway_flags}
COMPOSE = yaml.safe_load((ROOT / "serving/deploy/compose.yaml").read_text(encoding="utf-8"))["services"]

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def kinds(overlay: str) -> dict[str, Manifest]:
    """Return the objects of an overlay by kind; the headless service as ``Headless``."""
    found = {manifest["kind"]: manifest for manifest in build(KUBERNETES / "overlays" / overlay)}
    services = [one for one in build(KUBERNETES / "overlays" / overlay) if one["kind"] == "Service"]
    by_ip = {one["spec"].get("clusterIP"): one for one in services}
    return {**found, "Headless": by_ip["None"], "Service": by_ip[None]}


def server(overlay: str) -> tuple[Any, Any]:
    """Return the specification of an overlay's pods, and their only container."""
    pod = kinds(overlay)["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def flags(overlay: str) -> dict[str, str]:
    """Return the flags of an overlay's server by name."""
    return dict(flag.removeprefix("--").split("=", 1) for flag in server(overlay)[1]["args"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(KUBERNETES)))
def test_files_match_their_schemas(path: Any) -> None:
    """Every object that is a file is valid for Kubernetes 1.37, or for its custom resource, without unknown fields."""
    for manifest in read_manifests(path.read_text(encoding="utf-8")):
        if manifest.get("kind") not in ("Kustomization", "Component", None):
            validate(manifest)


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("overlays/embedded/deployment.yaml", ("spec", "template", "spec", "containers", 0)),
        ("base/service.yaml", ("spec", "ports", 0)),
        ("components/keda/scaledobject.yaml", ("spec", "triggers", 0)),
        ("components/service-monitor/servicemonitor.yaml", ("spec", "endpoints", 0)),
    ],
)
def test_schemas_refuse_unknown_fields(file: str, place: tuple[str | int, ...]) -> None:
    """A field with a typing error does not pass."""
    (manifest,) = read_manifests((KUBERNETES / file).read_text(encoding="utf-8"))
    part: Any = manifest
    for key in place:
        part = part[key]
    part["unknwon"] = 1
    with pytest.raises(ValidationError, match="unknwon"):
        validate(manifest)


@every_overlay
def test_overlays_match_the_schemas(overlay: str) -> None:
    """What kustomize makes of an overlay is valid for Kubernetes 1.37, and complete."""
    built = build(KUBERNETES / "overlays" / overlay)
    for manifest in built:
        validate(manifest)
    names = {manifest["kind"] for manifest in built}
    assert names - {"ConfigMap"} == {
        *("Deployment", "Service", "ServiceAccount"),
        *("HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget"),
    }


@every_overlay
def test_pods_are_restricted(overlay: str) -> None:
    """Pods have no privileges, token or writable root, but whole cores, limits, probes and a pinned image."""
    built = build(KUBERNETES / "overlays" / overlay)
    for pod in pods(built):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= pod["containers"][0].keys()
        assert len(pod["topologySpreadConstraints"]) == 2
    for container in containers(built):
        check_container(container)


def check_container(container: Manifest) -> None:
    """Check what every container needs."""
    assert re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+", container["image"])
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    resources = container["resources"]
    assert resources["requests"] == resources["limits"]
    assert int(resources["limits"]["cpu"]) >= 1


@every_overlay
def test_flags_are_known(overlay: str) -> None:
    """The flags of each server parse, and its ports are those of the container and the services."""
    parsed = PARSERS[overlay](server(overlay)[1]["args"])
    ports = {"grpc": parsed.port, "rest": parsed.rest_api_port}
    assert {port["name"]: port["containerPort"] for port in server(overlay)[1]["ports"]} == ports
    for service in ("Service", "Headless"):
        declared = kinds(overlay)[service]["spec"]["ports"]
        assert {port["targetPort"]: port["port"] for port in declared} == ports
    if overlay != "tensorflow-serving":
        assert parsed.host == "0.0.0.0"  # noqa: S104


@every_overlay
def test_selectors_find_the_pods(overlay: str) -> None:
    """Services, budget, policy, spread and autoscaler refer to the deployment's pods, and not to another overlay's."""
    objects = kinds(overlay)
    deployment = objects["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        *(objects[kind]["spec"]["selector"] for kind in ("Service", "Headless")),
        *(objects[kind]["spec"]["selector"]["matchLabels"] for kind in ("Deployment", "PodDisruptionBudget")),
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *(one["labelSelector"]["matchLabels"] for one in server(overlay)[0]["topologySpreadConstraints"]),
    ]
    assert all(selector == labels for selector in selectors)
    name = deployment["metadata"]["name"]
    assert objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == name
    assert server(overlay)[0]["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"] == name
    others = [kinds(other)["Deployment"] for other in OVERLAYS if (other == "gateway") != (overlay == "gateway")]
    assert all(other["spec"]["selector"]["matchLabels"] != labels for other in others)


def test_gateway_calls_the_servers() -> None:
    """The gateway's server is the headless service of the other overlays, which its network policy allows."""
    address = parse_gateway_flags(server("gateway")[1]["args"]).server
    for overlay in ("embedded", "tensorflow-serving"):
        headless = kinds(overlay)["Headless"]
        assert address == f"{headless['metadata']['name']}:{headless['spec']['ports'][0]['port']}"
    allowed = [port["port"] for rule in kinds("gateway")["NetworkPolicy"]["spec"]["egress"] for port in rule["ports"]]
    assert int(address.rpartition(":")[2]) in allowed


@every_overlay
def test_termination_has_time(overlay: str) -> None:
    """A pod is killed only after its server was available for the lame duck period and finished its requests."""
    pod, container = server(overlay)
    seconds = int(flags(overlay).get("lame_duck_seconds", 0))
    if overlay != "embedded":  # the embedded server waits itself
        command = container["lifecycle"]["preStop"]["exec"]["command"]
        assert command[0] == "sleep"
        seconds = int(command[1])
        assert seconds > 0
    assert pod["terminationGracePeriodSeconds"] > seconds + GRACE_SECONDS
    assert seconds > container["readinessProbe"]["periodSeconds"]


@every_overlay
def test_probes_name_no_model(overlay: str) -> None:
    """No probe depends on the name of a model."""
    container = server(overlay)[1]
    paths = [container[f"{name}Probe"].get("httpGet", {}).get("path") for name in ("startup", "readiness", "liveness")]
    assert (
        paths
        == {
            "embedded": ["/readyz", "/readyz", "/healthz"],
            "tensorflow-serving": [None, None, None],
            "gateway": ["/healthz", "/readyz", "/healthz"],  # it is not restarted because its servers are away
        }[overlay]
    )
    if overlay == "tensorflow-serving":
        assert container["readinessProbe"]["grpc"]["port"] == int(flags(overlay)["port"])
        assert flags(overlay)["enable_grpc_healthcheck_service"] == "true"


def test_tensorflow_serving_has_the_threads_of_its_cores() -> None:
    """TensorFlow Serving has as many threads as its container has cores; the embedded server reads its quota itself."""
    cores = server("tensorflow-serving")[1]["resources"]["limits"]["cpu"]
    found = flags("tensorflow-serving")
    assert found["tensorflow_intra_op_parallelism"] == found["tensorflow_inter_op_parallelism"] == cores
    assert "tensorflow_intra_op_parallelism" not in flags("embedded")


def test_tensorflow_serving_is_that_of_compose() -> None:
    """TensorFlow Serving has the image, the variables and the flags of compose.yaml."""
    (service,) = COMPOSE.values()
    container = server("tensorflow-serving")[1]
    assert f":-{container['image']}}}" in service["image"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    model_name = {"MODEL_NAME": service["environment"]["MODEL_NAME"]}  # of the image's entry point
    assert environment | model_name == service["environment"]
    assert set(service["command"]) <= set(container["args"])


@pytest.mark.parametrize("overlay", OVERLAYS[:2])
def test_configuration_files(overlay: str) -> None:
    """The flags name files of the ConfigMap, which is mounted as a directory; all parse, and the models are mounted."""
    data = kinds(overlay)["ConfigMap"]["data"]
    named = {value.removeprefix("/config/") for value in flags(overlay).values() if value.startswith("/config/")}
    assert named == data.keys()
    mounts = {mount["mountPath"]: mount for mount in server(overlay)[1]["volumeMounts"]}
    assert "subPath" not in mounts["/config"]
    assert int(flags(overlay)["model_config_file_poll_wait_seconds"]) > 0
    official = require_package("tensorflow_serving.config.model_server_config_pb2")
    text_format.Parse(data["models.config"], official.ModelServerConfig())
    (model,) = to_model_configs(text_format.Parse(data["models.config"], wire.ModelServerConfig()))
    assert str(model.base_path).startswith("/models/")
    assert mounts["/models"]["readOnly"] is True
    monitoring = text_format.Parse(data["monitoring.config"], proto.MonitoringConfig())
    assert monitoring.prometheus_config.enable
    if "batching.config" in data:
        assert text_format.Parse(data["batching.config"], proto.BatchingParameters()).max_batch_size.value


def test_queue_metric_is_exported() -> None:
    """KEDA queries a metric that the embedded server exports, and has a result while there is none."""
    (manifest,) = read_manifests((KUBERNETES / "components/keda/scaledobject.yaml").read_text(encoding="utf-8"))
    (trigger,) = manifest["spec"]["triggers"]
    from bertbundle_serving.dataplane.metrics import Metrics

    (metric,) = re.findall(r"sum\((\w+)\{", trigger["metadata"]["query"])
    assert f"# TYPE {metric} gauge" in Metrics().exposition().decode()
    assert trigger["metadata"]["query"].endswith(" or vector(0)")


def test_monitor_scrapes_the_metrics() -> None:
    """The ServiceMonitor selects the headless service alone, and its path is that of monitoring.config."""
    (manifest,) = read_manifests((KUBERNETES / "components/service-monitor/servicemonitor.yaml").read_text())
    selector = manifest["spec"]["selector"]["matchLabels"].items()
    assert selector <= kinds("embedded")["Headless"]["metadata"]["labels"].items()
    assert not selector <= kinds("gateway")["Headless"]["metadata"]["labels"].items()  # it is another release
    assert not selector <= kinds("embedded")["Service"]["metadata"]["labels"].items()
    config = text_format.Parse((ROOT / "serving/deploy/monitoring.config").read_text(), proto.MonitoringConfig())
    assert manifest["spec"]["endpoints"][0]["path"] == config.prometheus_config.path
