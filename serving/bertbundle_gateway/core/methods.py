"""The methods that answer texts: what each takes, which options it has, and the client's decoder behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from bertbundle.contract.heads import MULTI_TASK
from bertbundle.decoding.base import Decoder
from bertbundle.decoding.decoders import (
    DECODERS,
    DEFAULT_THRESHOLD,
    answer_decoder,
    classification_decoder,
    fill_decoder,
)
from bertbundle.decoding.question_answering import MAX_ANSWER_TOKENS
from bertbundle.session.batches import AskOptions
from bertbundle.text.tokenizer import TRUNCATIONS
from bertbundle_gateway.core.errors import RequestError, invalid_request

__all__ = ["MAX_ANSWER_LEN", "METHODS", "METHOD_OF_TASK", "Method", "Options", "check_items", "find_method", "prepare"]


MAX_ANSWER_LEN = 1000
"""The largest `max_answer_len`: the time that it takes to find an answer grows with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of a request. None (or False) means the default of the client's method of the same name.

    Attributes:
        truncation: "window", "truncate" or "error": what to do with a text of more tokens than the model accepts.
        stride: number of tokens that adjacent windows share.
        head: which of several heads of a model answers.
        is_split_into_words: each item is a list of words (entities).
        top_k: number of labels (classify), or of tokens for each mask (fill_mask).
        threshold: minimum score of a predicted label of a multi-label model (classify).
        max_answer_len: maximum number of tokens of an answer.
        handle_impossible_answer: whether "no answer" is a possible answer.
    """

    truncation: str | None = None
    stride: int | None = None
    head: str | None = None
    is_split_into_words: bool = False
    top_k: int | None = None
    threshold: float | None = None
    max_answer_len: int | None = None
    handle_impossible_answer: bool = False


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the text APIs.

    Attributes:
        name: the name of the client's method.
        tasks: the tasks of the models that it answers.
        takes: "text", "pair", or "text or pair".
        options: names of the `Options` that it has.
        decoder: returns the client's decoder for options.
    """

    name: str
    tasks: tuple[str, ...]
    takes: str
    options: frozenset[str]
    decoder: Callable[[Options], Decoder]


def _classification(options: Options) -> Decoder:
    threshold = DEFAULT_THRESHOLD if options.threshold is None else options.threshold
    return classification_decoder(top_k=options.top_k, threshold=threshold)


def _answers(options: Options) -> Decoder:
    return answer_decoder(
        max_answer_len=MAX_ANSWER_TOKENS if options.max_answer_len is None else options.max_answer_len,
        handle_impossible_answer=options.handle_impossible_answer,
    )


_LONG_TEXTS = frozenset({"truncation", "stride"})
_HEAD = _LONG_TEXTS | {"head"}
_METHODS = (
    Method(
        "entities",
        ("token-classification", "span-classification"),
        "text",
        _HEAD | {"is_split_into_words"},
        lambda _: DECODERS["token-classification"],
    ),
    Method("classify", ("text-classification",), "text or pair", _HEAD | {"top_k", "threshold"}, _classification),
    Method("regress", ("regression",), "text or pair", _HEAD, lambda _: DECODERS["regression"]),
    Method(
        "embed",
        ("feature-extraction",),
        "text",
        _LONG_TEXTS,
        lambda _: DECODERS["feature-extraction"],
    ),
    Method(
        "answer",
        ("question-answering",),
        "pair",
        _LONG_TEXTS | {"max_answer_len", "handle_impossible_answer"},
        _answers,
    ),
    Method(
        "fill_mask", ("fill-mask",), "text", _LONG_TEXTS | {"top_k"}, lambda options: fill_decoder(top_k=options.top_k)
    ),
    Method("heads", (MULTI_TASK,), "text or pair", _LONG_TEXTS, lambda _: DECODERS[MULTI_TASK]),
)
METHODS: Mapping[str, Method] = {method.name: method for method in _METHODS}
"""The methods by the name of the client's method."""
METHOD_OF_TASK: Mapping[str, str] = {task: method.name for method in _METHODS for task in method.tasks}
"""The name of the method that answers each task."""


def find_method(name: str) -> Method:
    """Return a method by its name.

    Raises:
        RequestError: there is no such method.
    """
    if name not in METHODS:
        raise RequestError("UNIMPLEMENTED", "NO_SUCH_METHOD", f"There is no method {name!r}, use {', '.join(METHODS)}.")
    return METHODS[name]


def prepare(method: Method, options: Options) -> tuple[Decoder, AskOptions]:
    """Return the decoder and the options of `BaseClient.ask` for a request.

    Raises:
        RequestError: an option has a wrong value, or the method does not have it.
    """
    for field in fields(Options):
        is_set = getattr(options, field.name) != field.default
        if is_set and field.name not in method.options:
            raise invalid_request(
                "UNKNOWN_OPTION", f"The method {method.name} has no option {field.name}.", field=field.name
            )
    for name, is_valid, expected in _CHECKS:
        value = getattr(options, name)
        if value is not None and not is_valid(value):
            raise invalid_request("INVALID_OPTION", f"{name} must be {expected}, got {value!r:.40}.", field=name)
    ask_options = AskOptions(
        options.truncation, options.stride, options.is_split_into_words, options.head, keep_errors=True
    )
    return method.decoder(options), ask_options


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


_CHECKS: Sequence[tuple[str, Callable[[Any], bool], str]] = (
    ("truncation", lambda value: value in TRUNCATIONS, "one of " + ", ".join(TRUNCATIONS)),
    ("stride", lambda value: value == 0 or _is_count(value), "a whole number of at least 0"),
    ("head", lambda value: isinstance(value, str) and bool(value), "the name of a head"),
    ("top_k", _is_count, "a whole number of at least 1"),
    ("threshold", lambda value: math.isfinite(value) and 0 <= value <= 1, "a number from 0 to 1"),
    (
        "max_answer_len",
        lambda value: _is_count(value) and value <= MAX_ANSWER_LEN,
        f"a whole number from 1 to {MAX_ANSWER_LEN}",
    ),
)


def check_items(method: Method, items: Sequence[Any], options: Options) -> None:
    """Check that each item is what a method takes: a str, a pair (tuple) of str, or a list of words.

    Raises:
        RequestError: an item is something else.
    """
    takes = "words" if options.is_split_into_words else method.takes
    accepted = [_KINDS[kind] for kind in takes.split(" or ")]
    for index, item in enumerate(items):
        if not any(is_kind(item) for is_kind in accepted):
            raise invalid_request(
                "WRONG_KIND_OF_ITEM",
                f"The method {method.name} takes a {takes} for each item; item {index} is something else.",
                field="items",
            )


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and all(isinstance(part, str) for part in item)


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda item: isinstance(item, str),
    "pair": _is_pair,
    "words": lambda item: isinstance(item, list) and all(isinstance(word, str) for word in item),
}
