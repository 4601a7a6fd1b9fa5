"""Reading and writing bundle.json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertbundle import Manifest, ManifestError
from bertbundle.contract.manifest import MANIFEST_FILE, SCHEMA_VERSION, FileInfo, ParityRow
from bertbundle.contract.word_segmenter import WordSegmenter
from fakes import make_manifest


@pytest.fixture
def manifest() -> Manifest:
    """A manifest with a value for every field."""
    return make_manifest(
        label_decoding="viterbi",
        word_labels="first",
        multi_label=True,
        pooling="mean",
        normalized=True,
        parity=(ParityRow("onnx", "length_4", "logits", 8, 1.5e-6, 1e-7, 1.0, 1e-5, 1e-4),),
        files={"model.onnx": FileInfo(12, "ab" * 32)},
        generator={"bertbundle": "0.1.0"},
        created="2026-01-02T03:04:05Z",
        notes=("labels of 中文 text",),
    )


@pytest.fixture
def data(manifest: Manifest) -> dict[str, Any]:
    """The manifest as parsed JSON."""
    parsed: dict[str, Any] = json.loads(manifest.to_json())
    return parsed


def test_round_trip(manifest: Manifest) -> None:
    """A manifest that is serialized and parsed again is equal, from str and from bytes."""
    text = manifest.to_json()
    assert Manifest.from_json(text) == manifest
    assert Manifest.from_json(text.encode()) == manifest
    assert Manifest.from_json(text).to_json() == text


def test_json_is_readable(manifest: Manifest) -> None:
    """The JSON is readable: unescaped text, one line per value, a newline at the end."""
    text = manifest.to_json()
    assert "中文" in text
    assert '\n "max_length": 12,\n' in text
    assert text.endswith("}\n")


def test_read(manifest: Manifest, tmp_path: Path) -> None:
    """The manifest of a bundle directory is read from its bundle.json."""
    (tmp_path / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    assert Manifest.read(tmp_path) == manifest


@pytest.mark.parametrize("kind", [pytest.param("missing", id="missing"), pytest.param("directory", id="directory")])
def test_no_file(kind: str, tmp_path: Path) -> None:
    """The error for a missing bundle.json has the file name, the directory and the reason."""
    if kind == "directory":
        (tmp_path / MANIFEST_FILE).mkdir()
    with pytest.raises(ManifestError) as caught:
        Manifest.read(tmp_path)
    reason = {"missing": "No such file or directory", "directory": "Is a directory"}[kind]
    assert str(caught.value) == f"no bundle.json in {tmp_path}: {reason}."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "bundle.json is not JSON: .*Export the bundle again", id="empty"),
        pytest.param("{", "bundle.json is not JSON: .*Export the bundle again", id="truncated"),
        pytest.param("[" * 100_000, "bundle.json is not JSON: .*Export the bundle again", id="deep"),
        pytest.param(b"\xff\xfe{", "bundle.json is not JSON: .*Export the bundle again", id="not-utf8"),
        pytest.param("[]", "bundle.json contains list, expected an object", id="list"),
        pytest.param("null", "bundle.json contains NoneType, expected an object", id="null"),
        pytest.param("{}", "bundle.json has no name, task, max_length, signatures, inputs, outputs", id="no-fields"),
    ],
)
def test_not_a_manifest(text: str | bytes, message: str) -> None:
    """The error for JSON that is not a manifest says what was found instead."""
    with pytest.raises(ManifestError, match=message):
        Manifest.from_json(text)


@pytest.mark.parametrize("name", ["name", "task", "max_length", "signatures", "inputs", "outputs", "source"])
def test_missing_field(data: dict[str, Any], name: str) -> None:
    """The error for a missing required field has its name."""
    del data[name]
    with pytest.raises(ManifestError, match=f"bundle.json is malformed: bundle.json has no {name}"):
        Manifest.from_json(json.dumps(data))


def test_optional_fields_have_defaults(data: dict[str, Any]) -> None:
    """A field with a default may be left out."""
    del data["notes"], data["parity"], data["labels"], data["schema_version"]
    manifest = Manifest.from_json(json.dumps(data))
    assert (manifest.notes, manifest.parity, manifest.labels, manifest.schema_version) == ((), (), (), 1)


def _set(data: Any, path: list[Any], value: Any) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        pytest.param(["max_length"], "12", "max_length is str '12', expected int", id="int"),
        pytest.param(["max_length"], True, "max_length is bool 'True', expected int", id="bool-for-int"),
        pytest.param(["max_length"], 12.0, "max_length is float '12.0', expected int", id="float-for-int"),
        pytest.param(["multi_label"], 1, "multi_label is int '1', expected bool", id="bool"),
        pytest.param(["name"], None, "name is NoneType 'None', expected str", id="null"),
        pytest.param(["labels"], "OBI", "labels is str 'OBI', expected a list", id="list"),
        pytest.param(["labels", 1], 3, r"labels\[1\] is int '3', expected str", id="list-item"),
        pytest.param(["signatures"], [], r"signatures is list '\[\]', expected an object", id="mapping"),
        pytest.param(["signatures", "length_4"], "4", "signatures.length_4 is str '4'", id="mapping-value"),
        pytest.param(["source"], "hub", "source is str 'hub', expected an object", id="object"),
        pytest.param(["inputs", 2, "size"], None, r"inputs\[2\].size is NoneType", id="nested"),
        pytest.param(["outputs", 0, "shape", 0], 3, r"outputs\[0\].shape\[0\] is int '3', expected str", id="deep"),
        pytest.param(["files", "model.onnx", "size"], "1", r"files.model.onnx.size is str '1'", id="files"),
        pytest.param(["schema_version"], "2", "schema_version is str '2', expected int", id="version"),
        pytest.param(["name"], ["x" * 999], "name is list .{1,70}, expected str", id="long-value-is-truncated"),
    ],
)
def test_wrong_type(data: dict[str, Any], path: list[Any], value: Any, message: str) -> None:
    """The error for a value of the wrong type has its path, the value, and the expected type."""
    _set(data, path, value)
    with pytest.raises(ManifestError, match=rf"bundle.json is malformed: bundle.json.{message}"):
        Manifest.from_json(json.dumps(data))


def test_missing_nested_field(data: dict[str, Any]) -> None:
    """The error for a missing nested field has its path."""
    del data["inputs"][1]["pad_value"]
    with pytest.raises(ManifestError, match=r"bundle.json.inputs\[1\] has no pad_value"):
        Manifest.from_json(json.dumps(data))


def test_integer_for_a_float(data: dict[str, Any]) -> None:
    """An integer is accepted for a float, since other JSON writers write 1.0 as 1."""
    data["parity"][0]["agreement"] = 1
    assert type(Manifest.from_json(json.dumps(data)).parity[0].agreement) is float


def test_word_segmenter(data: dict[str, Any], manifest: Manifest) -> None:
    """A word segmenter is read again with all its fields; null and none at all stand for none."""
    segmenter = WordSegmenter("sudachi", "sudachidict_core", "1", "C", "reading", False, True, True, ("a",), True)
    changed = replace(manifest, word_segmenter=segmenter, schema_version=2)
    assert Manifest.from_json(changed.to_json()) == changed
    assert Manifest.from_json(json.dumps(data | {"word_segmenter": None})).word_segmenter is None
    data.pop("word_segmenter")
    assert Manifest.from_json(json.dumps(data)).word_segmenter is None
    with pytest.raises(ManifestError, match=r"bundle.json.word_segmenter.analyzer is int '3', expected str"):
        Manifest.from_json(json.dumps(data | {"word_segmenter": {"analyzer": 3}}))


def test_newer_schema(data: dict[str, Any]) -> None:
    """A newer schema version is refused before the fields are checked, with the next step."""
    newer = {"schema_version": SCHEMA_VERSION + 1, "model": data}
    message = f"has schema version {SCHEMA_VERSION + 1}, this bertbundle reads up to {SCHEMA_VERSION}. Upgrade"
    with pytest.raises(ManifestError, match=message):
        Manifest.from_json(json.dumps(newer))


def test_unknown_fields_are_ignored(data: dict[str, Any], manifest: Manifest) -> None:
    """Unknown fields are ignored at any depth."""
    data["colour"] = "blue"
    data["source"]["licence"] = {"name": "Apache-2.0"}
    data["inputs"][0]["unit"] = None
    assert Manifest.from_json(json.dumps(data)) == manifest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"max_length": 13}, "serving_default must have max_length 13", id="other-max-length"),
        pytest.param({"signatures": {"length_4": 4}}, "serving_default must have max_length 12", id="no-default"),
        pytest.param({"signatures": {"serving_default": 12, "length_0": 0}}, "must be positive", id="zero"),
        pytest.param({"inputs": ()}, "a bundle needs inputs and outputs", id="no-inputs"),
        pytest.param({"outputs": ()}, "a bundle needs inputs and outputs", id="no-outputs"),
    ],
)
def test_invariants(manifest: Manifest, changes: dict[str, Any], message: str) -> None:
    """An inconsistent manifest raises a ValueError when created and a ManifestError when parsed."""
    with pytest.raises(ValueError, match=message):
        replace(manifest, **changes)
    data = json.loads(manifest.to_json()) | {key: json.loads(json.dumps(value)) for key, value in changes.items()}
    with pytest.raises(ManifestError, match=f"bundle.json is malformed: .*{message}"):
        Manifest.from_json(json.dumps(data))
