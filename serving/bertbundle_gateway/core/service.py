"""The service behind all text APIs: texts in, results of the client's types out, with an error for each bad text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bertbundle import (
    AsyncClient,
    BertBundleError,
    InputError,
    InvalidRequest,
    Manifest,
    PredictCall,
    Prediction,
    SignatureNotFound,
    VersionStatus,
)
from bertbundle.decoding.base import Decoder
from bertbundle.session.batches import AskOptions
from bertbundle.session.version_agreement import WrongKindOfText
from bertbundle_gateway.core.errors import RequestError, item_error, request_error
from bertbundle_gateway.core.limits import Gate, Limits
from bertbundle_gateway.core.methods import METHOD_OF_TASK, Method, Options, check_items, find_method, prepare
from bertbundle_gateway.core.metrics import GatewayMetrics
from bertbundle_gateway.core.models import ModelRef, Models
from bertbundle_gateway.core.probes import Probes, answering_version
from bertbundle_gateway.core.request_observer import RequestObserver

__all__ = ["ModelInfo", "Results", "TextService"]

_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known about a model.

    Attributes:
        name: the name under which it is served.
        manifest: its manifest: task, labels, lengths, heads, ...
        versions: the state of each of its versions.
        method: the name in `METHODS` of the method that answers its task; "" if this version of bertbundle has none.
    """

    name: str
    manifest: Manifest
    versions: Sequence[VersionStatus]
    method: str


class Results(list[Any]):
    """The results of a request.

    Attributes:
        version: the version of the model that computed them all.
    """

    def __init__(self, results: Iterable[Any], version: int) -> None:
        """Store the results of a version."""
        super().__init__(results)
        self.version = version


class TextService:
    """Answers texts with models. It belongs to one event loop, and has no state but connections and tokenizers.

    Attributes:
        probes: whether the models are ready.
        timeout: seconds for a request whose caller has no deadline.

    >>> results = await service.annotate(ModelRef("ner"), "entities", ["Wang lives in Berlin", ""])
    >>> results[0][0].label, results[1].reason
    ('PER', 'EMPTY_TEXT')
    """

    def __init__(
        self,
        models: Models,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        *,
        log_requests: bool = False,
        metrics: GatewayMetrics | None = None,
    ) -> None:
        """Answer with models, within limits.

        Args:
            models: the models.
            limits: limits on requests.
            log_requests: whether to log a line for each request, never with its texts.
            metrics: count the requests; None for no metrics.
        """
        self.probes = Probes(models)
        self.timeout = models.timeout
        self._models = models
        self._limits = limits
        self._observer = RequestObserver(metrics, log_requests=log_requests)
        self._gate = Gate(limits.requests)
        if metrics is not None:
            metrics.watch(self._gate)

    @property
    def limits(self) -> Limits:
        """The limits on requests."""
        return self._limits

    async def annotate(
        self,
        ref: ModelRef,
        method: str,
        items: Sequence[Any],
        options: Options = Options(),  # noqa: B008 - frozen
        *,
        timeout: float | None = None,
    ) -> Results:
        """Return the result of each item, or an `ItemError` in its place; all results are of one version of the model.

        Args:
            ref: the model.
            method: a name in `METHODS`: entities, classify, regress, embed, answer, fill_mask or heads.
            items: texts: each a str, a pair (tuple of two str: for `answer`, question and context), or a list of words
                with `is_split_into_words`. An invalid text is an `ItemError` and does not fail the others.
            options: options of the method.
            timeout: seconds after which the request fails; None for the time that the clients have.

        Returns:
            For each item what the client's method of the same name returns: a list of `Entity`, a `Classification`, a
            float, a float32 vector ``[hidden_size]``, an `Answer`, a list of lists of `Fill`, or a dict by head.

        Raises:
            RequestError: the whole request is wrong, or the model cannot answer.
        """
        chosen = find_method(method)
        with self._observer.observe(ref, method, len(items), failures_only=True):
            check_items(chosen, items[: self._limits.texts], options)  # `ask` refuses more, however many they are
            decoder, ask_options = prepare(chosen, options)
        return await self.ask(ref, method, items, decoder, ask_options, timeout=timeout)

    async def ask(
        self,
        ref: ModelRef,
        method: str,
        items: Sequence[Any],
        decoder: Decoder,
        options: AskOptions,
        *,
        timeout: float | None = None,
    ) -> Results:
        """Return the result of each item with a decoder of the caller's choice, such as that of a pipeline.

        Args:
            ref: the model.
            method: the name in `METHODS` of the method whose tasks the decoder is for.
            items: as for `annotate`, and already of the right kind.
            decoder: decodes the outputs; its `gather` is `list`.
            options: options of `BaseClient.ask`, with `keep_errors`.
            timeout: as for `annotate`.

        Raises:
            RequestError: as for `annotate`.
        """
        with self._observer.observe(ref, method, len(items)), self._gate.admit():
            self._limits.check(items)
            client, options = self._models.client(ref), replace(options, max_rows=self._limits.rows)
            try:
                if method == "fill_mask":
                    self._limits.check_fills(items, await _within(client.manifest(), timeout))
                version, results = await _within(client.ask_with_version(decoder, list(items), options), timeout)
            except (BertBundleError, WrongKindOfText) as error:
                raise await self._explain(error, ref, client, find_method(method), options.head) from error
        answers = (
            item_error(result, item) if isinstance(result, InputError) else result
            for result, item in zip(results, items, strict=True)
        )
        return Results(answers, version)

    async def describe(self, ref: ModelRef, *, timeout: float | None = None) -> ModelInfo:
        """Return what is known about a model.

        Raises:
            RequestError: there is no such model, or its server cannot be reached.
        """
        with self._observer.observe(ref, "describe"), self._gate.admit():
            client = self._models.client(ref)
            try:
                versions = await _within(client.status(), timeout)
                if client.loaded_version not in (None, answering_version(versions, ref)):
                    client = self._models.renewed_client(ref)  # what the other one knows may be of an old version
                manifest = await _within(client.manifest(), timeout)
            except BertBundleError as error:
                raise self._failed(error, ref) from error
        return ModelInfo(ref.name, manifest, versions, METHOD_OF_TASK.get(manifest.task, ""))

    async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
        """Make one call with tensors, without retries, and never together with those of others.

        The model may be any, not only a bundle: whether the rows of its tensors are independent is not known here.

        Raises:
            RequestError: the call failed; its message has that of the server if the tensors are wrong.
        """
        ref = ModelRef.of_call(call)
        with self._observer.observe(ref, "predict"), self._gate.admit():
            try:
                predicting = self._models.transport(ref, batches=False).predict(call, timeout=timeout)
                prediction: Prediction = await _within(predicting, timeout)
            except (InvalidRequest, SignatureNotFound) as error:
                raise RequestError("INVALID_ARGUMENT", "INVALID_TENSORS", error.details or str(error)) from error
            except BertBundleError as error:
                raise self._failed(error, ref) from error
        return prediction

    async def manifest(self, ref: ModelRef, *, timeout: float | None = None) -> Manifest:
        """Return the manifest of a model: that of its last request, or requested now.

        It is the first step of other requests, and so recorded as a request only if it fails.

        Raises:
            RequestError: there is no such model, or its server cannot be reached.
        """
        with self._observer.observe(ref, "describe", failures_only=True):
            client = self._models.client(ref)
            try:
                manifest: Manifest = await _within(client.manifest(), timeout)
            except BertBundleError as error:
                raise self._failed(error, ref) from error
        return manifest

    def models(self) -> list[str]:
        """Return the names of the models that are configured or have answered, sorted."""
        return self._models.names()

    async def wait_until_idle(self, seconds: float) -> None:
        """Wait up to `seconds` for requests in flight."""
        end = time.monotonic() + seconds
        while self._gate.in_flight and time.monotonic() < end:
            await asyncio.sleep(_POLL_SECONDS)

    async def close(self) -> None:
        """Close all connections."""
        await self._models.close()

    def _failed(self, error: BertBundleError, ref: ModelRef) -> RequestError:
        failed = request_error(error, str(ref))
        if failed.code == "NOT_FOUND":
            self._models.forget(ref)
        return failed

    async def _explain(
        self,
        error: BertBundleError | WrongKindOfText,
        ref: ModelRef,
        client: AsyncClient,
        method: Method,
        chosen_head: str | None,
    ) -> RequestError:
        """Return the error of a request that failed: a client's error about the task says which method is right."""
        if isinstance(error, WrongKindOfText):  # the heads of the model do not all take pairs
            return RequestError("INVALID_ARGUMENT", "WRONG_KIND_OF_ITEM", f"{ref} takes single texts only.")
        if not isinstance(error, InputError):
            return self._failed(error, ref)
        manifest = await client.manifest()
        head = manifest.heads.get(chosen_head or "")
        task = head.task if head else manifest.task
        if task in method.tasks or (not head and any(item.task in method.tasks for item in manifest.heads.values())):
            return request_error(error, str(ref))
        return _wrong_task(ref, method, task, chosen_head if head else None)


def _wrong_task(ref: ModelRef, method: Method, task: str, head: str | None) -> RequestError:
    subject = f"The head {head!r:.80} of {ref}" if head else str(ref)[:1].upper() + str(ref)[1:]
    return RequestError(
        "FAILED_PRECONDITION",
        "WRONG_TASK",
        f"{subject} is for {task}, the method {method.name} needs a model for {' or '.join(method.tasks)}.",
        right_method=METHOD_OF_TASK.get(task, ""),
        metadata={"model": ref.name, "task": task, "method": METHOD_OF_TASK.get(task, "")},
    )


async def _within(awaitable: Any, timeout: float | None) -> Any:
    """Await something for at most `timeout` seconds.

    Raises:
        RequestError: DEADLINE_EXCEEDED.
    """
    try:
        return await asyncio.wait_for(awaitable, timeout)
    except asyncio.TimeoutError as error:
        raise RequestError(
            "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", "No answer within the deadline of the request."
        ) from error
