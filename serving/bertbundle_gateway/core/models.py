"""The models behind the text APIs: a client of each, created on first use and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bertbundle import AsyncClient, AsyncTransport, PredictCall, Retries
from bertbundle_gateway.core.errors import RequestError, invalid_request

__all__ = ["Backend", "ClientSettings", "ModelRef", "Models"]

_MAX_CLIENTS = 256
"""A client has a tokenizer in memory; names and versions are the caller's choice."""
_CONCURRENCY = 1024
"""The gateway limits requests; a client must not limit them again."""
_MAX_VERSION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model, and optionally one of its versions.

    Attributes:
        name: model name.
        version: version number; None for the newest one.
        label: version label instead of a number.

    >>> str(ModelRef("ner", label="stable"))
    "model 'ner' with the label 'stable'"
    """

    name: str
    version: int | None = None
    label: str | None = None

    @classmethod
    def of_call(cls, call: PredictCall) -> ModelRef:
        """Return the model of a call."""
        if isinstance(call.version, str):
            return cls(call.model, label=call.version)
        return cls(call.model, call.version)

    @property
    def choice(self) -> int | str | None:
        """The number or the label, as `AsyncClient` takes it."""
        return self.version if self.label is None else self.label

    def __str__(self) -> str:
        version = "" if self.version is None else f" version {self.version}"
        label = "" if self.label is None else f" with the label {self.label!r:.80}"
        return f"model {self.name!r:.80}{version}{label}"

    def check(self) -> None:
        """Check the name, the version and the label.

        Raises:
            RequestError: the name is empty or not valid Unicode, or there are both a version and a label.
        """
        if not self.name:
            raise invalid_request("NO_MODEL", "The request names no model.", field="model")
        if self.version is not None and self.label is not None:
            raise invalid_request("INVALID_VERSION", "version and label exclude each other.", field="label")
        if self.label == "" or not 0 <= (self.version or 0) <= _MAX_VERSION:
            raise invalid_request("INVALID_VERSION", "version must be a positive number, label not empty.")
        if any("\ud800" <= character <= "\udfff" for character in self.name + (self.label or "")):
            raise invalid_request("INVALID_UNICODE", "The name of the model is not valid Unicode.", field="model")


class Backend(Protocol):
    """Where the models are: TensorFlow Serving compatible servers, or this process."""

    def transport(self, model: str, *, batches: bool = True) -> AsyncTransport | None:
        """Return the transport to a model; None if there is certainly no such model. It is shared and kept open.

        Args:
            model: the name of the model.
            batches: whether rows of several callers may be put together: only those that a client makes from texts.
        """

    def names(self) -> Sequence[str]:
        """Return the names of the known models; there may be more."""

    async def close(self) -> None:
        """Close all transports."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Settings of the clients; see `bertbundle.AsyncClient`.

    Attributes:
        timeout: seconds for one request of a caller, including all calls and retries.
        call_timeout: seconds for one call to a server; None for the time that remains.
        hedge_after: seconds after which a call is sent a second time; None for never.
        retries: when a failed call is retried.
    """

    timeout: float = 30.0
    call_timeout: float | None = None
    hedge_after: float | None = None
    retries: Retries = field(default_factory=Retries)


class Models:
    """The clients of the models of a backend."""

    def __init__(self, backend: Backend, settings: ClientSettings) -> None:
        """Create clients on first use."""
        self._backend = backend
        self._settings = settings
        self._clients: OrderedDict[ModelRef, AsyncClient] = OrderedDict()

    @property
    def timeout(self) -> float:
        """Seconds for a request whose caller has no deadline."""
        return self._settings.timeout

    def client(self, ref: ModelRef) -> AsyncClient:
        """Return the client of a model; the least recently used clients are dropped.

        Raises:
            RequestError: the reference is not valid, or there is no such model.
        """
        client = self._clients.get(ref)
        if client is None:
            ref.check()
            client = self._clients[ref] = self._make_client(ref)
            if len(self._clients) > _MAX_CLIENTS:
                self._clients.popitem(last=False)
        self._clients.move_to_end(ref)
        return client

    def renewed_client(self, ref: ModelRef) -> AsyncClient:
        """Return a new client of a model of which another version may answer now.

        It is kept in place of the other one, unless the reference is a label: whether it has moved is not known.
        """
        client = self._make_client(ref)
        if ref.label is None and ref in self._clients:
            self._clients[ref] = client
        return client

    def transport(self, ref: ModelRef, *, batches: bool = True) -> AsyncTransport:
        """Return the transport to a model; for `batches` see `Backend.transport`.

        Raises:
            RequestError: the reference is not valid, or there is no such model.
        """
        ref.check()
        transport = self._backend.transport(ref.name, batches=batches)
        if transport is None:
            raise RequestError("NOT_FOUND", "MODEL_NOT_FOUND", f"There is no {ref}. Check its name.", field="model")
        return transport

    def forget(self, ref: ModelRef) -> None:
        """Drop the client of a model that does not exist."""
        self._clients.pop(ref, None)

    def names(self) -> list[str]:
        """Return the names of the backend's models, and of further ones that have answered, sorted."""
        used = (ref.name for ref, client in self._clients.items() if client.loaded_version is not None)
        return sorted({*self._backend.names(), *used})

    def configured(self) -> list[str]:
        """Return the names of the backend's models, sorted: unlike `names`, requests have no influence on them."""
        return sorted(self._backend.names())

    def default_transport(self) -> AsyncTransport | None:
        """Return the transport to the server of models that are not configured by name; None if there is none."""
        return self._backend.transport("", batches=False)

    async def close(self) -> None:
        """Close all connections."""
        self._clients.clear()
        await self._backend.close()

    def _make_client(self, ref: ModelRef) -> AsyncClient:
        settings = self._settings
        return AsyncClient(
            "",
            ref.name,
            version=ref.choice,
            timeout=settings.timeout,
            call_timeout=settings.call_timeout,
            hedge_after=settings.hedge_after,
            retries=settings.retries,
            concurrency=_CONCURRENCY,
            transport=self.transport(ref),
        )
