"""Manifest and tokenizer are loaded on first use."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bertbundle import AsyncClient, ManifestError, Prediction, SignatureNotFound
from bertbundle.contract.manifest import BUNDLE_INFO
from bertbundle.decoding.loaded_model import LoadedModel, load_bundle_info
from bertbundle.session import session
from bertbundle.session.batches import CallSettings
from bertbundle.session.session import Session
from fakes import LABELS, FakeAsyncTransport, FakeTransport, Model, connect, make_manifest


def test_bundle_info_is_requested_once() -> None:
    """Manifest and tokenizer are requested on first use, as one row, and then reused."""
    transport = FakeTransport()
    client = connect(transport)
    client.entities("wang")
    client.entities("wang")
    assert client.manifest().name == "tiny"
    assert transport.signatures == [BUNDLE_INFO, "length_4", "length_4"]
    info = transport.calls[0]
    assert info.inputs["row"].dtype == np.int32
    assert info.inputs["row"].tolist() == [0]
    assert info.outputs == ("manifest", "tokenizer")


def test_bundle_info_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that all need the manifest and the tokenizer parse them once; other contents are parsed, of any version."""
    parsed = []

    def load(prediction: Prediction) -> LoadedModel:
        parsed.append(prediction.version)
        return load_bundle_info(prediction)

    monkeypatch.setattr(session, "load_bundle_info", load)
    transport = FakeAsyncTransport()

    async def ask() -> list[Any]:
        client = AsyncClient("", "tiny", transport=transport, concurrency=99)
        first = await asyncio.gather(*[client.entities("wang") for _ in range(20)])
        new = replace(make_manifest(), labels=("O", "B-NEW", "I-NEW", "B-LOC", "I-LOC"))
        transport.sync.models = [Model(new, version=2)]
        second = await asyncio.gather(*[client.entities("wang") for _ in range(20)])
        return [*first, *second]

    labels = [entity.label for (entity,) in asyncio.run(ask())]
    assert labels == ["PER"] * 20 + ["NEW"] * 20
    assert parsed == [1, 2]
    assert transport.sync.signatures.count(BUNDLE_INFO) > 20


def test_same_version_with_other_contents() -> None:
    """What is requested again is used, also if the version is the same: somebody may have replaced its files."""
    transport = FakeTransport(Model())
    loader = Session(CallSettings("tiny"))
    for labels in (LABELS, ("O", "B-NEW", "I-NEW", "B-LOC", "I-LOC")):
        transport.models = [Model(replace(make_manifest(), labels=labels))]
        flow = loader.load()
        (call,) = next(flow)
        with pytest.raises(StopIteration) as stop:
            flow.send([transport.predict(call, timeout=5)])
        assert stop.value.value.manifest.labels == labels


def test_model_that_is_not_a_bundle() -> None:
    """A model without `bundle_info` raises the server's error after one request."""

    def missing(_: Any) -> Any:
        raise SignatureNotFound('Serving signature key "bundle_info" not found.', code="FAILED_PRECONDITION")

    transport = FakeTransport(Model(overrides={"manifest": missing}))
    with pytest.raises(SignatureNotFound, match="bundle_info"):
        connect(transport).entities("wang")
    assert len(transport.calls) == 1


def test_load_again_after_a_failure() -> None:
    """After a manifest that cannot be read, the next call requests it again."""
    broken = Model(overrides={"manifest": lambda _: np.array([b"{"], object)})
    client = connect(FakeTransport(broken, Model()))
    with pytest.raises(ManifestError):
        client.entities("wang")
    assert len(client.entities("wang")) == 1
