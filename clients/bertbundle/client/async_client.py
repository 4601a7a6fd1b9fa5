"""The awaiting client: `Client`, with nothing but the waiting done in another way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt

from bertbundle.client.asyncio_runner import Awaiting
from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import Answer, Classification, Entity, Fill, VersionStatus
from bertbundle.decoding.decoders import DECODERS, THRESHOLD
from bertbundle.decoding.question_answering import MOST_TOKENS
from bertbundle.pipelines.pipeline import Pipeline
from bertbundle.session.retries import Retries
from bertbundle.session.session import Options
from bertbundle.text.tokenizer import AnyText, Text
from bertbundle.transports.channels import Tls, Token
from bertbundle.transports.grpc import AsyncGrpcTransport, AsyncTransport

__all__ = ["AsyncClient"]

T = TypeVar("T")
Coming: TypeAlias = Coroutine[Any, Any, T]


class AsyncClient(Awaiting):
    """A client for asyncio: the methods of `Client`, to be awaited. It belongs to one event loop.

    >>> async def ask():
    ...     async with AsyncClient(address, "tiny") as client:  # address = "localhost:8500"
    ...         return await client.entities("Wang lives in Berlin")
    >>> asyncio.run(ask())
    [Entity(label='PER', text='Wang', start=0, end=4, score=0.54...), Entity(label='LOC', text='Berlin', ...)]
    """

    def __init__(
        self,
        server: str,
        model: str,
        *,
        timeout: float = 30.0,
        call_timeout: float | None = None,
        hedge_after: float | None = None,
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
            transport or AsyncGrpcTransport(server, tls=tls, token=token, metadata=metadata, compression=compression),
            timeout=timeout,
            call_timeout=call_timeout,
            hedge_after=hedge_after,
            concurrency=concurrency,
            rows_per_call=rows_per_call,
            retries=retries,
            manifest=manifest,
            tokenizer=tokenizer,
            names=names,
        )

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

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
        self,
        question: str,
        context: str,
        *,
        truncation: str | None = ...,
        stride: int | None = ...,
        max_answer_len: int = ...,
        handle_impossible_answer: bool = ...,
    ) -> Coming[Answer]: ...
    @overload
    def answer(
        self,
        question: list[str],
        context: list[str],
        *,
        truncation: str | None = ...,
        stride: int | None = ...,
        max_answer_len: int = ...,
        handle_impossible_answer: bool = ...,
    ) -> Coming[list[Answer]]: ...
    @overload
    def answer(
        self,
        question: Iterator[str],
        context: Iterator[str],
        *,
        truncation: str | None = ...,
        stride: int | None = ...,
        max_answer_len: int = ...,
        handle_impossible_answer: bool = ...,
    ) -> AsyncIterator[Answer]: ...
    def answer(
        self,
        question: Any,
        context: Any,
        *,
        truncation: str | None = None,
        stride: int | None = None,
        max_answer_len: int = MOST_TOKENS,
        handle_impossible_answer: bool = False,
    ) -> Any:
        """As `Client.answer`, awaited; of an iterator, plain or asynchronous, an asynchronous one."""
        return self._answer(question, context, truncation, stride, max_answer_len, handle_impossible_answer)

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
        with self._lifetime.use(asyncio.get_running_loop()):
            return await self._transport.status(self._session.model, timeout=self._timeout)
