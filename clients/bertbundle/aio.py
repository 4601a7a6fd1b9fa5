"""The awaiting client: `Client`, with nothing but the waiting done in another way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt

from bertbundle.asking import Asking, async_batches
from bertbundle.errors import ServerError
from bertbundle.flows import TEXTS_PER_ROUND, Call, Flow, Options, advance
from bertbundle.manifest import Manifest
from bertbundle.pipelines import Pipeline
from bertbundle.primitives import Answer, Classification, Entity, Fill, Prediction, VersionStatus
from bertbundle.retries import Action, Deadline, Pause, Retries, persist
from bertbundle.tasks import DECODERS, THRESHOLD, Decoder
from bertbundle.tokenizer import AnyText, Text
from bertbundle.transport import AsyncGrpcTransport, AsyncTransport
from bertbundle.wire import Tls, Token

__all__ = ["AsyncClient"]

T = TypeVar("T")
Coming: TypeAlias = Coroutine[Any, Any, T]


class AsyncClient(Asking):
    """A client for asyncio: the methods of `Client`, to be awaited. It belongs to one event loop.

    >>> async def ask():
    ...     async with AsyncClient("localhost:8500", "pii") as client:
    ...         return await client.entities("My name is Alex Rivera.")
    >>> asyncio.run(ask())  # doctest: +SKIP
    [Entity(label='GIVEN_NAME', text='Alex', start=11, end=15, score=0.99...), ...]
    """

    def __init__(
        self,
        server: str,
        model: str,
        *,
        timeout: float = 30.0,
        call_timeout: float | None = None,
        concurrency: int = 4,
        rows_per_call: int = 32,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        tls: Tls | None = None,
        token: Token | None = None,
        metadata: Mapping[str, str] | None = None,
        compression: str = "none",
        transport: AsyncTransport | None = None,
        manifest: Manifest | None = None,
        tokenizer: str | Path | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Make a client, as `Client` does; nothing is sent until the first question."""
        super().__init__(
            model,
            timeout=timeout,
            call_timeout=call_timeout,
            concurrency=concurrency,
            rows_per_call=rows_per_call,
            retries=retries,
            manifest=manifest,
            tokenizer=tokenizer,
            names=names,
        )
        self._transport = transport or AsyncGrpcTransport(
            server, tls=tls, token=token, metadata=metadata, compression=compression
        )
        self._slots = asyncio.Semaphore(concurrency)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._transport.close()

    @overload
    def entities(
        self, texts: str, *, truncation: str | None = ..., stride: int | None = ...
    ) -> Coming[list[Entity]]: ...
    @overload
    def entities(
        self, texts: list[str], *, truncation: str | None = ..., stride: int | None = ...
    ) -> Coming[list[list[Entity]]]: ...
    @overload
    def entities(
        self, texts: Iterator[str] | AsyncIterable[str], *, truncation: str | None = ..., stride: int | None = ...
    ) -> AsyncIterator[list[Entity]]: ...
    @overload
    def entities(
        self,
        texts: list[list[str]],
        *,
        truncation: str | None = ...,
        stride: int | None = ...,
        is_split_into_words: Literal[True],
    ) -> Coming[list[list[Entity]]]: ...
    @overload
    def entities(
        self,
        texts: Iterator[list[str]] | AsyncIterable[list[str]],
        *,
        truncation: str | None = ...,
        stride: int | None = ...,
        is_split_into_words: Literal[True],
    ) -> AsyncIterator[list[Entity]]: ...
    def entities(
        self, texts: Any, *, truncation: str | None = None, stride: int | None = None, is_split_into_words: bool = False
    ) -> Any:
        """As `Client.entities`, awaited; of an iterator, plain or asynchronous, an asynchronous one."""
        return self._entities(texts, truncation, stride, is_split_into_words)

    @overload
    def classify(
        self,
        texts: Text,
        *,
        truncation: str | None = ...,
        stride: int | None = ...,
        top_k: int | None = ...,
        threshold: float = ...,
    ) -> Coming[Classification]: ...
    @overload
    def classify(
        self,
        texts: list[AnyText],
        *,
        truncation: str | None = ...,
        stride: int | None = ...,
        top_k: int | None = ...,
        threshold: float = ...,
    ) -> Coming[list[Classification]]: ...
    @overload
    def classify(
        self,
        texts: Iterator[Text] | AsyncIterable[Text],
        *,
        truncation: str | None = ...,
        stride: int | None = ...,
        top_k: int | None = ...,
        threshold: float = ...,
    ) -> AsyncIterator[Classification]: ...
    def classify(
        self,
        texts: Any,
        *,
        truncation: str | None = None,
        stride: int | None = None,
        top_k: int | None = None,
        threshold: float = THRESHOLD,
    ) -> Any:
        """As `Client.classify`, awaited; of an iterator, plain or asynchronous, an asynchronous one."""
        return self._classify(texts, truncation, stride, top_k, threshold)

    @overload
    def embed(
        self, texts: str | list[str], *, truncation: str | None = ..., stride: int | None = ...
    ) -> Coming[npt.NDArray[np.float32]]: ...
    @overload
    def embed(
        self, texts: Iterator[str] | AsyncIterable[str], *, truncation: str | None = ..., stride: int | None = ...
    ) -> AsyncIterator[npt.NDArray[np.float32]]: ...
    def embed(self, texts: Any, *, truncation: str | None = None, stride: int | None = None) -> Any:
        """As `Client.embed`, awaited; of an iterator, plain or asynchronous, an asynchronous one."""
        return self._ask(DECODERS["feature-extraction"], texts, Options(truncation, stride))

    @overload
    def regress(self, texts: Text, *, truncation: str | None = ..., stride: int | None = ...) -> Coming[float]: ...
    @overload
    def regress(
        self, texts: list[AnyText], *, truncation: str | None = ..., stride: int | None = ...
    ) -> Coming[list[float]]: ...
    @overload
    def regress(
        self, texts: Iterator[Text] | AsyncIterable[Text], *, truncation: str | None = ..., stride: int | None = ...
    ) -> AsyncIterator[float]: ...
    def regress(self, texts: Any, *, truncation: str | None = None, stride: int | None = None) -> Any:
        """As `Client.regress`, awaited; of an iterator, plain or asynchronous, an asynchronous one."""
        return self._ask(DECODERS["regression"], texts, Options(truncation, stride))

    @overload
    def answer(
        self, question: str, context: str, *, truncation: str | None = ..., stride: int | None = ...
    ) -> Coming[Answer]: ...
    @overload
    def answer(
        self, question: list[str], context: list[str], *, truncation: str | None = ..., stride: int | None = ...
    ) -> Coming[list[Answer]]: ...
    @overload
    def answer(
        self, question: Iterator[str], context: Iterator[str], *, truncation: str | None = ..., stride: int | None = ...
    ) -> AsyncIterator[Answer]: ...
    def answer(self, question: Any, context: Any, *, truncation: str | None = None, stride: int | None = None) -> Any:
        """As `Client.answer`, awaited; of an iterator, plain or asynchronous, an asynchronous one."""
        return self._answer(question, context, truncation, stride)

    @overload
    def fill_mask(
        self, texts: str, *, truncation: str | None = ..., stride: int | None = ..., top_k: int | None = ...
    ) -> Coming[list[list[Fill]]]: ...
    @overload
    def fill_mask(
        self, texts: list[str], *, truncation: str | None = ..., stride: int | None = ..., top_k: int | None = ...
    ) -> Coming[list[list[list[Fill]]]]: ...
    @overload
    def fill_mask(
        self,
        texts: Iterator[str] | AsyncIterable[str],
        *,
        truncation: str | None = ...,
        stride: int | None = ...,
        top_k: int | None = ...,
    ) -> AsyncIterator[list[list[Fill]]]: ...
    def fill_mask(
        self, texts: Any, *, truncation: str | None = None, stride: int | None = None, top_k: int | None = None
    ) -> Any:
        """As `Client.fill_mask`, awaited; of an iterator, plain or asynchronous, an asynchronous one."""
        return self._fill_mask(texts, truncation, stride, top_k)

    async def manifest(self) -> Manifest:
        """As `Client.manifest`."""
        manifest: Manifest = await self._run(self._session.manifest())
        return manifest

    def pipeline(self, task: str, **options: Any) -> Pipeline:
        """As `Client.pipeline`; what is called is to be awaited."""
        return Pipeline(self, task, **options)

    async def status(self) -> list[VersionStatus]:
        """As `Client.status`."""
        return await self._transport.status(self._session.model, timeout=self._timeout)

    # ---- the waiting

    async def _run(self, flow: Flow[Any]) -> Any:
        deadline = self._deadline()
        try:
            calls = next(flow)
            while True:
                calls = advance(flow, await self._round(calls, deadline))
        except StopIteration as stop:
            return stop.value

    async def _stream(self, decoder: Decoder, texts: Any, options: Options) -> AsyncIterator[Any]:
        async for batch in async_batches(texts, TEXTS_PER_ROUND):
            for result in await self._run(self._session.many(decoder, batch, options)):
                yield result

    async def _round(self, calls: Sequence[Call], deadline: Deadline) -> list[Prediction] | ServerError:
        """Make calls, a bounded number at a time; return their answers or the first error."""
        tasks = [asyncio.ensure_future(self._persist(call, deadline)) for call in calls]
        try:
            return await asyncio.gather(*tasks)
        except ServerError as error:
            return error
        finally:
            for task in tasks:
                task.cancel()

    async def _persist(self, call: Call, deadline: Deadline) -> Prediction:
        steps = persist(deadline, self._retries, self._budget, self._call_timeout)
        async with self._slots:
            try:
                action = next(steps)
                while True:
                    action = advance(steps, await self._act(call, action))
            except StopIteration as stop:
                prediction: Prediction = stop.value
                return prediction

    async def _act(self, call: Call, action: Action) -> Prediction | ServerError | None:
        if isinstance(action, Pause):
            await asyncio.sleep(action.seconds)
            return None
        try:
            return await self._transport.predict(
                self._session.model, call.signature, call.inputs, outputs=call.outputs, timeout=action.timeout
            )
        except ServerError as error:
            return error
