"""Manifest and tokenizer are loaded on first use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertbundle import ManifestError, SignatureNotFound
from bertbundle.contract.manifest import BUNDLE_INFO
from fakes import FakeTransport, Model, connect


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
