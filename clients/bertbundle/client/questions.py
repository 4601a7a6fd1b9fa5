"""What a client can be asked: one method per task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from bertbundle.client.thread_runner import Blocking
from bertbundle.contract.types import Answer, Classification, Entity, Fill
from bertbundle.decoding.decoders import DECODERS, THRESHOLD
from bertbundle.decoding.question_answering import MOST_TOKENS
from bertbundle.session.session import Options
from bertbundle.text.tokenizer import AnyText, Text

__all__ = ["Questions"]


class Questions(Blocking):
    """The methods of `Client`, one per task; those of `AsyncClient` take and mean the same."""

    @overload
    def entities(self, texts: str, *, truncation: str | None = ..., stride: int | None = ...) -> list[Entity]: ...
    @overload
    def entities(
        self, texts: list[str], *, truncation: str | None = ..., stride: int | None = ...
    ) -> list[list[Entity]]: ...
    @overload
    def entities(
        self, texts: Iterator[str], *, truncation: str | None = ..., stride: int | None = ...
    ) -> Iterator[list[Entity]]: ...
    @overload
    def entities(
        self,
        texts: list[list[str]],
        *,
        truncation: str | None = ...,
        stride: int | None = ...,
        is_split_into_words: Literal[True],
    ) -> list[list[Entity]]: ...
    @overload
    def entities(
        self,
        texts: Iterator[list[str]],
        *,
        truncation: str | None = ...,
        stride: int | None = ...,
        is_split_into_words: Literal[True],
    ) -> Iterator[list[Entity]]: ...
    def entities(
        self, texts: Any, *, truncation: str | None = None, stride: int | None = None, is_split_into_words: bool = False
    ) -> Any:
        """Find the entities of a text.

        Args:
            texts: a text, a list of texts, or an iterator of texts.
            truncation: what becomes of a text with more tokens than the model takes. "window" answers from overlapping
                windows, each token from the one with most context for it; "truncate" from its beginning only; "error"
                raises. None is "window".
            stride: tokens that neighbouring windows share; None for a quarter of a window.
            is_split_into_words: the texts of the list or iterator are lists of words; offsets are then those of the
                words joined by single spaces.

        Raises:
            InputError: an empty text or list, or a model for another task; `TextTooLong` under "error".
            ServerError: what the server answered instead.

        >>> client.entities("Wang lives in Berlin")[0]
        Entity(label='PER', text='Wang', start=0, end=4, score=0.54...)
        """
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
    ) -> Classification: ...
    @overload
    def classify(
        self,
        texts: list[AnyText],
        *,
        truncation: str | None = ...,
        stride: int | None = ...,
        top_k: int | None = ...,
        threshold: float = ...,
    ) -> list[Classification]: ...
    @overload
    def classify(
        self,
        texts: Iterator[Text],
        *,
        truncation: str | None = ...,
        stride: int | None = ...,
        top_k: int | None = ...,
        threshold: float = ...,
    ) -> Iterator[Classification]: ...
    def classify(
        self,
        texts: Any,
        *,
        truncation: str | None = None,
        stride: int | None = None,
        top_k: int | None = None,
        threshold: float = THRESHOLD,
    ) -> Any:
        """Classify a text or a pair of texts (a tuple).

        Args:
            texts: a text or a pair, a list of them, or an iterator.
            truncation: as for `entities`, of a pair the longer text is split or cut; None is "error". Scores of windows
                become their mean, weighted by the tokens that each window adds.
            stride: as for `entities`.
            top_k: labels that `Classification.scores` has, best first; None for all.
            threshold: score from which a label of a multi-label model holds.

        Raises:
            InputError: an empty text or list, or a model for another task; `TextTooLong` under "error".
            ServerError: what the server answered instead.

        >>> classifier.classify("wang", top_k=2).scores
        {'perhaps': 0.75, 'yes': 0.5}
        """
        return self._classify(texts, truncation, stride, top_k, threshold)

    @overload
    def embed(
        self, texts: str | list[str], *, truncation: str | None = ..., stride: int | None = ...
    ) -> npt.NDArray[np.float32]: ...
    @overload
    def embed(
        self, texts: Iterator[str], *, truncation: str | None = ..., stride: int | None = ...
    ) -> Iterator[npt.NDArray[np.float32]]: ...
    def embed(self, texts: Any, *, truncation: str | None = None, stride: int | None = None) -> Any:
        """Embed a text.

        Args:
            texts: a text, a list of texts, or an iterator of texts.
            truncation: as for `entities`; None is "error". Vectors of windows become their mean, weighted by the tokens
                that each window adds, of length 1 if `Manifest.normalized`.
            stride: as for `entities`.

        Returns:
            Float32 vectors of shape ``[hidden_size]`` for one text, ``[len(texts), hidden_size]`` for a list, one after
            the other for an iterator; pooled and normalised as `Manifest.pooling` and `Manifest.normalized` say.

        Raises:
            InputError: an empty text or list, or a model for another task; `TextTooLong` under "error".
            ServerError: what the server answered instead.

        >>> embedder.embed(["wang", "in"]).shape
        (2, 2)
        """
        return self._ask(DECODERS["feature-extraction"], texts, Options(truncation, stride))

    @overload
    def regress(self, texts: Text, *, truncation: str | None = ..., stride: int | None = ...) -> float: ...
    @overload
    def regress(
        self, texts: list[AnyText], *, truncation: str | None = ..., stride: int | None = ...
    ) -> list[float]: ...
    @overload
    def regress(
        self, texts: Iterator[Text], *, truncation: str | None = ..., stride: int | None = ...
    ) -> Iterator[float]: ...
    def regress(self, texts: Any, *, truncation: str | None = None, stride: int | None = None) -> Any:
        """Return the value of a text or a pair of texts (a tuple), such as their similarity.

        Args:
            texts: a text or a pair, a list of them, or an iterator.
            truncation: as for `classify`.
            stride: as for `entities`.

        Raises:
            InputError: an empty text or list, or a model for another task; `TextTooLong` under "error".
            ServerError: what the server answered instead.

        >>> regressor.regress(("wang", "in Berlin"))
        4.0
        """
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
    ) -> Answer: ...
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
    ) -> list[Answer]: ...
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
    ) -> Iterator[Answer]: ...
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
        """Find the answer to a question in a context.

        Args:
            question: a question, a list of questions, or an iterator.
            context: a text that holds the answer, or a list or iterator of such texts, one per question.
            truncation: as for `entities`; the context is what is split or cut, None is "window".
            stride: as for `entities`.
            max_answer_len: most tokens of an answer.
            handle_impossible_answer: answer "" where "no answer" has the higher score: for models trained with such
                questions, as SQuAD 2.0. Either way `Answer.null_score` is that score; of windows, that of the one that
                is surest of an answer.

        Raises:
            InputError: an empty text or list, or a model for another task; `TextTooLong` under "error".
            ServerError: what the server answered instead.

        >>> reader.answer("wang", "lives in Berlin").text
        'Berlin'
        """
        return self._answer(question, context, truncation, stride, max_answer_len, handle_impossible_answer)

    @overload
    def fill_mask(
        self, texts: str, *, truncation: str | None = ..., stride: int | None = ..., top_k: int | None = ...
    ) -> list[list[Fill]]: ...
    @overload
    def fill_mask(
        self, texts: list[str], *, truncation: str | None = ..., stride: int | None = ..., top_k: int | None = ...
    ) -> list[list[list[Fill]]]: ...
    @overload
    def fill_mask(
        self, texts: Iterator[str], *, truncation: str | None = ..., stride: int | None = ..., top_k: int | None = ...
    ) -> Iterator[list[list[Fill]]]: ...
    def fill_mask(
        self, texts: Any, *, truncation: str | None = None, stride: int | None = None, top_k: int | None = None
    ) -> Any:
        """Offer tokens for each mask of a text; `Manifest.mask_token` is a mask.

        Args:
            texts: a text, a list of texts, or an iterator of texts.
            truncation: as for `entities`.
            stride: as for `entities`.
            top_k: tokens for each mask; None for all that the model offers.

        Returns:
            For each mask of the text, in order, the likeliest tokens, best first; none for a text without a mask.

        Raises:
            InputError: an empty text or list, or a model for another task; `TextTooLong` under "error".
            ServerError: what the server answered instead.

        >>> filler.fill_mask("[MASK] lives", top_k=1)[0][0].text
        'wang lives'
        """
        return self._fill_mask(texts, truncation, stride, top_k)
