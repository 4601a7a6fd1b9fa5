"""Loading a model from the outputs of its `bundle_info` signature."""

from __future__ import annotations

import numpy as np
import pytest

from bertbundle import ManifestError, ServerError
from fakes import FakeTransport, Model, Output, connect, make_manifest


def test_output_that_is_not_a_string() -> None:
    """A manifest that is not a string raises ServerError."""
    model = Model(overrides={"manifest": lambda _: np.zeros(1, np.int32)})
    with pytest.raises(ServerError, match="int32 for output 'manifest', expected a string"):
        connect(FakeTransport(model)).entities("wang")


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({"manifest": lambda _: np.array([b"{"], object)}, id="manifest-truncated"),
        pytest.param({"manifest": lambda _: np.array([b"\xff"], object)}, id="manifest-not-utf8"),
        pytest.param({"tokenizer": lambda _: np.array([b"{}"], object)}, id="tokenizer-empty"),
        pytest.param({"tokenizer": lambda _: np.array([b"\xff"], object)}, id="tokenizer-not-utf8"),
    ],
)
def test_unreadable_manifest_or_tokenizer(overrides: dict[str, Output]) -> None:
    """A manifest or tokenizer that cannot be read raises a ManifestError that says what to do."""
    with pytest.raises(ManifestError, match=r"Export the bundle again\.$"):
        connect(FakeTransport(Model(overrides=overrides))).entities("wang")


def test_unknown_label_scheme() -> None:
    """A label scheme that this version does not know raises a ManifestError that says to upgrade."""
    with pytest.raises(ManifestError, match=r"unknown label scheme 'BIOZ'.*Upgrade bertbundle"):
        connect(FakeTransport(Model(make_manifest(label_scheme="BIOZ")))).entities("wang")
