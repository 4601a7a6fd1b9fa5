"""The errors of the server use gRPC's status codes."""

from __future__ import annotations

import grpc

from bertbundle_serving.errors import CODES


def test_codes_are_grpc_codes() -> None:
    """`CODES` has every gRPC status code at the index of its number."""
    assert {code.name: code.value[0] for code in grpc.StatusCode} == {name: n for n, name in enumerate(CODES)}
