"""Write the kustomize base, overlays and components from the Helm chart: `make manifests` runs it.

An object that is the same for all servers is in the base, others are in the overlay of their server. A component is
what changes if a value of the chart is set.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import helm_python
import yaml

__all__ = ["COMPONENTS", "GATEWAY_NAME", "NAME", "OVERLAYS", "main", "read_chart", "render_files"]

HERE = Path(__file__).resolve().parent
NAME = "bertbundle"
GATEWAY_NAME = f"gateway-{NAME}"

OVERLAYS = ("embedded", "tensorflow-serving", "gateway")
"""The servers, each with an overlay."""

COMPONENTS: Mapping[str, Mapping[str, Any]] = {
    "download": {"bundles": {"from": "uri"}, "models": [{"name": "bert", "uri": "s3://my-bucket/bert"}]},
    "image-volume": {
        "bundles": {"from": "image"},
        "models": [{"name": "bert", "image": "registry.example.com/bert-bundle:1"}],
    },
    "keda": {"autoscaling": {"by": "keda"}},
    "keda-tensorflow-serving": {"server": "tensorflow-serving", "autoscaling": {"by": "keda"}},
    "service-monitor": {"serviceMonitor": True},
}
"""The values of the chart that each component sets."""

Object: TypeAlias = "dict[str, Any]"

_HEADER = "# Written by render.py from the chart beside it: change chart/, then run `make manifests`.\n"
_GATEWAY = {
    "namePrefix": f"{GATEWAY_NAME.removesuffix(NAME)}",
    "labels": [{"pairs": {"app.kubernetes.io/instance": GATEWAY_NAME}, "includeSelectors": True}],
}
_KEDA_NAMES = {"nameReference": [{"kind": "Deployment", "fieldSpecs": [{"path": "spec/scaleTargetRef/name"}]}]}


def read_chart(values: Mapping[str, Any], name: str = NAME, namespace: str = "default") -> list[str]:
    """Return the chart's objects for some values, each as YAML, as `helm template` prints them.

    Raises:
        helm_python.HelmError: the values do not match the schema.
    """
    with helm_python.Chart.load(str(HERE / "chart")) as chart:
        rendered = chart.render(dict(values), name=name, namespace=namespace)
    parts = [part.strip() for path in sorted(rendered) for part in re.split(r"^---$", rendered[path], flags=re.M)]
    return [f"{part}\n" for part in parts if part]


def render_files() -> dict[str, str]:
    """Return the text of every file, by its path below this folder."""
    objects = {server: {_file_name(text): text for text in read_chart({"server": server})} for server in OVERLAYS}
    first, *others = objects.values()
    shared = {name: text for name, text in first.items() if all(other.get(name) == text for other in others)}
    files = _kustomization("base", shared, {})
    for server in OVERLAYS:
        own = {name: text for name, text in objects[server].items() if name not in shared}
        files |= _kustomization(f"overlays/{server}", own, _GATEWAY if server == "gateway" else {}, ["../../base"])
    for name, values in COMPONENTS.items():
        files |= _component(name, values)
    return files


def _kustomization(
    folder: str, objects: Mapping[str, str], settings: Mapping[str, Any], more: list[str] | None = None
) -> dict[str, str]:
    kind = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    kustomization = {**kind, "resources": [*(more or []), *sorted(objects)], **settings}
    files = {f"{folder}/{name}": _HEADER + text for name, text in objects.items()}
    return {**files, f"{folder}/kustomization.yaml": _HEADER + _dump(kustomization)}


def _component(name: str, values: Mapping[str, Any]) -> dict[str, str]:
    server = {"server": values.get("server", "embedded")}
    before, after = (_by_file(read_chart({**server, **chosen})) for chosen in ({}, values))
    added = {file: text for file, text in after.items() if file not in before}
    patches = [patch for file, text in before.items() if (patch := _patch(yaml.safe_load(text), after.get(file)))]
    component = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}
    settings: dict[str, Any] = {"resources": sorted(added), "patches": patches}
    files = {f"components/{name}/{file}": _HEADER + text for file, text in added.items()}
    if "scaledobject.yaml" in added:
        settings["configurations"] = ["names.yaml"]
        files[f"components/{name}/names.yaml"] = _HEADER + _dump(_KEDA_NAMES)
    used = {key: value for key, value in settings.items() if value}
    return {**files, f"components/{name}/kustomization.yaml": _HEADER + _dump({**component, **used})}


def _by_file(texts: list[str]) -> dict[str, str]:
    return {_file_name(text): text for text in texts}


def _file_name(text: str) -> str:
    found = yaml.safe_load(text)
    suffix = found["metadata"]["name"].removeprefix(NAME)
    return f"{found['kind'].lower()}{suffix}.yaml"


def _patch(before: Object, text: str | None) -> Object | None:
    """Return the entry of `patches` that changes an object; None if there is no change. Text None removes it."""
    target = {"kind": before["kind"], "name": before["metadata"]["name"]}
    if text is None:
        removal = {"$patch": "delete", "apiVersion": before["apiVersion"], "kind": before["kind"]}
        return {"patch": _dump({**removal, "metadata": {"name": target["name"]}})}
    operations = list(_operations(before, yaml.safe_load(text), ""))
    return {"target": target, "patch": _dump(operations)} if operations else None


def _operations(before: Any, after: Any, path: str) -> Iterator[Object]:
    """Yield the operations of a JSON patch (RFC 6902)."""
    if before == after:
        return
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        before, after = (dict(enumerate(values)) for values in (before, after))
    if not (isinstance(before, dict) and isinstance(after, dict)):
        yield {"op": "replace", "path": path, "value": after}
        return
    for key in [*before, *(key for key in after if key not in before)]:
        place = f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}"
        if key not in after:
            yield {"op": "remove", "path": place}
        elif key not in before:
            yield {"op": "add", "path": place, "value": after[key]}
        else:
            yield from _operations(before[key], after[key], place)


def _block(dumper: Any, text: str) -> Any:
    """Represent a text of several lines as a block."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper: Any = type("_Dumper", (yaml.SafeDumper,), {})
_Dumper.add_representer(str, _block)


def _dump(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=1000))


def main() -> int:
    """Replace the files."""
    files = render_files()
    for folder in ("base", "overlays", "components"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
    for name, text in files.items():
        path = HERE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sys.stderr.write(f"wrote {len(files)} files\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
