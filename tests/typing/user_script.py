"""A user's script, checked by mypy --strict with the project: the argument and result types of each method."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bertbundle import Answer, AsyncClient, Classification, Client, Entity, Fill, Retries, Tls, foreign_manifest


def synchronous(client: Client, texts: list[str], pairs: list[tuple[str, str]], lines: Iterator[str]) -> None:
    """One text gives one result, a list gives a list, an iterator gives an iterator."""
    entities: list[Entity] = client.entities("text", stride=16)
    many: list[list[Entity]] = client.entities(texts, truncation="truncate")
    words: list[list[Entity]] = client.entities([["two", "words"]], is_split_into_words=True)
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
    print(entities, many, words, stream, one, classes, vectors, vector_stream, value, values, answer, answers, masks)


async def asynchronous(client: AsyncClient, texts: list[str], lines: AsyncIterator[str]) -> None:
    """The async client has the same types; its methods return coroutines, of which tasks can be created."""
    task = asyncio.create_task(client.entities(texts))
    many: list[list[Entity]] = await task
    vector: npt.NDArray[np.float32] = await client.embed("text")
    async for entities in client.entities(lines):
        first: Entity = entities[0]
        print(many, vector, first.to_dict())


def connect(ca: bytes) -> Client:
    """Every option of the client has a type."""
    manifest = foreign_manifest("text-classification", max_length=64, labels=["no", "yes"], dtype="int64")
    return Client(
        "a:8500,b:8500",
        "model",
        timeout=5,
        call_timeout=1.0,
        hedge_after=0.2,
        retries=Retries(attempts=2),
        tls=Tls(root_certificates=ca),
        token=lambda: "secret",
        metadata={"x-team": "search"},
        compression="gzip",
        manifest=manifest,
        tokenizer=Path("tokenizer.json"),
        names={"input_ids": "ids"},
    )
