"""The client: an address and a model name go in, text goes in, answers come out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertbundle.client.questions import Questions
from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import VersionStatus
from bertbundle.pipelines.pipeline import Pipeline
from bertbundle.session.retries import Retries
from bertbundle.transports.channels import Tls, Token
from bertbundle.transports.grpc import GrpcTransport, Transport

__all__ = ["Client"]


class Client(Questions):
    """A client of one model on one server, or on several that serve the same.

    It asks the server for the model's manifest and tokenizer on first use, and again when another version answers.
    Use it as a context manager, or call `close`. It may be used from several threads.

    Each method takes one text, a list of texts, or an iterator of texts, and gives one result, a list, or an iterator:
    of an iterator a bounded number of texts is held at a time. Texts are sorted into the model's lengths, and the
    results come in the order of the texts.

    >>> with Client(address, "tiny") as client:  # address = "localhost:8500"
    ...     client.entities("Wang lives in Berlin")
    [Entity(label='PER', text='Wang', start=0, end=4, score=0.54...), Entity(label='LOC', text='Berlin', ...)]
    """

    def __init__(
        self,
        server: str,
        model: str,
        *,
        timeout: float = 30.0,
        call_timeout: float | None = None,
        hedge_after: float | None = None,
        concurrency: int = 4,
        rows_per_call: int = 32,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        tls: Tls | None = None,
        token: Token | None = None,
        metadata: Mapping[str, str] | None = None,
        compression: str = "none",
        transport: Transport | None = None,
        manifest: Manifest | None = None,
        tokenizer: str | Path | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Make a client; nothing is sent until the first question.

        Args:
            server: ``host:port`` of the gRPC port, ``unix:path``, or several of them with commas; calls go round them,
                and round all servers that a name stands for.
            model: model name.
            timeout: seconds that one method call may take in all, however many requests it makes; of an iterator, that
                each 2048 texts may take.
            call_timeout: seconds that one request may take; None for what is left of `timeout`.
            hedge_after: seconds after which a request without an answer is made once more, at the next address; the
                first answer counts, and the other request is cancelled. Each costs one of the budget of `retries`. None
                for never. A good value is the latency that 95 % of requests stay under. Comes on top of `concurrency`.
            concurrency: most requests in flight at a time.
            rows_per_call: most rows of a request.
            retries: when a request is made again.
            tls: secure the connection with it; None for plain text.
            token: bearer token, or a function that returns the one of the moment.
            metadata: sent with each request.
            compression: "none", "gzip" or "deflate" for requests.
            transport: use this connection instead of opening one to `server`.
            manifest: what the model is, if it is no bundle and cannot say; see `foreign_manifest`.
            tokenizer: its tokenizer.json, or the directory that has it.
            names: what that model calls its signature, inputs and outputs: ``{"input_ids": "input_word_ids"}``.
        """
        super().__init__(
            model,
            transport or GrpcTransport(server, tls=tls, token=token, metadata=metadata, compression=compression),
            timeout=timeout,
            call_timeout=call_timeout,
            hedge_after=hedge_after,
            concurrency=concurrency,
            rows_per_call=rows_per_call,
            retries=retries,
            manifest=manifest,
            tokenizer=tokenizer,
            names=names,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def manifest(self) -> Manifest:
        """Return what the model says of itself.

        Raises:
            ServerError: what the server answered instead.
            ManifestError: a manifest this version of bertbundle cannot read.

        >>> client.manifest().task
        'token-classification'
        """
        manifest: Manifest = self._run(self._session.manifest())
        return manifest

    @classmethod
    def local(cls, path: str | Path, **settings: Any) -> Client:
        """Open a bundle directory in this process, without a server; needs onnxruntime (``bertbundle[local]``).

        Args:
            path: a version directory, or the directory of a model's versions.
            settings: as for `Client`.

        Raises:
            InputError: no bundle there, or onnxruntime is not installed.

        >>> Client.local("models/pii").entities("My name is Alex Rivera.")  # doctest: +SKIP
        [Entity(label='GIVEN_NAME', text='Alex', start=11, end=15, score=0.99...), ...]
        """
        from bertbundle.transports.local import LocalTransport

        transport = LocalTransport(path)
        return cls("", transport.manifest.name, transport=transport, **{"concurrency": 1, **settings})

    def pipeline(self, task: str | None = None, **options: Any) -> Pipeline:
        """Return a callable like ``transformers.pipeline(task)``, so that code written for one runs unchanged.

        Args:
            task: "ner" (or "token-classification"), "text-classification" (or "sentiment-analysis"),
                "question-answering", "fill-mask" or "feature-extraction"; None asks the server for the model's.
            options: of that pipeline: `aggregation_strategy` ("none", "simple", "first", "average" or "max"),
                `ignore_labels`, `is_split_into_words`; `top_k`, `function_to_apply`; `max_answer_len`,
                `handle_impossible_answer`, `align_to_words`, `doc_stride`; `targets`; `return_tensors`; `stride` and
                `truncation` as for `entities`, or `truncation=True` for "truncate".

        Raises:
            TypeError: an option that the pipeline does not have.
            ValueError: no such pipeline, or an option that a served bundle cannot honour.

        >>> client.pipeline("ner", aggregation_strategy="simple")("Wang lives")
        [{'entity_group': 'PER', 'score': 0.99..., 'word': 'wang', 'start': 0, 'end': 4}]
        """
        return Pipeline(self, task or self.manifest().task, **options)

    def status(self) -> list[VersionStatus]:
        """Return the state of each version of the model.

        Raises:
            ServerError: what the server answered instead.

        >>> client.status()[0].state
        'AVAILABLE'
        """
        with self._lifetime.use():
            return self._transport.status(self._session.model, timeout=self._timeout)
