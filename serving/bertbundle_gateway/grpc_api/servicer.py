"""TextService: from the bytes of a request to the bytes of its response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from google.protobuf.message import Message

from bertbundle.text.v1 import text_service_pb2 as pb
from bertbundle_gateway.core.errors import invalid_request
from bertbundle_gateway.core.request_observer import deadline
from bertbundle_gateway.core.service import TextService
from bertbundle_gateway.grpc_api.calls import Method, aborting, parse, unary_handler
from bertbundle_gateway.grpc_api.methods import RPCS, Rpc, make_response, read_items, read_model, read_options
from bertbundle_gateway.grpc_api.model_info import model_info

__all__ = ["SERVICE", "text_handler"]

SERVICE = str(pb.DESCRIPTOR.services_by_name["TextService"].full_name)
_REQUESTS_PER_STREAM = 4
"""Requests of one stream that are computed at a time; one further is read meanwhile."""


def text_handler(service: TextService) -> Any:
    """Return the generic handler of TextService, to register with a grpc.aio server."""
    servicer = _Servicer(service)
    unary: Mapping[str, tuple[Any, Any]] = {
        "GetModel": (pb.GetModelRequest, servicer.get_model),
        "ListModels": (pb.ListModelsRequest, servicer.list_models),
        **{name: (rpc.request, servicer.answering(rpc)) for name, rpc in RPCS.items()},
    }
    handlers = {name: unary_handler(request, method) for name, (request, method) in unary.items()}
    handlers["Annotate"] = grpc.stream_stream_rpc_method_handler(servicer.annotate)
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


class _Servicer:
    def __init__(self, service: TextService) -> None:
        self._service = service

    def answering(self, rpc: Rpc) -> Method:
        """Return the method that answers texts."""

        async def answer(request: Any, timeout: float | None) -> Message:
            items = read_items(request)
            results = await self._service.annotate(
                read_model(request), rpc.method, items, read_options(request), timeout=timeout
            )
            response: Message = make_response(rpc, items, results)
            return response

        return answer

    async def get_model(self, request: pb.GetModelRequest, timeout: float | None) -> pb.GetModelResponse:
        """Describe a model."""
        info = await self._service.describe(read_model(request), timeout=timeout)
        return pb.GetModelResponse(model=model_info(info))

    async def list_models(self, request: pb.ListModelsRequest, timeout: float | None) -> pb.ListModelsResponse:
        """List the models."""
        del request, timeout
        return pb.ListModelsResponse(names=self._service.models())

    async def annotate(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Answer the requests of a stream in order, while further ones are read."""
        started: asyncio.Queue[asyncio.Future[bytes] | None] = asyncio.Queue()
        slots = asyncio.Semaphore(_REQUESTS_PER_STREAM)
        reader = asyncio.ensure_future(self._read(requests, started, slots, context))
        answer: asyncio.Future[bytes] | None = None
        try:
            async with aborting(context):
                while (answer := await started.get()) is not None:
                    yield await answer
                    slots.release()
                await reader  # raises what ended it, if that is not the end of the stream
        finally:
            left = [reader, *([answer] if answer else []), *(item for item in _drain(started) if item is not None)]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _read(
        self, requests: AsyncIterator[bytes], started: asyncio.Queue[Any], slots: asyncio.Semaphore, context: Any
    ) -> None:
        """Start answering each request of a stream when there is a slot for it, and end with None."""
        try:
            async for data in requests:
                await slots.acquire()
                started.put_nowait(asyncio.ensure_future(self._answer(data, context)))
        finally:
            started.put_nowait(None)

    async def _answer(self, data: bytes, context: Any) -> bytes:
        request = parse(pb.AnnotateRequest, data)
        kind = request.WhichOneof("request")
        if kind is None:
            raise invalid_request("NO_TEXTS", "The request of the stream is empty: set one of its fields.")
        rpc = _RPC_OF_FIELD[kind]
        seconds = context.time_remaining()
        with deadline(seconds):
            response = await self.answering(rpc)(getattr(request, kind), seconds)
        return pb.AnnotateResponse(**{kind: response}).SerializeToString()  # type: ignore[arg-type, unused-ignore]


_RPC_OF_FIELD: Mapping[str, Rpc] = {
    field.name: next(rpc for rpc in RPCS.values() if rpc.request.DESCRIPTOR is field.message_type)
    for field in pb.AnnotateRequest.DESCRIPTOR.fields
}


def _drain(queue: asyncio.Queue[Any]) -> list[Any]:
    return [queue.get_nowait() for _ in range(queue.qsize())]
