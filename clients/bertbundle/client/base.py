"""The methods of both clients, one per task."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeAlias, TypeVar, overload

from bertbundle.client.arguments import (
    AnswerOptions,
    Coro,
    LabelOptions,
    MaskOptions,
    TextOptions,
    Texts,
    Vector,
    WordOptions,
    pair_up,
)
from bertbundle.contract.types import Answer, Classification, Entity, Fill
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
from bertbundle.session.session import Session
from bertbundle.session.version_agreement import TEXTS_PER_CHUNK, answer_many, answer_one
from bertbundle.text.tokenizer import AnyText, Text
from bertbundle.transports.base import AsyncTransport, Transport

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["BaseClient"]

TransportT = TypeVar("TransportT")
Sync: TypeAlias = "BaseClient[Transport]"
Async: TypeAlias = "BaseClient[AsyncTransport]"


class BaseClient(Generic[TransportT]):
    """The methods of `Client` and `AsyncClient`: a session has the logic, and a runner does the I/O.

    Each method takes one text, a list or an iterator of texts, and returns one result, a list or an iterator. The
    methods of `AsyncClient` return coroutines and async iterators. All methods raise the errors of `entities`.
    """

    def __init__(self, session: Session, runner: Any) -> None:
        """Combine a session with a `ThreadRunner` or an `AsyncioRunner`."""
        self._session = session
        self._runner = runner

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled: create one in each process")

    def ask(self, decoder: Decoder, texts: Any, options: AskOptions) -> Any:
        """Return the results of any decoder for texts; used by the pipelines and the command-line program.

        >>> client.ask(DECODERS["token-classification"], "Wang lives", AskOptions())[0].label
        'PER'
        """
        if _is_single(texts, options):
            return self._runner.run(answer_one(self._session, decoder, texts, options))
        if isinstance(texts, list):
            return self._runner.run(answer_many(self._session, decoder, texts, options))
        if isinstance(texts, Iterator | AsyncIterable):
            return self._runner.stream(
                texts, TEXTS_PER_CHUNK, lambda chunk: answer_many(self._session, decoder, chunk, options)
            )
        raise TypeError(f"texts must be a str, a list or an iterator of str, got {type(texts).__name__}: {texts!r:.60}")

    @overload
    def entities(self: Sync, texts: str, **options: Unpack[TextOptions]) -> list[Entity]: ...
    @overload
    def entities(self: Sync, texts: list[str], **options: Unpack[TextOptions]) -> list[list[Entity]]: ...
    @overload
    def entities(self: Sync, texts: Iterator[str], **options: Unpack[TextOptions]) -> Iterator[list[Entity]]: ...
    @overload
    def entities(self: Sync, texts: list[str], **options: Unpack[WordOptions]) -> list[Entity]: ...
    @overload
    def entities(self: Sync, texts: list[list[str]], **options: Unpack[WordOptions]) -> list[list[Entity]]: ...
    @overload
    def entities(self: Sync, texts: Iterator[list[str]], **options: Unpack[WordOptions]) -> Iterator[list[Entity]]: ...
    @overload
    def entities(self: Async, texts: str, **options: Unpack[TextOptions]) -> Coro[list[Entity]]: ...
    @overload
    def entities(self: Async, texts: list[str], **options: Unpack[TextOptions]) -> Coro[list[list[Entity]]]: ...
    @overload
    def entities(self: Async, texts: Texts[str], **options: Unpack[TextOptions]) -> AsyncIterator[list[Entity]]: ...
    @overload
    def entities(self: Async, texts: list[str], **options: Unpack[WordOptions]) -> Coro[list[Entity]]: ...
    @overload
    def entities(self: Async, texts: list[list[str]], **options: Unpack[WordOptions]) -> Coro[list[list[Entity]]]: ...
    @overload
    def entities(
        self: Async, texts: Texts[list[str]], **options: Unpack[WordOptions]
    ) -> AsyncIterator[list[Entity]]: ...
    def entities(
        self, texts: Any, *, truncation: str | None = None, stride: int | None = None, is_split_into_words: bool = False
    ) -> Any:
        """Find the entities in a text.

        Args:
            texts: a text, a list of texts, or an iterator of texts.
            truncation: what to do if a text has more tokens than the model accepts: "window" splits it into overlapping
                windows and merges their outputs, "truncate" drops the tokens at its end, "error" raises an error.
                None means "window".
            stride: number of tokens that adjacent windows share; None for a quarter of a window.
            is_split_into_words: each text is a list of words. Offsets refer to the words joined by single spaces.

        Returns:
            The entities of the text by their start, the longer one first: one list for each text of a list or an
            iterator. Those of span classification may be nested; more than the bundle returns are an `InputError`.

        Raises:
            InputError: a text or the list is empty, or the model is for another task. `TextTooLong` with "error".
            ServerError: the server answered with an error.

        >>> client.entities("Wang lives in Berlin")[0]
        Entity(label='PER', text='Wang', start=0, end=4, score=0.54...)
        """
        return self.ask(DECODERS["token-classification"], texts, AskOptions(truncation, stride, is_split_into_words))

    @overload
    def classify(self: Sync, texts: Text, **options: Unpack[LabelOptions]) -> Classification: ...
    @overload
    def classify(self: Sync, texts: list[AnyText], **options: Unpack[LabelOptions]) -> list[Classification]: ...
    @overload
    def classify(self: Sync, texts: Iterator[Text], **options: Unpack[LabelOptions]) -> Iterator[Classification]: ...
    @overload
    def classify(self: Async, texts: Text, **options: Unpack[LabelOptions]) -> Coro[Classification]: ...
    @overload
    def classify(self: Async, texts: list[AnyText], **options: Unpack[LabelOptions]) -> Coro[list[Classification]]: ...
    @overload
    def classify(self: Async, texts: Texts[Text], **options: Unpack[LabelOptions]) -> AsyncIterator[Classification]: ...
    def classify(
        self,
        texts: Any,
        *,
        truncation: str | None = None,
        stride: int | None = None,
        top_k: int | None = None,
        threshold: float = DEFAULT_THRESHOLD,
    ) -> Any:
        """Classify a text or a pair of texts (a tuple).

        Args:
            texts: a text or a pair, a list of them, or an iterator.
            truncation: as for `entities`; the longer text of a pair is split or truncated. None means "error". The
                scores of windows are averaged, weighted by the number of tokens that each window adds.
            stride: as for `entities`.
            top_k: number of labels in `Classification.scores`; None for all.
            threshold: minimum score of a predicted label of a multi-label model.

        >>> classifier.classify("wang", top_k=2).scores
        {'perhaps': 0.75, 'yes': 0.5}
        """
        decoder = classification_decoder(top_k=top_k, threshold=threshold)
        return self.ask(decoder, texts, AskOptions(truncation, stride))

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
    def regress(self: Sync, texts: Text, **options: Unpack[TextOptions]) -> float: ...
    @overload
    def regress(self: Sync, texts: list[AnyText], **options: Unpack[TextOptions]) -> list[float]: ...
    @overload
    def regress(self: Sync, texts: Iterator[Text], **options: Unpack[TextOptions]) -> Iterator[float]: ...
    @overload
    def regress(self: Async, texts: Text, **options: Unpack[TextOptions]) -> Coro[float]: ...
    @overload
    def regress(self: Async, texts: list[AnyText], **options: Unpack[TextOptions]) -> Coro[list[float]]: ...
    @overload
    def regress(self: Async, texts: Texts[Text], **options: Unpack[TextOptions]) -> AsyncIterator[float]: ...
    def regress(self, texts: Any, *, truncation: str | None = None, stride: int | None = None) -> Any:
        """Return the value of a text or a pair of texts (a tuple), for example their similarity.

        Args:
            texts: a text or a pair, a list of them, or an iterator.
            truncation: as for `classify`.
            stride: as for `entities`.

        >>> regressor.regress(("wang", "in Berlin"))
        4.0
        """
        return self.ask(DECODERS["regression"], texts, AskOptions(truncation, stride))

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


def _is_single(texts: Any, options: AskOptions) -> bool:
    if options.is_split_into_words:
        return isinstance(texts, list) and bool(texts) and isinstance(texts[0], str)
    return isinstance(texts, str | tuple)
