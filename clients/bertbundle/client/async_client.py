"""The async client."""

from __future__ import annotations

import asyncio
from typing import Any

from bertbundle.client.asyncio_runner import AsyncioRunner
from bertbundle.client.connected_client import ConnectedClient
from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import VersionStatus
from bertbundle.pipelines.pipeline import Pipeline
from bertbundle.transports.base import AsyncTransport
from bertbundle.transports.grpc import AsyncGrpcTransport

__all__ = ["AsyncClient"]


class AsyncClient(ConnectedClient[AsyncTransport]):
    """A client for asyncio, with the methods of `Client` as coroutines. It belongs to one event loop.

    >>> async def ask():
    ...     async with AsyncClient(address, "tiny") as client:  # address = "localhost:8500"
    ...         return await client.entities("Wang lives in Berlin")
    >>> asyncio.run(ask())
    [Entity(label='PER', text='Wang', start=0, end=4, score=0.54...), Entity(label='LOC', text='Berlin', ...)]
    """

    _open_transport = AsyncGrpcTransport
    _make_runner = AsyncioRunner
    _runner: AsyncioRunner

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """As `Client.close`."""
        await self._runner.close()
        if self._rollout:
            await asyncio.to_thread(self._rollout.close)

    async def manifest(self) -> Manifest:
        """As `Client.manifest`."""
        manifest: Manifest = await self._runner.run(self._session.manifest())
        return manifest

    async def status(self) -> list[VersionStatus]:
        """As `Client.status`."""
        return await self._runner.status(self._session.settings.model)

    def pipeline(self, task: str, **options: Any) -> Pipeline:
        """As `Client.pipeline`; the pipeline returns coroutines and async iterators."""
        return Pipeline(self, task, **options)
