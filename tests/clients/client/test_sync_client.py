"""The sync client: status and closing."""

from __future__ import annotations

import pytest

from bertbundle import BertBundleError, VersionStatus
from fakes import FakeTransport, connect


def test_status() -> None:
    """The status is that of the transport."""
    assert connect(FakeTransport()).status() == [VersionStatus(1, "AVAILABLE", "OK", "")]


def test_context_manager() -> None:
    """Leaving the `with` block closes the transport, also after an error."""
    transport = FakeTransport()
    with pytest.raises(BertBundleError), connect(transport) as client:
        client.entities("")
    assert transport.closed
