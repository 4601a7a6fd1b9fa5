"""The states of versions, as a server reports them."""

from __future__ import annotations

from embedded_server import ServerAddress

__all__ = ["version_state"]


def version_state(address: ServerAddress, version: int) -> int:
    """Return the state of a version of the model ``tiny``; 0 if the server has never seen it."""
    status = address.statuses().get(version)
    return status.state if status else 0
