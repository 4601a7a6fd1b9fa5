"""The arguments of the methods of both clients: types and conversions."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterable, Coroutine, Iterator
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = [
    "AnswerOptions",
    "Coro",
    "HeadOptions",
    "LabelOptions",
    "MaskOptions",
    "TextOptions",
    "Texts",
    "Vector",
    "WordOptions",
    "chunked",
    "pair_up",
]

T = TypeVar("T")
Coro: TypeAlias = Coroutine[Any, Any, T]
Texts: TypeAlias = Iterator[T] | AsyncIterable[T]
"""An iterator of texts, as `AsyncClient` takes it."""
Vector: TypeAlias = npt.NDArray[np.float32]


class TextOptions(TypedDict, total=False):
    """Options of all tasks."""

    truncation: str | None
    stride: int | None


class HeadOptions(TextOptions, total=False):
    """Options of the tasks that one of several heads may have."""

    head: str | None


class _SplitIntoWords(TypedDict):
    is_split_into_words: Literal[True]


class WordOptions(HeadOptions, _SplitIntoWords):
    """Options of `BaseClient.entities` for lists of words."""


class LabelOptions(HeadOptions, total=False):
    """Options of `BaseClient.classify`."""

    top_k: int | None
    threshold: float


class AnswerOptions(TextOptions, total=False):
    """Options of `BaseClient.answer`."""

    max_answer_len: int
    handle_impossible_answer: bool


class MaskOptions(TextOptions, total=False):
    """Options of `BaseClient.fill_mask`."""

    top_k: int | None


def chunked(texts: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield the texts of an iterator in lists of at most `size`."""
    while chunk := list(itertools.islice(texts, size)):
        yield chunk


def pair_up(question: Any, context: Any) -> Any:
    """Return questions with their contexts: a pair, a list of pairs, or an iterator of pairs.

    Raises:
        TypeError: question and context are of different kinds or lengths.
    """
    if isinstance(question, str) and isinstance(context, str):
        return question, context
    if isinstance(question, list) and isinstance(context, list) and len(question) == len(context):
        return list(zip(question, context, strict=True))
    if isinstance(question, Iterator) and isinstance(context, Iterator):
        return zip(question, context, strict=True)
    raise TypeError("question and context must be two str, two lists of str of the same length, or two iterators")
