"""The settings of a client are checked when it is created."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertbundle import Client, InputError, foreign_manifest
from bertbundle.wire import _wire_pb2 as wire
from fakes import WORDS, FakeServer, FakeTransport, connect, predict_method


def test_no_request_when_created() -> None:
    """Creating a client makes no call."""
    transport = FakeTransport()
    connect(transport)
    assert transport.calls == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(
            {"retries": 3}, r"retries must be a Retries object, for example .* no retries, got int: 3", id="retries"
        ),
        pytest.param({"tls": True}, r"tls must be a Tls object \(Tls\(\) for .*\), got bool: True", id="tls"),
        pytest.param({"timeout": None}, "timeout must be a number of seconds, got NoneType", id="timeout"),
        pytest.param({"hedge_after": "1"}, "hedge_after must be a number of seconds, got str: '1'", id="hedge_after"),
        pytest.param({"concurrency": 1.5}, "concurrency must be a whole number, got float", id="concurrency"),
        pytest.param(
            {"metadata": [("a", "b")]}, "metadata must be a mapping of names to values, got list", id="metadata"
        ),
        pytest.param({"metadata": {"a": 5}}, "metadata 'a' must be a str, got int: 5", id="metadata_value"),
        pytest.param({"token": b"x"}, "token must be a str, or a function that returns one, got bytes", id="token"),
        pytest.param(
            {"server": ["a:1", "b:1"]},
            r"server must be a str \(several addresses are separated by commas\)",
            id="server",
        ),
        pytest.param({"model": None}, "model must be the model's name, got NoneType", id="model"),
    ],
)
def test_settings_of_wrong_type(settings: dict[str, Any], message: str) -> None:
    """A setting of the wrong type raises a TypeError that says what to pass."""
    with pytest.raises(TypeError, match=message):
        Client(**{"server": "localhost:1", "model": "tiny", **settings})


@pytest.mark.parametrize("name", ["timeout", "call_timeout", "hedge_after"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_seconds_must_be_positive(name: str, value: float) -> None:
    """A number of seconds that is not positive and finite raises ValueError."""
    settings: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name} must be a positive number of seconds"):
        Client("localhost:1", "tiny", **settings)


@pytest.mark.parametrize("name", ["concurrency", "rows_per_call"])
def test_limits_must_be_positive(name: str) -> None:
    """A limit of less than 1 raises ValueError."""
    settings: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match="must be at least 1"):
        Client("localhost:1", "tiny", **settings)


def test_manifest_and_tokenizer_go_together(tokenizer_file: Path, tmp_path: Path) -> None:
    """A tokenizer without a manifest raises ValueError, and a tokenizer that does not exist InputError."""
    with pytest.raises(ValueError, match="manifest and tokenizer go together"):
        Client("localhost:1", "foreign", tokenizer=tokenizer_file)
    manifest = foreign_manifest("feature-extraction", max_length=12)
    with pytest.raises(InputError, match="cannot be read"):
        Client("localhost:1", "foreign", manifest=manifest, tokenizer=tmp_path / "none.json")


def test_vocabulary_instead_of_tokenizer(tmp_path: Path) -> None:
    """A vocab.txt, or its directory, in place of a tokenizer.json raises an error that says how to convert it."""
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    manifest = foreign_manifest("text-classification", max_length=12, labels=["a", "b"])
    for path in (tmp_path / "vocab.txt", tmp_path):
        with pytest.raises(InputError, match=r"BertWordPieceTokenizer\('vocab.txt'\)\.save\('tokenizer.json'\)"):
            Client("localhost:1", "foreign", manifest=manifest, tokenizer=path)


@pytest.mark.parametrize(
    ("version", "expected"),
    [(None, (None, 0, "")), (3, ("version", 3, "")), ("stable", ("version_label", 0, "stable"))],
)
def test_version(
    start_server: Callable[..., FakeServer], version: int | str | None, expected: tuple[str | None, int, str]
) -> None:
    """Every call, that for the manifest included, is for the version or the label that was chosen."""
    specs: list[wire.ModelSpec] = []

    def predict(data: bytes, context: Any) -> bytes:
        specs.append(wire.PredictRequest.FromString(data).model_spec)
        return predict_method()(data, context)

    with Client(start_server(predict).address, "tiny", version=version) as client:
        assert client.entities("wang")[0].label == "PER"
    assert len(specs) == 2
    for spec in specs:
        assert (spec.WhichOneof("version_choice"), spec.version.value, spec.version_label) == expected
