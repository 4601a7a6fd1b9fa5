"""The client: an address and a model name go in, text goes in, answers come out."""

from __future__ import annotations

import math
import time
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from bertbundle.errors import DeadlineExceeded, InvalidRequest, SignatureNotFound
from bertbundle.flows import Call, Flow, Session
from bertbundle.manifest import Manifest
from bertbundle.primitives import Answer, Classification, Entity, Fill, VersionStatus
from bertbundle.tokenizer import Text
from bertbundle.transport import GrpcTransport, Tls, Transport

__all__ = ["Client"]

T = TypeVar("T")


class Client:
    """A client of one model on one server.

    It asks the server for the model's manifest and tokenizer on first use, and again when another version answers.
    Use it as a context manager, or call `close`.

    >>> with Client("localhost:8500", "pii") as client:  # doctest: +SKIP
    ...     client.entities("My name is Alex Rivera.")
    [Entity(label='GIVEN_NAME', text='Alex', start=11, end=15, score=0.99...), ...]
    """

    def __init__(
        self,
        server: str,
        model: str,
        *,
        timeout: float = 30.0,
        tls: Tls | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Make a client; nothing is sent until the first question.

        Args:
            server: ``host:port`` of the gRPC port, or ``unix:path``.
            model: model name.
            timeout: seconds that one method call may take in all, however many requests it makes.
            tls: secure the connection with it; None for plain text.
            transport: use this connection instead of opening one to `server`.
        """
        if not 0 < timeout < math.inf:
            raise ValueError(f"timeout must be a positive number of seconds, got {timeout}")
        self._transport = transport or GrpcTransport(server, tls=tls)
        self._session = Session(model)
        self._timeout = timeout

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    @overload
    def entities(self, texts: str, *, truncation: str = ...) -> list[Entity]: ...
    @overload
    def entities(self, texts: list[str], *, truncation: str = ...) -> list[list[Entity]]: ...
    def entities(self, texts: str | list[str], *, truncation: str = "error") -> list[Entity] | list[list[Entity]]:
        """Find the entities of a text, or of each text of a list.

        Args:
            texts: a text, or a list of texts.
            truncation: for a text with more tokens than the model takes, "error" raises and "truncate" answers from
                its beginning only.

        Raises:
            InputError: an empty text or list, a text that is too long, or a model for another task.
            ServerError: what the server answered instead.
        """
        return self._ask("token-classification", texts, truncation)  # type: ignore[no-any-return]

    @overload
    def classify(self, texts: Text, *, truncation: str = ...) -> Classification: ...
    @overload
    def classify(self, texts: list[Text], *, truncation: str = ...) -> list[Classification]: ...
    def classify(self, texts: Text | list[Text], *, truncation: str = "error") -> Classification | list[Classification]:
        """Classify a text, a pair of texts (a tuple), or each of a list of those.

        Args:
            texts: a text, a pair of texts, or a list of either.
            truncation: as for `entities`; of a pair the longer text is cut.

        Raises:
            InputError: an empty text or list, a text that is too long, or a model for another task.
            ServerError: what the server answered instead.
        """
        return self._ask("text-classification", texts, truncation)  # type: ignore[no-any-return]

    def embed(self, texts: str | list[str], *, truncation: str = "error") -> npt.NDArray[np.float32]:
        """Embed a text, or each text of a list.

        Args:
            texts: a text, or a list of texts.
            truncation: as for `entities`.

        Returns:
            Float32 vectors of shape ``[hidden_size]`` for one text, ``[len(texts), hidden_size]`` for a list; pooled
            and normalised as `Manifest.pooling` and `Manifest.normalized` say.

        Raises:
            InputError: an empty text or list, a text that is too long, or a model for another task.
            ServerError: what the server answered instead.
        """
        answer = self._ask("feature-extraction", texts, truncation)
        return np.stack(answer) if isinstance(answer, list) else np.array(answer)

    @overload
    def regress(self, texts: Text, *, truncation: str = ...) -> float: ...
    @overload
    def regress(self, texts: list[Text], *, truncation: str = ...) -> list[float]: ...
    def regress(self, texts: Text | list[Text], *, truncation: str = "error") -> float | list[float]:
        """Return the value of a text or a pair of texts (a tuple), such as their similarity, or of each of a list.

        Args:
            texts: a text, a pair of texts, or a list of either.
            truncation: as for `classify`.

        Raises:
            InputError: an empty text or list, a text that is too long, or a model for another task.
            ServerError: what the server answered instead.
        """
        return self._ask("regression", texts, truncation)  # type: ignore[no-any-return]

    @overload
    def answer(self, question: str, context: str, *, truncation: str = ...) -> Answer: ...
    @overload
    def answer(self, question: list[str], context: list[str], *, truncation: str = ...) -> list[Answer]: ...
    def answer(
        self, question: str | list[str], context: str | list[str], *, truncation: str = "error"
    ) -> Answer | list[Answer]:
        """Find the answer to a question in a context, or to each question of a list in its context.

        Args:
            question: a question, or a list of questions.
            context: a text that holds the answer, or a list of such texts, one per question.
            truncation: as for `classify`.

        Raises:
            InputError: an empty text or list, a pair that is too long, or a model for another task.
            ServerError: what the server answered instead.
        """
        if isinstance(question, str) and isinstance(context, str):
            return self._ask("question-answering", (question, context), truncation)  # type: ignore[no-any-return]
        if not isinstance(question, list) or not isinstance(context, list) or len(question) != len(context):
            raise TypeError("question and context must be two str, or two lists of str of the same length")
        return self._ask("question-answering", list(zip(question, context, strict=True)), truncation)  # type: ignore[no-any-return]

    @overload
    def fill_mask(self, texts: str, *, truncation: str = ...) -> list[list[Fill]]: ...
    @overload
    def fill_mask(self, texts: list[str], *, truncation: str = ...) -> list[list[list[Fill]]]: ...
    def fill_mask(
        self, texts: str | list[str], *, truncation: str = "error"
    ) -> list[list[Fill]] | list[list[list[Fill]]]:
        """Offer tokens for each mask of a text, or of each text of a list; `Manifest.mask_token` is a mask.

        Args:
            texts: a text, or a list of texts.
            truncation: as for `entities`.

        Returns:
            For each mask of the text, in order, the likeliest tokens, best first; none for a text without a mask.

        Raises:
            InputError: an empty text or list, a text that is too long, or a model for another task.
            ServerError: what the server answered instead.
        """
        return self._ask("fill-mask", texts, truncation)  # type: ignore[no-any-return]

    def manifest(self) -> Manifest:
        """Return what the model says of itself.

        Raises:
            ServerError: what the server answered instead.
            ManifestError: a manifest this version of bertbundle cannot read.
        """
        return self._drive(self._session.manifest())

    def status(self) -> list[VersionStatus]:
        """Return the state of each version of the model.

        Raises:
            ServerError: what the server answered instead.
        """
        return self._transport.status(self._session.model, timeout=self._timeout)

    def _ask(self, task: str, texts: Any, truncation: str) -> Any:
        """Answer one text with one result, a list with a list."""
        if isinstance(texts, str | tuple):
            return self._drive(self._session.run(task, [texts], truncation=truncation))[0]
        if not isinstance(texts, list):
            raise TypeError(f"texts must be a str or a list of str, got {type(texts).__name__}")
        return self._drive(self._session.run(task, texts, truncation=truncation))

    def _drive(self, flow: Flow[T]) -> T:
        """Make the calls that a flow asks for, all of them within one timeout."""
        deadline = time.monotonic() + self._timeout
        try:
            call = next(flow)
            while True:
                call = self._step(flow, call, self._left(deadline))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def _step(self, flow: Flow[T], call: Call, timeout: float) -> Call:
        """Make one call and hand the flow its answer, or a refusal that it may know what to do about."""
        try:
            prediction = self._transport.predict(
                self._session.model, call.signature, call.inputs, outputs=call.outputs, timeout=timeout
            )
        except (InvalidRequest, SignatureNotFound) as error:
            return flow.throw(error)
        return flow.send(prediction)

    def _left(self, deadline: float) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(
                f"no answer within {self._timeout} s. Raise the timeout, or send fewer texts at once.",
                code="DEADLINE_EXCEEDED",
            )
        return left
