"""The methods of both clients for the tasks that are never one of several heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from bertbundle.client.arguments import AnswerOptions, Coro, MaskOptions, TextOptions, Texts, Vector, pair_up
from bertbundle.contract.types import Answer, Fill
from bertbundle.decoding.base import Decoder
from bertbundle.decoding.decoders import DECODERS, answer_decoder, fill_decoder
from bertbundle.decoding.question_answering import MAX_ANSWER_TOKENS
from bertbundle.session.batches import AskOptions
from bertbundle.transports.base import AsyncTransport, Transport

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["SingleTaskMethods", "TransportT"]

TransportT = TypeVar("TransportT")
Sync: TypeAlias = "SingleTaskMethods[Transport]"
Async: TypeAlias = "SingleTaskMethods[AsyncTransport]"


class SingleTaskMethods(ABC, Generic[TransportT]):
    """Embeddings, answers and masks; see `BaseClient`, which has the other methods."""

    @abstractmethod
    def ask(self, decoder: Decoder, texts: Any, options: AskOptions) -> Any:
        """Return the results of any decoder for texts."""

    @overload
    def embed(self: Sync, texts: str | list[str], **options: Unpack[TextOptions]) -> Vector: ...
    @overload
    def embed(self: Sync, texts: Iterator[str], **options: Unpack[TextOptions]) -> Iterator[Vector]: ...
    @overload
    def embed(self: Async, texts: str | list[str], **options: Unpack[TextOptions]) -> Coro[Vector]: ...
    @overload
    def embed(self: Async, texts: Texts[str], **options: Unpack[TextOptions]) -> AsyncIterator[Vector]: ...
    def embed(self, texts: Any, *, truncation: str | None = None, stride: int | None = None) -> Any:
        """Return the embedding of a text, pooled and normalized as described in the manifest.

        Args:
            texts: a text, a list of texts, or an iterator of texts.
            truncation: as for `entities`, but None means "error". The vectors of windows are averaged, weighted by the
                number of tokens that each window adds, and normalized again if `Manifest.normalized`.
            stride: as for `entities`.

        Returns:
            A float32 vector of shape ``[hidden_size]``; for a list, a matrix ``[len(texts), hidden_size]``.

        >>> embedder.embed(["wang", "in"]).shape
        (2, 2)
        """
        return self.ask(DECODERS["feature-extraction"], texts, AskOptions(truncation, stride))

    @overload
    def answer(self: Sync, question: str, context: str, **options: Unpack[AnswerOptions]) -> Answer: ...
    @overload
    def answer(
        self: Sync, question: list[str], context: list[str], **options: Unpack[AnswerOptions]
    ) -> list[Answer]: ...
    @overload
    def answer(
        self: Sync, question: Iterator[str], context: Iterator[str], **options: Unpack[AnswerOptions]
    ) -> Iterator[Answer]: ...
    @overload
    def answer(self: Async, question: str, context: str, **options: Unpack[AnswerOptions]) -> Coro[Answer]: ...
    @overload
    def answer(
        self: Async, question: list[str], context: list[str], **options: Unpack[AnswerOptions]
    ) -> Coro[list[Answer]]: ...
    @overload
    def answer(
        self: Async, question: Iterator[str], context: Iterator[str], **options: Unpack[AnswerOptions]
    ) -> AsyncIterator[Answer]: ...
    def answer(
        self,
        question: Any,
        context: Any,
        *,
        truncation: str | None = None,
        stride: int | None = None,
        max_answer_len: int = MAX_ANSWER_TOKENS,
        handle_impossible_answer: bool = False,
    ) -> Any:
        """Find the answer to a question in a context.

        Args:
            question: a question, a list of questions, or an iterator.
            context: a text that may contain the answer; a list or an iterator of texts, one for each question.
            truncation: as for `entities`; the context is split or truncated. None means "window".
            stride: as for `entities`.
            max_answer_len: maximum number of tokens of an answer.
            handle_impossible_answer: return an empty answer if "no answer" has the highest score; for models trained
                with unanswerable questions, as in SQuAD 2.0. `Answer.null_score` is always the score of "no answer".

        >>> reader.answer("wang", "lives in Berlin").text
        'Berlin'
        """
        decoder = answer_decoder(max_answer_len=max_answer_len, handle_impossible_answer=handle_impossible_answer)
        return self.ask(decoder, pair_up(question, context), AskOptions(truncation, stride))

    @overload
    def fill_mask(self: Sync, texts: str, **options: Unpack[MaskOptions]) -> list[list[Fill]]: ...
    @overload
    def fill_mask(self: Sync, texts: list[str], **options: Unpack[MaskOptions]) -> list[list[list[Fill]]]: ...
    @overload
    def fill_mask(self: Sync, texts: Iterator[str], **options: Unpack[MaskOptions]) -> Iterator[list[list[Fill]]]: ...
    @overload
    def fill_mask(self: Async, texts: str, **options: Unpack[MaskOptions]) -> Coro[list[list[Fill]]]: ...
    @overload
    def fill_mask(self: Async, texts: list[str], **options: Unpack[MaskOptions]) -> Coro[list[list[list[Fill]]]]: ...
    @overload
    def fill_mask(
        self: Async, texts: Texts[str], **options: Unpack[MaskOptions]
    ) -> AsyncIterator[list[list[Fill]]]: ...
    def fill_mask(
        self, texts: Any, *, truncation: str | None = None, stride: int | None = None, top_k: int | None = None
    ) -> Any:
        """Return the best tokens for each mask in a text; `Manifest.mask_token` is the mask.

        Args:
            texts: a text, a list of texts, or an iterator of texts.
            truncation: as for `entities`.
            stride: as for `entities`.
            top_k: number of tokens for each mask; None for all that the model returns.

        Returns:
            The most probable tokens for each mask, in order, best first.

        >>> filler.fill_mask("[MASK] lives", top_k=1)[0][0].text
        'wang lives'
        """
        return self.ask(fill_decoder(top_k=top_k), texts, AskOptions(truncation, stride))
