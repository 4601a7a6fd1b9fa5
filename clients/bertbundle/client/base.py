"""What the blocking and the awaiting client share: everything but the waiting."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from bertbundle._shared.validation import check_counts, check_seconds, check_type
from bertbundle.contract.manifest import TOKENIZER_FILE, Manifest
from bertbundle.decoding.decoders import DECODERS, THRESHOLD, Decoder, classification, fills
from bertbundle.decoding.loaded_model import Held, hold
from bertbundle.decoding.question_answering import best_answer
from bertbundle.errors import InputError, ManifestError
from bertbundle.session.lifecycle import Lifetime
from bertbundle.session.retries import Budget, Deadline, Retries, Rules
from bertbundle.session.session import Flow, Options, Session

__all__ = ["Asking", "async_batches", "batches"]

T = TypeVar("T")


class Asking(ABC):
    """A client's settings, and its questions as flows. A subclass says how to run one flow, and many in turn."""

    def __init__(
        self,
        model: str,
        *,
        timeout: float,
        call_timeout: float | None,
        hedge_after: float | None,
        concurrency: int,
        rows_per_call: int,
        retries: Retries,
        manifest: Manifest | None,
        tokenizer: str | Path | None,
        names: Mapping[str, str] | None,
    ) -> None:
        check_type("model", model, str, "the model's name")
        check_type("timeout", timeout, Real, "a number of seconds")
        check_type("retries", retries, Retries, "a Retries, Retries(attempts=1) for none")
        check_seconds(timeout=timeout, call_timeout=call_timeout, hedge_after=hedge_after)
        check_counts(concurrency=concurrency, rows_per_call=rows_per_call)
        self._session = Session(model, rows_per_call=rows_per_call, given=_given(manifest, tokenizer), names=names)
        self._timeout = timeout
        self._concurrency = concurrency
        self._lifetime = Lifetime()
        self._rules = Rules(retries, Budget(retries.budget), call_timeout, hedge_after)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled: make one in each process")

    def _deadline(self) -> Deadline:
        return Deadline(self._timeout)

    @abstractmethod
    def _run(self, flow: Flow[Any]) -> Any:
        """Make the calls that a flow asks for, all of them within one timeout."""

    @abstractmethod
    def _stream(self, decoder: Decoder, texts: Any, options: Options) -> Any:
        """Answer texts as they come, a bounded number at a time, each of those within one timeout."""

    # ---- the questions

    def _entities(self, texts: Any, truncation: str | None, stride: int | None, is_split_into_words: bool) -> Any:
        options = Options(truncation, stride, split_words=is_split_into_words)
        return self._ask(DECODERS["token-classification"], texts, options)

    def _classify(
        self, texts: Any, truncation: str | None, stride: int | None, top_k: int | None, threshold: float
    ) -> Any:
        check_counts(top_k=top_k)
        decoder = DECODERS["text-classification"]
        if (top_k, threshold) != (None, THRESHOLD):
            decoder = replace(decoder, decode=functools.partial(classification, top_k=top_k, threshold=threshold))
        return self._ask(decoder, texts, Options(truncation, stride))

    def _fill_mask(self, texts: Any, truncation: str | None, stride: int | None, top_k: int | None) -> Any:
        check_counts(top_k=top_k)
        decoder = replace(DECODERS["fill-mask"], decode=functools.partial(fills, top_k=top_k))
        return self._ask(decoder, texts, Options(truncation, stride))

    def _answer(
        self, question: Any, context: Any, truncation: str | None, stride: int | None, most: int, impossible: bool
    ) -> Any:
        check_counts(max_answer_len=most)
        decode = functools.partial(best_answer, max_answer_len=most, handle_impossible_answer=impossible)
        decoder, options = replace(DECODERS["question-answering"], decode=decode), Options(truncation, stride)
        if isinstance(question, str) and isinstance(context, str):
            return self._ask(decoder, (question, context), options)
        if isinstance(question, list) and isinstance(context, list) and len(question) == len(context):
            return self._ask(decoder, list(zip(question, context, strict=True)), options)
        if isinstance(question, Iterator) and isinstance(context, Iterator):
            return self._ask(decoder, zip(question, context, strict=True), options)
        raise TypeError("question and context must be two str, two lists of str of the same length, or two iterators")

    def _ask(self, decoder: Decoder, texts: Any, options: Options) -> Any:
        """Answer one text with one result, a list with a list, an iterator with an iterator."""
        if _is_one(texts, options):
            return self._run(self._session.one(decoder, texts, options))
        if isinstance(texts, list):
            return self._run(self._session.many(decoder, texts, options))
        if isinstance(texts, Iterator | AsyncIterable):
            return self._stream(decoder, texts, options)
        raise TypeError(f"texts must be a str, a list or an iterator of str, got {type(texts).__name__}: {texts!r:.60}")


def _is_one(texts: Any, options: Options) -> bool:
    if options.split_words:
        return isinstance(texts, list) and bool(texts) and isinstance(texts[0], str)
    return isinstance(texts, str | tuple)


_MAKE_ONE = "tokenizers.BertWordPieceTokenizer('vocab.txt').save('tokenizer.json') makes one of a vocab.txt."


def _given(manifest: Manifest | None, tokenizer: str | Path | None) -> Held | None:
    """Hold a model that cannot say of itself what it is."""
    if (manifest is None) != (tokenizer is None):
        raise ValueError("manifest and tokenizer go together: both for a model that is no bundle, none for a bundle")
    if manifest is None or tokenizer is None:
        return None
    path = Path(tokenizer)
    path = path / TOKENIZER_FILE if path.is_dir() else path
    try:
        return hold(manifest, path.read_text(encoding="utf-8"), version=0)
    except OSError as error:
        raise InputError(f"the tokenizer {path} cannot be read: {error.strerror}. {_MAKE_ONE}") from error
    except ManifestError as error:
        raise InputError(f"{path}: {error} {_MAKE_ONE}") from error


def batches(texts: Iterator[Any], size: int) -> Iterator[Sequence[Any]]:
    """Take `size` texts at a time."""
    while batch := [text for _, text in zip(range(size), texts, strict=False)]:
        yield batch


async def async_batches(texts: Any, size: int) -> AsyncIterator[list[Any]]:
    """Take `size` texts at a time."""
    if isinstance(texts, Iterator):
        for batch in batches(texts, size):
            yield list(batch)
        return
    batch = []
    async for text in texts:
        batch.append(text)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
