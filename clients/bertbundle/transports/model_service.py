"""Change the models of one server, and see which version a label stands for."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from bertbundle.errors import InputError, ServerError
from bertbundle.transports.channels import check_connection
from bertbundle.transports.credentials import Tls, Token
from bertbundle.transports.grpc import GrpcTransport
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.messages import check_reload, metadata_request
from bertbundle.wire.model_configs import ModelConfigs

__all__ = ["ModelService", "open_services"]


class ModelService(GrpcTransport):
    """The API of one server to change its models.

    >>> ModelService("localhost:8500").close()
    """

    def reload(self, configs: ModelConfigs, *, timeout: float) -> None:
        """Serve these models instead of the current ones; return when the server has loaded them.

        Raises:
            ServerError: the server does not accept them.
        """
        check_reload(self._call("reload", wire.ReloadConfigRequest(config=configs.message), timeout), self.address)

    def version_of(self, model: str, label: str, *, timeout: float) -> int | None:
        """Return the version that a label stands for; None if the server does not have the label.

        Raises:
            ServerError: the server does not have the version, or the call failed.
        """
        try:
            response = self._call("metadata", metadata_request(model, label), timeout)
        except ServerError as error:
            if "Unrecognized servable version label" in error.details:
                return None
            raise
        version: int = response.model_spec.version.value
        return version


def open_services(
    addresses: str,
    *,
    tls: Tls | None = None,
    token: Token | None = None,
    metadata: Mapping[str, str] | None = None,
    compression: str = "none",
) -> list[ModelService]:
    """Return the service of each address in a list separated by commas; the settings are those of `GrpcTransport`.

    Raises:
        ValueError: an address has no port.
        InputError: an address is listed twice, or may stand for several servers.
    """
    parts = check_connection(addresses, compression)
    if len(set(parts)) < len(parts):
        raise InputError(f"{addresses} lists an address twice. Pass each server once.")
    groups = [part for part in parts if part.startswith(("dns:", "xds:", "ipv4:", "ipv6:"))]
    if groups:
        raise InputError(f"{groups[0]} may stand for several servers. Pass each one's address, separated by commas.")
    for part in parts:
        _check_single(part)
    settings = {"tls": tls, "token": token, "metadata": metadata, "compression": compression}
    return [ModelService(part, **settings) for part in parts]  # type: ignore[arg-type]


def _check_single(address: str) -> None:
    """Check that a name stands for one server: a reload would reach only one of several."""
    host, _, port = address.rpartition(":")
    if address.startswith(("unix:", "unix-abstract:", "vsock:")):
        return
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError:
        return  # gRPC reports it
    for family in (socket.AF_INET, socket.AF_INET6):
        hosts = sorted({str(entry[4][0]) for entry in found if entry[0] == family})
        if len(hosts) > 1:
            raise InputError(
                f"{address} stands for {len(hosts)} servers ({', '.join(hosts)}). Pass the address of each one, "
                "separated by commas."
            )
