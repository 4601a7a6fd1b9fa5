"""The methods of both clients, one per task."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, overload

from bertbundle.client.arguments import Coro, HeadOptions, LabelOptions, TextOptions, Texts, WordOptions
from bertbundle.client.rollout import Rollout
from bertbundle.client.single_task import SingleTaskMethods, TransportT
from bertbundle.contract.heads import MULTI_TASK
from bertbundle.contract.types import Classification, Entity
from bertbundle.decoding.base import Decoder
from bertbundle.decoding.decoders import DECODERS, DEFAULT_THRESHOLD, classification_decoder
from bertbundle.session.batches import AskOptions
from bertbundle.session.session import Session
from bertbundle.session.version_agreement import TEXTS_PER_CHUNK, answer_many, answer_one, answer_with_one_version
from bertbundle.text.tokenizer import AnyText, Text
from bertbundle.transports.base import AsyncTransport, Transport

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["BaseClient"]

Sync: TypeAlias = "BaseClient[Transport]"
Async: TypeAlias = "BaseClient[AsyncTransport]"


class BaseClient(SingleTaskMethods[TransportT]):
    """The methods of `Client` and `AsyncClient`: a session has the logic, and a runner does the I/O.

    Each method takes one text, a list or an iterator of texts, and returns one result, a list or an iterator. The
    methods of `AsyncClient` return coroutines and async iterators. All methods raise the errors of `entities`.
    """

    def __init__(self, session: Session, runner: Any) -> None:
        """Combine a session with a `ThreadRunner` or an `AsyncioRunner`."""
        self._session = session
        self._runner = runner
        self._rollout: Rollout | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled: create one in each process")

    def ask(self, decoder: Decoder, texts: Any, options: AskOptions) -> Any:
        """Return the results of any decoder for texts; used by the pipelines and the command-line program.

        >>> client.ask(DECODERS["token-classification"], "Wang lives", AskOptions())[0].label
        'PER'
        """
        one, many = self._rollout.choose() if self._rollout else (answer_one, answer_many)
        if _is_single(texts, options):
            return self._runner.run(one(self._session, decoder, texts, options), texts)
        if isinstance(texts, list):
            return self._runner.run(many(self._session, decoder, texts, options), texts)
        if isinstance(texts, Iterator | AsyncIterable):
            return self._runner.stream(
                texts, TEXTS_PER_CHUNK, lambda chunk: many(self._session, decoder, chunk, options)
            )
        raise TypeError(f"texts must be a str, a list or an iterator of str, got {type(texts).__name__}: {texts!r:.60}")

    def ask_with_version(self, decoder: Decoder, texts: list[Any], options: AskOptions) -> Any:
        """Return the version that answered, and its results, as a list; used by the gateway.

        >>> client.ask_with_version(DECODERS["token-classification"], ["Wang lives"], AskOptions())[0]
        1
        """
        return self._runner.run(answer_with_one_version(self._session, decoder, texts, options), texts)

    @property
    def loaded_version(self) -> int | None:
        """The version whose manifest is loaded; None before the first request. Used by the gateway.

        >>> labels = client.manifest().labels
        >>> client.loaded_version
        1
        """
        return self._session.loaded.version if self._session.loaded else None

    @overload
    def entities(self: Sync, texts: str, **options: Unpack[HeadOptions]) -> list[Entity]: ...
    @overload
    def entities(self: Sync, texts: list[str], **options: Unpack[HeadOptions]) -> list[list[Entity]]: ...
    @overload
    def entities(self: Sync, texts: Iterator[str], **options: Unpack[HeadOptions]) -> Iterator[list[Entity]]: ...
    @overload
    def entities(self: Sync, texts: list[str], **options: Unpack[WordOptions]) -> list[Entity]: ...
    @overload
    def entities(self: Sync, texts: list[list[str]], **options: Unpack[WordOptions]) -> list[list[Entity]]: ...
    @overload
    def entities(self: Sync, texts: Iterator[list[str]], **options: Unpack[WordOptions]) -> Iterator[list[Entity]]: ...
    @overload
    def entities(self: Async, texts: str, **options: Unpack[HeadOptions]) -> Coro[list[Entity]]: ...
    @overload
    def entities(self: Async, texts: list[str], **options: Unpack[HeadOptions]) -> Coro[list[list[Entity]]]: ...
    @overload
    def entities(self: Async, texts: Texts[str], **options: Unpack[HeadOptions]) -> AsyncIterator[list[Entity]]: ...
    @overload
    def entities(self: Async, texts: list[str], **options: Unpack[WordOptions]) -> Coro[list[Entity]]: ...
    @overload
    def entities(self: Async, texts: list[list[str]], **options: Unpack[WordOptions]) -> Coro[list[list[Entity]]]: ...
    @overload
    def entities(
        self: Async, texts: Texts[list[str]], **options: Unpack[WordOptions]
    ) -> AsyncIterator[list[Entity]]: ...
    def entities(
        self,
        texts: Any,
        *,
        truncation: str | None = None,
        stride: int | None = None,
        is_split_into_words: bool = False,
        head: str | None = None,
    ) -> Any:
        """Find the entities in a text.

        Args:
            texts: a text, a list of texts, or an iterator of texts.
            truncation: what to do if a text has more tokens than the model accepts: "window" splits it into overlapping
                windows and merges their outputs, "truncate" drops the tokens at its end, "error" raises an error.
                None means "window".
            stride: number of tokens that adjacent windows share; None for a quarter of a window.
            is_split_into_words: each text is a list of words. Offsets refer to the words joined by single spaces.
            head: which head answers, if the model has several for this task.

        Returns:
            The entities of the text by their start, the longer one first: one list for each text of a list or an
            iterator. Those of span classification may be nested; more than the bundle returns are an `InputError`.

        Raises:
            InputError: a text or the list is empty, or the model is for another task. `TextTooLong` with "error".
            ServerError: the server answered with an error.

        >>> client.entities("Wang lives in Berlin")[0]
        Entity(label='PER', text='Wang', start=0, end=4, score=0.54...)
        """
        options = AskOptions(truncation, stride, is_split_into_words, head)
        return self.ask(DECODERS["token-classification"], texts, options)

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
        head: str | None = None,
    ) -> Any:
        """Classify a text or a pair of texts (a tuple).

        Args:
            texts: a text or a pair, a list of them, or an iterator.
            truncation: as for `entities`; the longer text of a pair is split or truncated. None means "error". The
                scores of windows are averaged, weighted by the number of tokens that each window adds.
            stride: as for `entities`.
            top_k: number of labels in `Classification.scores`; None for all.
            threshold: minimum score of a predicted label of a multi-label model.
            head: as for `entities`.

        >>> classifier.classify("wang", top_k=2).scores
        {'perhaps': 0.75, 'yes': 0.5}
        """
        decoder = classification_decoder(top_k=top_k, threshold=threshold)
        return self.ask(decoder, texts, AskOptions(truncation, stride, head=head))

    @overload
    def regress(self: Sync, texts: Text, **options: Unpack[HeadOptions]) -> float: ...
    @overload
    def regress(self: Sync, texts: list[AnyText], **options: Unpack[HeadOptions]) -> list[float]: ...
    @overload
    def regress(self: Sync, texts: Iterator[Text], **options: Unpack[HeadOptions]) -> Iterator[float]: ...
    @overload
    def regress(self: Async, texts: Text, **options: Unpack[HeadOptions]) -> Coro[float]: ...
    @overload
    def regress(self: Async, texts: list[AnyText], **options: Unpack[HeadOptions]) -> Coro[list[float]]: ...
    @overload
    def regress(self: Async, texts: Texts[Text], **options: Unpack[HeadOptions]) -> AsyncIterator[float]: ...
    def regress(
        self, texts: Any, *, truncation: str | None = None, stride: int | None = None, head: str | None = None
    ) -> Any:
        """Return the value of a text or a pair of texts (a tuple), for example their similarity.

        Args:
            texts: a text or a pair, a list of them, or an iterator.
            truncation: as for `classify`.
            stride: as for `entities`.
            head: as for `entities`.

        >>> regressor.regress(("wang", "in Berlin"))
        4.0
        """
        return self.ask(DECODERS["regression"], texts, AskOptions(truncation, stride, head=head))

    @overload
    def heads(self: Sync, texts: Text, **options: Unpack[TextOptions]) -> dict[str, Any]: ...
    @overload
    def heads(self: Sync, texts: list[AnyText], **options: Unpack[TextOptions]) -> list[dict[str, Any]]: ...
    @overload
    def heads(self: Sync, texts: Iterator[Text], **options: Unpack[TextOptions]) -> Iterator[dict[str, Any]]: ...
    @overload
    def heads(self: Async, texts: Text, **options: Unpack[TextOptions]) -> Coro[dict[str, Any]]: ...
    @overload
    def heads(self: Async, texts: list[AnyText], **options: Unpack[TextOptions]) -> Coro[list[dict[str, Any]]]: ...
    @overload
    def heads(self: Async, texts: Texts[Text], **options: Unpack[TextOptions]) -> AsyncIterator[dict[str, Any]]: ...
    def heads(self, texts: Any, *, truncation: str | None = None, stride: int | None = None) -> Any:
        """Return the results of all heads of a model that has several, from one pass through its encoder.

        Args:
            texts: a text, a list of texts, or an iterator of texts; or pairs, if all heads take pairs.
            truncation: as for `entities`. None means "error", or "window" if all heads find entities. The outputs of
                windows are merged for each head as by its own method.
            stride: as for `entities`.

        Returns:
            The result of each head by name, as its own method returns it: a list of `Entity`, a `Classification` or a
            float.

        >>> joint.heads("wang lives")["intent"].label
        'perhaps'
        """
        return self.ask(DECODERS[MULTI_TASK], texts, AskOptions(truncation, stride))


def _is_single(texts: Any, options: AskOptions) -> bool:
    if options.is_split_into_words:
        return isinstance(texts, list) and bool(texts) and isinstance(texts[0], str)
    return isinstance(texts, str | tuple)
