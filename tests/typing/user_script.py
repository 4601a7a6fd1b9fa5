"""A user's script that mypy --strict checks with the project: the types of all methods and settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle import (
    Answer,
    AsyncClient,
    Classification,
    Client,
    Entity,
    Fill,
    Manifest,
    RestTransport,
    Retries,
    Tls,
    VersionStatus,
    foreign_manifest,
)


def use_client(client: Client, texts: list[str], pairs: list[tuple[str, str]], lines: Iterator[str]) -> None:
    """Use each method with a text, a list and an iterator."""
    entities: list[Entity] = client.entities("text", stride=16)
    many: list[list[Entity]] = client.entities(texts, truncation="truncate")
    of_words: list[Entity] = client.entities(["two", "words"], is_split_into_words=True)
    of_word_lists: list[list[Entity]] = client.entities([["two", "words"]], is_split_into_words=True)
    stream: Iterator[list[Entity]] = client.entities(lines)
    one: Classification = client.classify(("a", "b"), top_k=3, threshold=0.2)
    classes: list[Classification] = client.classify(texts)
    classes = client.classify(pairs)
    vectors: npt.NDArray[np.float32] = client.embed(texts)
    vector_stream: Iterator[npt.NDArray[np.float32]] = client.embed(lines)
    value: float = client.regress(("a", "b"))
    values: list[float] = client.regress(pairs)
    answer: Answer = client.answer("question", "context", max_answer_len=8, handle_impossible_answer=True)
    answers: list[Answer] = client.answer(texts, texts)
    masks: list[list[Fill]] = client.fill_mask("[MASK]", top_k=1)
    heads: dict[str, Any] = client.heads("text", truncation="window")
    many_heads: list[dict[str, Any]] = client.heads(texts)
    stream_of_heads: Iterator[dict[str, Any]] = client.heads(lines)
    entities = client.entities("text", head="slots")
    value = client.regress("text", head="score")
    one = client.classify("text", head="intent")
    print(heads, many_heads, stream_of_heads)
    manifest: Manifest = client.manifest()
    status: list[VersionStatus] = client.status()
    print(entities, many, of_words, of_word_lists, stream, one, classes, vectors, vector_stream, value, values)
    print(answer, answers, masks, manifest, status, client.pipeline()("text"))


async def use_async_client(client: AsyncClient, texts: list[str], lines: AsyncIterator[str]) -> None:
    """Use each method with a text, a list and an async iterator; methods return coroutines and async iterators."""
    task = asyncio.create_task(client.entities(texts))
    many: list[list[Entity]] = await task
    of_words: list[Entity] = await client.entities(["two", "words"], is_split_into_words=True)
    one: Classification = await client.classify(("a", "b"), top_k=3)
    classes: list[Classification] = await client.classify(texts, threshold=0.2)
    vector: npt.NDArray[np.float32] = await client.embed("text")
    value: float = await client.regress("text", truncation="truncate")
    values: list[float] = await client.regress(texts)
    answer: Answer = await client.answer("question", "context", max_answer_len=8)
    answers: list[Answer] = await client.answer(texts, texts)
    masks: list[list[Fill]] = await client.fill_mask("[MASK]", top_k=1)
    heads: dict[str, Any] = await client.heads("text")
    many_heads: list[dict[str, Any]] = await client.heads(texts)
    slots: list[Entity] = await client.entities("text", head="slots")
    print(heads, many_heads, slots)
    manifest: Manifest = await client.manifest()
    status: list[VersionStatus] = await client.status()
    print(many, of_words, one, classes, vector, value, values, answer, answers, masks, manifest, status)
    async for entities in client.entities(lines):
        first: Entity = entities[0]
        print(first.to_dict())
    async for fills in client.fill_mask(iter(texts)):
        best: Fill = fills[0][0]
        print(best.token)


def use_wrongly(client: Client, async_client: AsyncClient, words: list[list[str]]) -> None:
    """Let mypy report wrong calls: it also reports an ignore comment that is not needed."""
    client.entities(words)  # type: ignore[arg-type]  # without is_split_into_words
    client.entities("text", top_k=3)  # type: ignore[call-overload]  # an option of another method
    client.entities(b"text")  # type: ignore[call-overload]  # bytes
    client.embed("text", head="a")  # type: ignore[call-overload]  # embeddings are never one of several heads
    client.embed(("a", "b"))  # type: ignore[call-overload]  # a pair
    client.answer("question", ["context"])  # type: ignore[call-overload]  # a list for one question
    len(async_client.entities("text"))  # type: ignore[arg-type]  # not awaited
    AsyncClient("", "model", transport=RestTransport("http://a:1"))  # type: ignore[arg-type]  # a sync transport


def connect(ca: bytes) -> Client:
    """Create a client with all settings."""
    manifest = foreign_manifest("text-classification", max_length=64, labels=["no", "yes"], dtype="int64")
    return Client(
        "a:8500,b:8500",
        "model",
        timeout=5,
        call_timeout=1.0,
        hedge_after=0.2,
        concurrency=8,
        rows_per_call=16,
        retries=Retries(attempts=2),
        tls=Tls(root_certificates=ca),
        token=lambda: "secret",
        metadata={"x-team": "search"},
        compression="gzip",
        manifest=manifest,
        tokenizer=Path("tokenizer.json"),
        names={"input_ids": "ids"},
    )


def connect_over_rest() -> Client:
    """Create a client with another transport."""
    return Client("", "model", transport=RestTransport("https://models.example.com"))
