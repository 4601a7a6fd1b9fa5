"""The errors of the server use gRPC's status codes."""

from __future__ import annotations

import grpc

from bertbundle_serving.errors import CODES


def test_codes_are_grpc_codes() -> None:
    """Every code of the domain is a gRPC status code under its number, and none is missing."""
    assert {code.name: code.value[0] for code in grpc.StatusCode} == {name: n for n, name in enumerate(CODES)}
