"""Models on TensorFlow Serving compatible servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bertbundle import AsyncTransport
from bertbundle_gateway.core.batching import BatchingTransport

__all__ = ["ServerBackend", "Servers"]


@dataclass(frozen=True, slots=True)
class Servers:
    """Which server has which model.

    Attributes:
        default: address of the models that are not in `models`, as `bertbundle.AsyncClient` takes it; None if there are
            no other models.
        models: addresses by model name; None for `default`.
    """

    default: str | None
    models: Mapping[str, str | None]

    def address(self, model: str) -> str | None:
        """Return the address of a model's servers; None if there is certainly no such model."""
        return self.models.get(model) or self.default

    def describe(self) -> list[str]:
        """Return a line for each address with its models."""
        lines = [f"model {name} on {address or self.default}" for name, address in self.models.items()]
        return (
            [*lines, f"other models on {self.default}" if lines else f"models on {self.default}"]
            if self.default
            else lines
        )


class ServerBackend:
    """A `Backend` of servers: one connection to each address, opened on first use, shared by all of its models."""

    def __init__(
        self, servers: Servers, connect: Callable[[str], AsyncTransport], *, batches_in_flight: int | None = None
    ) -> None:
        """Describe the servers.

        Args:
            servers: which server has which model.
            connect: opens a transport to an address.
            batches_in_flight: see `BatchingTransport`; None for no batches.
        """
        self._servers = servers
        self._connect = connect
        self._batches_in_flight = batches_in_flight
        self._transports: dict[str, AsyncTransport] = {}
        self._batching: dict[str, AsyncTransport] = {}

    def transport(self, model: str, *, batches: bool = True) -> AsyncTransport | None:
        """Return the transport to a model's servers; see `Backend.transport`."""
        address = self._servers.address(model)
        if address is None:
            return None
        if address not in self._transports:
            transport = self._transports[address] = self._connect(address)
            if self._batches_in_flight is not None:
                self._batching[address] = BatchingTransport(transport, in_flight=self._batches_in_flight)
        batching = self._batching.get(address) if batches else None
        return batching or self._transports[address]

    def names(self) -> Sequence[str]:
        """Return the names of the models that are configured."""
        return list(self._servers.models)

    async def close(self) -> None:
        """Close all connections."""
        for transport in (self._transports | self._batching).values():
            await transport.close()
