"""The Helm chart: the kustomize files are written from it, and its schema refuses wrong values."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import bertbundle
from bertbundle_gateway.rest_api.metrics_route import METRICS_PATH
from manifests import KUBERNETES, Manifest, build, containers, pods, read_manifests, validate
from optional import require_package

CHART = KUBERNETES / "chart"
MODELS_IN_A_STORE = [{"name": name, "uri": f"s3://bucket/{name}"} for name in ("ner", "topics")]
OVERLAYS = ("embedded", "tensorflow-serving", "gateway")


@pytest.fixture(scope="module")
def render() -> ModuleType:
    """The script that writes the kustomize files; skips without Helm."""
    require_package("helm_python")
    import render

    return render


def objects(render: ModuleType, values: dict[str, Any], name: str = "bertbundle") -> list[Manifest]:
    """Return the chart's objects for some values."""
    return [manifest for text in render.read_chart(values, name) for manifest in read_manifests(text)]


def named_ports(container: dict[str, Any]) -> dict[str, int]:
    """Return the ports of a container by their names."""
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    """Return objects by kind and name."""
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}


def test_versions() -> None:
    """The chart has the version of the Python packages."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (bertbundle.__version__, bertbundle.__version__)


def test_files_are_written_from_the_chart(render: ModuleType) -> None:
    """The kustomize files are what `make manifests` writes."""
    folders = ("base", "overlays", "components")
    paths = [path for folder in folders for path in (KUBERNETES / folder).rglob("*") if path.is_file()]
    assert {str(path.relative_to(KUBERNETES)): path.read_text(encoding="utf-8") for path in paths} == (
        render.render_files()
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_are_the_chart(render: ModuleType, overlay: str) -> None:
    """An overlay is, built by kustomize, what Helm makes of the chart."""
    name = render.GATEWAY_NAME if overlay == "gateway" else render.NAME
    expected = by_name(objects(render, {"server": overlay}, name))
    assert by_name(build(KUBERNETES / "overlays" / overlay)) == expected


@pytest.mark.parametrize("component", sorted(path.name for path in (KUBERNETES / "components").iterdir()))
def test_components_are_values(render: ModuleType, component: str, tmp_path: Path) -> None:
    """An overlay with a component is, built by kustomize, what Helm makes of the chart with the component's values."""
    values = dict(render.COMPONENTS[component])
    overlay = values.get("server", "embedded")
    kustomization = {
        "resources": [os.path.relpath(KUBERNETES / "overlays" / overlay, tmp_path.resolve())],
        "components": [os.path.relpath(KUBERNETES / "components" / component, tmp_path.resolve())],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization), encoding="utf-8")
    built = build(tmp_path.resolve())
    expected = by_name(objects(render, values))
    assert by_name(built) == expected


@pytest.mark.parametrize(
    "values",
    [
        *({"server": server} for server in OVERLAYS),
        {"bundles": {"from": "uri"}, "models": MODELS_IN_A_STORE, "fetcher": {"secret": "store"}},
        {"bundles": {"from": "image"}, "models": [{"name": "ner", "image": "registry.example.com/ner@sha256:0"}]},
        {"autoscaling": {"by": "keda"}, "serviceMonitor": True},
        {"server": "gateway", "serviceMonitor": True},
        {"imagePullSecrets": ["registry"], "extraArgs": ["--text_api"], "serviceAccount": {"annotations": {"a": "b"}}},
    ],
    ids=str,
)
def test_objects_match_the_schemas(render: ModuleType, values: dict[str, Any]) -> None:
    """What the chart renders is valid for Kubernetes 1.37 and restricted, whatever the values."""
    rendered = objects(render, values)
    for manifest in rendered:
        validate(manifest)
    for pod in pods(rendered):
        assert pod["securityContext"]["runAsUser"] > 0
    for container in containers(rendered):
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_models_are_downloaded_once_each(render: ModuleType) -> None:
    """Each model has an init container that puts it where models.config says."""
    values = {"bundles": {"from": "uri"}, "models": MODELS_IN_A_STORE}
    rendered = by_name(objects(render, values))
    pod = rendered["Deployment", "bertbundle"]["spec"]["template"]["spec"]
    fetched = {container["args"][1]: container["args"][0] for container in pod["initContainers"]}
    assert fetched == {f"/models/{model['name']}": model["uri"] for model in MODELS_IN_A_STORE}
    config = rendered["ConfigMap", "bertbundle"]["data"]["models.config"]
    assert set(re.findall(r'base_path: "(\S+)"', config)) == fetched.keys()


def test_gateway_may_call_all_its_servers(render: ModuleType) -> None:
    """The network policy of a gateway has the port of each of its servers."""
    values = {"server": "gateway", "upstream": "a-headless:8500,b-headless:9000,c-headless:8500"}
    policy = by_name(objects(render, values))["NetworkPolicy", "bertbundle"]
    assert policy["spec"]["egress"][1]["ports"] == [{"port": 8500}, {"port": 9000}]


def test_gateway_is_monitored(render: ModuleType) -> None:
    """The ServiceMonitor of a gateway selects its headless service alone, and has the path and port of its metrics."""
    rendered = by_name(objects(render, {"server": "gateway", "serviceMonitor": True}, "front"))
    (endpoint,) = rendered["ServiceMonitor", "front"]["spec"]["endpoints"]
    assert endpoint["path"] == METRICS_PATH
    selector = rendered["ServiceMonitor", "front"]["spec"]["selector"]["matchLabels"].items()
    service = rendered["Service", "front-headless"]
    assert selector <= service["metadata"]["labels"].items()
    assert not selector <= rendered["Service", "front"]["metadata"]["labels"].items()
    target = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}[endpoint["port"]]
    (container,) = containers([rendered["Deployment", "front"]])
    assert f"--rest_api_port={named_ports(container)[target]}" in container["args"]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"cores": 1.5}, "cores"),
        ({"cores": 0}, "cores"),
        ({"memory": "4000"}, "memory"),
        ({"replica": 3}, "replica"),
        ({"server": "triton"}, "server"),
        ({"models": []}, "models"),
        ({"models": [{"name": "Ner"}]}, "name"),
        ({"models": [{"name": "ner", "uri": "s3://bucket/ner"}]}, "uri"),
        ({"bundles": {"from": "uri"}, "models": [{"name": "ner"}]}, "uri"),
        ({"bundles": {"from": "uri"}, "models": [{"name": "ner", "uri": "ftp://host/ner"}]}, "uri"),
        ({"bundles": {"from": "image"}, "models": [{"name": "ner", "image": "ner:latest"}]}, "image"),
        ({"bundles": {"from": "image"}, "models": [{"name": "ner", "image": "ner"}]}, "image"),
        ({"images": {"embedded": {"repository": "server", "tag": "latest"}}}, "tag"),
        ({"ports": {"grpc": 80, "rest": 8501}}, "ports"),
        ({"server": "gateway", "autoscaling": {"by": "keda"}}, "autoscaling"),
        ({"extraArgs": ["log_requests"]}, "extraArgs"),
    ],
    ids=str,
)
def test_wrong_values_are_refused(render: ModuleType, values: dict[str, Any], named: str) -> None:
    """The schema refuses values that would not work, and names them."""
    with pytest.raises(require_package("helm_python").HelmError, match=named):
        render.read_chart(values)
