"""The sync client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bertbundle.client.connected_client import ConnectedClient
from bertbundle.client.thread_runner import ThreadRunner
from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import VersionStatus
from bertbundle.pipelines.pipeline import Pipeline
from bertbundle.transports.base import Transport
from bertbundle.transports.grpc import GrpcTransport

__all__ = ["Client"]


class Client(ConnectedClient[Transport]):
    """A client of one model, on one server or on several servers.

    It requests the model's manifest and tokenizer on first use, and again when another version responds. Use it as a
    context manager, or call `close`. Threads may share a client.

    Each method takes one text, a list or an iterator of texts, and returns one result, a list or an iterator. At most
    2048 texts of an iterator are in memory at a time. Texts are grouped into requests by length; results are in the
    order of the texts.

    >>> with Client(address, "tiny") as client:  # address = "localhost:8500"
    ...     client.entities("Wang lives in Berlin")
    [Entity(label='PER', text='Wang', start=0, end=4, score=0.54...), Entity(label='LOC', text='Berlin', ...)]
    """

    _open_transport = GrpcTransport
    _make_runner = ThreadRunner
    _runner: ThreadRunner

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; leaving the `with` block also closes it.

        >>> Client("localhost:8500", "ner").close()
        """
        self._runner.close()
        if self._rollout:
            self._rollout.close()

    def manifest(self) -> Manifest:
        """Return the model's manifest.

        Raises:
            ServerError: the server answered with an error.
            ManifestError: this version of bertbundle cannot read the manifest.

        >>> client.manifest().task
        'token-classification'
        """
        manifest: Manifest = self._runner.run(self._session.manifest())
        return manifest

    def status(self) -> list[VersionStatus]:
        """Return the state of each version of the model.

        Raises:
            ServerError: the server answered with an error.

        >>> client.status()[0].state
        'AVAILABLE'
        """
        return self._runner.status(self._session.settings.model)

    @classmethod
    def local(cls, path: str | Path, *, threads: int | None = None, **settings: Any) -> Client:
        """Create a client that runs a bundle in this process, without a server.

        It needs onnxruntime: ``pip install 'bertbundle[local]'``.

        Args:
            path: a version directory, or a model directory, whose newest version is used.
            threads: number of threads that compute; None for one per core. More threads than cores are much slower.
            settings: settings of `Client`.

        Raises:
            TypeError, ValueError: `threads` is not a whole number of at least 1.
            InputError: there is no bundle, or onnxruntime is not installed.

        >>> Client.local("models/pii").entities("My name is Alex Rivera.")  # doctest: +SKIP
        [Entity(label='GIVEN_NAME', text='Alex', start=11, end=15, score=0.99...), ...]
        """
        from bertbundle.transports.local import LocalTransport

        transport = LocalTransport(path, threads=threads)
        return cls("", transport.manifest.name, transport=transport, **{"concurrency": 1, **settings})

    def pipeline(self, task: str | None = None, **options: Any) -> Pipeline:
        """Return a callable like ``transformers.pipeline(task)``, for code that was written for one.

        Args:
            task: "ner" (or "token-classification"), "text-classification" (or "sentiment-analysis"),
                "question-answering", "fill-mask" or "feature-extraction"; None for the task in the manifest.
            options: options of that pipeline: `aggregation_strategy` ("none", "simple", "first", "average" or "max"),
                `ignore_labels`, `is_split_into_words`; `top_k`, `function_to_apply`; `max_answer_len`,
                `handle_impossible_answer`, `align_to_words`, `doc_stride`; `targets`; `return_tensors`; `stride` and
                `truncation` as for `entities`, or `truncation=True` for "truncate"; `head` as for `entities`.

        Raises:
            TypeError: the pipeline has no such option.
            ValueError: there is no such pipeline, or an option of transformers' pipeline is not supported.

        >>> client.pipeline("ner", aggregation_strategy="simple")("Wang lives")
        [{'entity_group': 'PER', 'score': 0.99..., 'word': 'wang', 'start': 0, 'end': 4}]
        """
        return Pipeline(self, task or self.manifest().task, **options)
