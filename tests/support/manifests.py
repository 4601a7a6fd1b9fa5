"""The manifests of serving/deploy, and the schemas that they are validated against."""

from __future__ import annotations

import functools
import importlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from referencing import Registry, Resource

from kserve_schemas import kserve_schema, kubernetes_schema
from optional import require_package, skip_without
from paths import ROOT

__all__ = ["KSERVE", "KUBERNETES", "Manifest", "build", "containers", "pods", "read_manifests", "validate"]

KUBERNETES = ROOT / "serving/deploy/kubernetes"
KSERVE = ROOT / "serving/deploy/kserve"

_CUSTOM = {
    "ScaledObject": "cloudcoil.models.keda.v1alpha1",
    "ServiceMonitor": "cloudcoil.models.prometheus_operator.v1",
}
"""The module with the model of each custom resource, generated from its definition."""

Manifest = dict[str, Any]


def read_manifests(text: str) -> list[Manifest]:
    """Return the objects in a text of YAML documents."""
    return [found for found in yaml.safe_load_all(text) if found is not None]


@functools.cache
def _built(folder: Path) -> str:
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(folder: Path) -> list[Manifest]:
    """Return what `kubectl kustomize` makes of a folder. Skips the test without kubectl."""
    if shutil.which("kubectl") is None:
        skip_without("kubectl")
    return read_manifests(_built(folder))


def validate(manifest: Manifest) -> None:
    """Validate an object with the schema of its kind, in which unknown fields are errors.

    Raises:
        jsonschema.ValidationError: it is not valid.
    """
    kind = manifest["kind"]
    if manifest["apiVersion"].startswith("serving.kserve.io/"):
        _validator_of_kserve(kind).validate(manifest)
    elif kind in _CUSTOM:
        require_package("cloudcoil")
        _validator_of_others(kind).validate(manifest)
    else:
        require_package("kubernetes_validate")
        _validator_of_kubernetes(kind, manifest["apiVersion"]).validate(manifest)


@functools.cache
def _validator_of_others(kind: str) -> Any:
    schema = getattr(importlib.import_module(_CUSTOM[kind]), kind).model_json_schema(by_alias=True)
    for part in (schema, *schema["$defs"].values()):
        if "properties" in part:
            part.setdefault("additionalProperties", False)
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(schema)


@functools.cache
def _validator_of_kserve(kind: str) -> Any:
    return jsonschema.Draft202012Validator(kserve_schema(kind), registry=_registry())


@functools.cache
def _validator_of_kubernetes(kind: str, version: str) -> Any:
    group, _, number = version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], number) if part)
    return jsonschema.Draft202012Validator(kubernetes_schema(name), registry=_registry())


@functools.cache
def _registry() -> Any:
    contents = kubernetes_schema("_definitions")
    return Resource.from_contents(contents) @ Registry()


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    """Yield the specifications of pods in Deployments, and in KServe's runtimes and predictors."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "Deployment":
            yield spec["template"]["spec"]
        elif manifest["kind"] == "ClusterServingRuntime":
            yield spec
        elif "containers" in spec.get("predictor", {}):
            yield spec["predictor"]


def containers(manifests: list[Manifest]) -> list[Manifest]:
    """Return all containers, those that run first included."""
    return [found for pod in pods(manifests) for found in (*pod.get("initContainers", ()), *pod["containers"])]
