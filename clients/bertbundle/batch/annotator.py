"""A callable over Arrow batches that any engine can send to its workers."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bertbundle._shared.validation import check_counts, check_seconds
from bertbundle.batch.connection import BundleIdentity, Connection
from bertbundle.batch.decoder_choice import DecoderOptions, choose_decoder
from bertbundle.batch.results import ERROR_COLUMN, RESULT_DICTS, arrow_columns, arrow_fields
from bertbundle.batch.rows import RowColumns, name_option, reject_reason, result_name_problem, text_or_error
from bertbundle.batch.store import absolute
from bertbundle.contract.manifest import Manifest
from bertbundle.data.arrow_values import python_values
from bertbundle.data.row_files import import_pyarrow
from bertbundle.decoding.base import Decoder
from bertbundle.errors import DeadlineExceeded, InputError, Overloaded, ServerUnavailable
from bertbundle.session.batches import AskOptions
from bertbundle.session.retries import Retries
from bertbundle.session.version_agreement import TEXTS_PER_CHUNK
from bertbundle.transports.credentials import Tls, Token

__all__ = ["Annotator"]

_TEMPORARY = (ServerUnavailable, Overloaded, DeadlineExceeded)
_PAUSES = Retries(first_pause=2.0, longest_pause=30.0)


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """Answers the texts of Arrow batches: ``annotator(batch)`` is the batch with the results as typed columns.

    It is picklable, and opens one client per process on first use. Texts are grouped by length inside of a batch, so
    large batches waste less computation on padding. A row without an answer has the reason in the column ``error``.

    Attributes:
        bundle: directory of a bundle, to run in the process of the worker (``bertbundle[local]``); or `server` and
            `model`.
        server: address of a server, or several, as for `Client`.
        model: model name on the server.
        version: version number or label to ask; None for the newest version.
        threads: number of threads of a bundle in the process, for up to 8 calls at once; None for one per core.
        timeout: timeout in seconds of each 2048 texts, including retries of its calls.
        attempts: how often 2048 texts are tried if the server is unavailable or overloaded, or the time is over.
        concurrency: maximum number of in-flight requests of a worker to the server.
        hedge_after, tls, token: as for `Client`; a callable token must be picklable.
        text: column of the text.
        pair: column of the second text of a pair; None for single texts.
        keep: columns to copy to the output; None for all.
        head: the head that answers, of a model with several.
        truncation: as for `Client.entities`; None for the task's default.
        allow_no_answer: return an empty answer if the context probably does not contain the answer.

    >>> Annotator(bundle="models/ner").text
    'text'
    """

    bundle: str | None = None
    server: str | None = None
    model: str | None = None
    version: int | str | None = None
    threads: int | None = None
    timeout: float = 300.0
    attempts: int = 5
    concurrency: int = 4
    hedge_after: float | None = None
    tls: Tls | None = None
    token: Token | None = None
    text: str = "text"
    pair: str | None = None
    keep: tuple[str, ...] | None = None
    head: str | None = None
    truncation: str | None = None
    allow_no_answer: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.keep, str):
            raise TypeError("keep is a str, expected a tuple of names")
        if self.bundle is not None:  # it may be a path of pathlib
            object.__setattr__(self, "bundle", os.fspath(self.bundle))
        served = self.server is not None and self.model is not None
        if (self.bundle is None) != served or (self.bundle is not None and (self.server or self.model)):
            raise ValueError("pass either bundle=, or server= and model=")
        check_seconds(timeout=self.timeout, hedge_after=self.hedge_after)
        check_counts(attempts=self.attempts, concurrency=self.concurrency, threads=self.threads)

    @property
    def connection(self) -> Connection:
        """How a worker reaches the model."""
        settings = {name: getattr(self, name) for name in Connection.__slots__}
        return Connection(**settings | {"bundle": self.bundle and absolute(self.bundle)})

    @property
    def columns(self) -> RowColumns:
        """The columns that are used."""
        return RowColumns(self.text, self.pair, self.keep)

    def identity(self) -> BundleIdentity:
        """Return what the model answers with, as this process sees it.

        Raises:
            InputError: the bundle cannot be loaded.
            ServerError: the server did not answer.
        """
        return self.connection.identity()

    def check_model(self, identity: BundleIdentity) -> None:
        """Check that this process answers with the model that a job was planned with.

        Raises:
            InputError: the bundle cannot be loaded, or it is another one. The message names the host.
            ServerError: the server did not answer.
        """
        host = socket.gethostname()
        try:
            found = self.identity()
        except InputError as error:
            raise InputError(f"on host {host}: {error}") from error
        if found != identity:
            raise InputError(
                f"host {host} has {found}, the job was planned with {identity}. Give all workers the same bundle, or "
                "start over."
            )

    def manifest(self) -> Manifest:
        """Return the model's manifest; raises the errors of `identity`."""
        return self.connection.client().manifest()

    def pinned(self, identity: BundleIdentity) -> Annotator:
        """Return this annotator for workers: with exactly the version of `identity`, or the bundle's absolute path."""
        if self.bundle is not None:
            return replace(self, bundle=absolute(self.bundle))
        return replace(self, version=identity.version)

    def decoder(self) -> Decoder:
        """Return the decoder of the model's task.

        Raises:
            InputError: an option does not apply to it.
        """
        manifest = self.manifest()
        options = DecoderOptions(self.head, self.pair is not None, self.allow_no_answer)
        return replace(choose_decoder(manifest, self.model or manifest.name, options), gather=list)

    def answer(self, texts: Sequence[Any]) -> list[Any]:
        """Return the result of each text or pair, or its InputError; an InputError among `texts` is returned as it is.

        Raises:
            ServerError: the model did not answer, after all attempts.
        """
        if isinstance(texts, str):
            raise TypeError("texts is a str, expected a list of texts")
        results = list(texts)
        decoder = self.decoder()
        valid = [index for index, text in enumerate(results) if not isinstance(text, InputError)]
        for start in range(0, len(valid), TEXTS_PER_CHUNK):
            chunk = valid[start : start + TEXTS_PER_CHUNK]
            answers = self._ask(decoder, [results[index] for index in chunk])
            for index, answer in zip(chunk, answers, strict=True):
                results[index] = answer
        return results

    def _ask(self, decoder: Decoder, texts: list[Any]) -> list[Any]:
        client, options = self.connection.client(), AskOptions(self.truncation, head=self.head, keep_errors=True)
        for attempt in range(self.attempts - 1):
            try:
                return list(client.ask(decoder, texts, options))
            except _TEMPORARY:  # noqa: PERF203 - few attempts
                time.sleep(_PAUSES.pause(attempt))
        return list(client.ask(decoder, texts, options))

    def answer_rows(self, texts: Sequence[Any]) -> list[dict[str, Any] | InputError]:
        """Return the result of each text as a JSON-serializable dict, or its InputError; see `answer`."""
        to_dict = RESULT_DICTS[self.decoder().task]
        results = self.answer(texts)
        return [result if isinstance(result, InputError) else dict(to_dict(result)) for result in results]

    # ---- Arrow

    def output_schema(self, schema: Any) -> Any:
        """Return the schema of the output for a ``pyarrow.Schema``: kept columns, results, and ``error``.

        Raises:
            InputError: a column is missing, is not a text, or has the name of a result.
        """
        pa, _ = import_pyarrow()
        if twice := next((name for name in schema.names if schema.names.count(name) > 1), None):
            raise InputError(f"there are several columns {twice!r}. Rename them.")
        options = {self.text: "text", self.pair: "pair"}
        for name in (*self.columns.names, *(self.keep or ())):
            if name not in schema.names:
                option = name_option(options.get(name, "keep"))
                raise InputError(f"no column {name!r}, there are {', '.join(schema.names)}: correct {option}.")
        for name in self.columns.names:
            if not _is_text(pa, schema.field(name).type):
                raise InputError(f"column {name!r} has the type {schema.field(name).type}, expected strings.")
        added = [*arrow_fields(pa, self.decoder().task, self.manifest()), pa.field(ERROR_COLUMN, pa.string())]
        kept = [schema.field(name) for name in (schema.names if self.keep is None else self.keep)]
        if taken := {field.name for field in added} & {field.name for field in kept}:
            raise InputError(result_name_problem(min(taken)))
        return pa.schema([*kept, *added])

    def __call__(self, batch: Any) -> Any:
        """Return a ``pyarrow.RecordBatch`` or ``Table`` with the results of the rows, in their order.

        Raises:
            InputError: see `output_schema`; a row without an answer is not an error.
            ServerError: the model did not answer, after all attempts.
        """
        pa, _ = import_pyarrow()
        if isinstance(batch, pa.Table):
            return pa.Table.from_batches(map(self, batch.to_batches()), self.output_schema(batch.schema))
        schema, names = self.output_schema(batch.schema), self.columns.names
        columns = [python_values(batch.column(name)) for name in names]
        results = self.answer([text_or_error(names, values) for values in zip(*columns, strict=True)])
        errors = [reject_reason(result) if isinstance(result, InputError) else None for result in results]
        answers = [None if isinstance(result, InputError) else result for result in results]
        kept = [batch.column(name) for name in (batch.schema.names if self.keep is None else self.keep)]
        fields = [schema.field(index) for index in range(len(kept), len(schema) - 1)]
        added = arrow_columns(pa, self.decoder().task, fields, answers)
        return pa.RecordBatch.from_arrays([*kept, *added, pa.array(errors, pa.string())], schema=schema)


def _is_text(pa: Any, arrow_type: Any) -> bool:
    """Return whether an Arrow column of this type has strings."""
    types = pa.types
    if types.is_dictionary(arrow_type):
        return _is_text(pa, arrow_type.value_type)
    return bool(types.is_string(arrow_type) or types.is_large_string(arrow_type) or types.is_string_view(arrow_type))
