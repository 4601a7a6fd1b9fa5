"""JSON schemas of Kubernetes, and of KServe's resources.

KServe's are made from its Python package, whose classes are generated from its API. The package requires other versions
of this project's dependencies, so its wheel is read, not imported: a module has a class, with the type and the name of
each field, and an error for each required one.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from optional import require_package, skip_without
from paths import ROOT

__all__ = ["kserve_schema", "kubernetes_schema"]

_WHEELS = ROOT / "build/manifests"
_SIMPLE = {"str": "string", "bool": "boolean", "int": "integer", "float": "number", "object": None}
_STRICT = "kubernetes-json-schema/v1.37.0-local-strict"
_OF_KUBERNETES = "https://kubernetes.io/api/_definitions.json#/$defs/"


@functools.cache
def kserve_schema(kind: str) -> Any:
    """Return the schema of a kind, with all definitions. Skips the test without the packages."""
    require_package("kubernetes_validate")
    classes = _read_classes()
    (root,) = (name for name in classes if re.fullmatch(rf"V1(alpha|beta)\d{kind}", name))
    definitions: dict[str, Any] = {}
    _define(root, classes, definitions)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": f"#/$defs/{root}", "$defs": definitions}


@functools.cache
def _read_classes() -> dict[str, str]:
    """Return the source of each class, by the name of the class."""
    wheel: Path | None = max(_WHEELS.glob("kserve-*.whl"), default=None)
    if wheel is None:
        skip_without("KServe's package")
    with zipfile.ZipFile(wheel) as archive:
        paths = [path for path in archive.namelist() if re.fullmatch(r"kserve/models/\w+\.py", path)]
        sources = [archive.read(path).decode() for path in paths]
    found = ((re.search(r"^class (\w+)\(", source, flags=re.MULTILINE), source) for source in sources)
    return {match[1]: source for match, source in found if match}


def _define(name: str, classes: dict[str, str], definitions: dict[str, Any]) -> None:
    if name in definitions:
        return
    source = classes[name]
    types, names = (_class_value(source, attribute) for attribute in ("openapi_types", "attribute_map"))
    properties: dict[str, Any] = {}
    definitions[name] = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": [names[field] for field in re.findall(r"Invalid value for `(\w+)`, must not be", source)],
    }
    for field, type_name in types.items():
        properties[names[field]] = _schema_of(type_name, classes, definitions)


def _class_value(source: str, attribute: str) -> dict[str, str]:
    match = re.search(rf"^    {attribute} = (\{{.*?^    \}})", source, flags=re.MULTILINE | re.DOTALL)
    assert match is not None
    value: dict[str, str] = ast.literal_eval(match[1])
    return value


def _schema_of(type_name: str, classes: dict[str, str], definitions: dict[str, Any]) -> Any:
    if match := re.fullmatch(r"list\[(.+)\]", type_name):
        return {"type": "array", "items": _schema_of(match[1], classes, definitions)}
    if match := re.fullmatch(r"dict\(str, (.+)\)", type_name):
        return {"type": "object", "additionalProperties": _schema_of(match[1], classes, definitions)}
    if type_name in _SIMPLE:
        return {"type": _SIMPLE[type_name]} if _SIMPLE[type_name] else {}
    if type_name in classes:
        _define(type_name, classes, definitions)
        return {"$ref": f"#/$defs/{type_name}"}
    return _kubernetes_schema(type_name)


def _kubernetes_schema(type_name: str) -> Any:
    match = re.fullmatch(r"V(\d+)(\w+)", type_name)
    name = match and f"io.k8s.api.core.v{match[1]}.{match[2]}"
    return {"$ref": f"{_OF_KUBERNETES}{name}"} if name in kubernetes_schema("_definitions")["$defs"] else {}


@functools.cache
def kubernetes_schema(name: str) -> Any:
    """Return a schema of Kubernetes 1.37, such as ``deployment-apps-v1``; unknown fields are errors in it."""
    text = (files("kubernetes_validate") / f"{_STRICT}/{name}.json").read_text(encoding="utf-8")
    return json.loads(text)
