"""Ask the standard gRPC health service of a server: ``python -m bertbundle_serving.healthcheck``, for containers."""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

__all__ = ["is_serving", "main"]

_SECONDS = 5.0


def is_serving(address: str) -> bool:
    """Return whether the server at ``host:port`` reports SERVING, within 5 seconds and without TLS.

    Raises:
        grpc.RpcError: there is no answer.
    """
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        response = check(health_pb2.HealthCheckRequest(), timeout=_SECONDS, wait_for_ready=True)
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


def main(arguments: list[str] | None = None) -> int:
    """Check the address in the arguments (default: 127.0.0.1:8500); return 0 if it is serving, else 1."""
    given = sys.argv[1:] if arguments is None else arguments
    address = given[0] if given else "127.0.0.1:8500"
    try:
        message = "SERVING" if is_serving(address) else "NOT_SERVING"
    except grpc.RpcError as error:
        message = f"no answer: {error.code().name}"
    sys.stdout.write(f"{address}: {message}\n")
    return int(message != "SERVING")


if __name__ == "__main__":
    sys.exit(main())
