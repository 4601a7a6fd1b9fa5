"""Try another version on a client's own calls: a share of them (canary), or copies in the background (shadow)."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any, TypeAlias

from bertbundle._shared.validation import check_counts, check_type
from bertbundle.client.mirror import Mirror, MirrorCounts
from bertbundle.client.thread_runner import ThreadRunner
from bertbundle.decoding.base import Decoder
from bertbundle.decoding.loaded_model import LoadedModel
from bertbundle.errors import ModelNotFound, ServerError
from bertbundle.session.batches import AskOptions, CallSettings
from bertbundle.session.retries import CallPolicy, Retries, RetryBudget
from bertbundle.session.session import Flow, Session
from bertbundle.session.version_agreement import answer_many, answer_one
from bertbundle.transports.base import Transport
from bertbundle.transports.grpc import GrpcTransport

__all__ = ["Rollout", "RolloutCounts", "RolloutPlan", "Shadow", "check_version"]

_Answer: TypeAlias = Callable[[Session, Decoder, Any, AskOptions], Flow[Any]]


@dataclass(frozen=True, slots=True)
class Shadow:
    """Where copies of a client's calls go; see `Client`.

    Attributes:
        version: version number or version label; None for the newest version.
        server: address of another server; None for the client's.
        model: name of another model; None for the client's.
        share: share of the method calls to copy, in (0, 1].
        max_pending: number of calls that may wait; further ones are dropped.
        transport: the transport to use, instead of gRPC to `server`. It is called in a thread of its own.

    >>> Shadow(server="localhost:8600", share=0.1).max_pending
    64
    """

    version: int | str | None = None
    server: str | None = None
    model: str | None = None
    share: float = 1.0
    max_pending: int = 64
    transport: Transport | None = None

    def __post_init__(self) -> None:
        check_version("Shadow.version", self.version, self.transport)
        _check_share("Shadow.share", self.share)
        check_counts(max_pending=self.max_pending)
        if self.server is not None and self.transport is not None:
            raise ValueError("Shadow takes server or transport, not both")


@dataclass(frozen=True, slots=True)
class RolloutCounts:
    """What happened to a client's calls so far. An iterator counts as one call for each 2048 texts.

    Attributes:
        calls: number of calls that were answered.
        canary: how many of them the canary answered.
        canary_missing: how many the server did not have the canary for, so that the usual version answered.
        shadow: texts that were also answered by the shadow, calls that it failed or dropped, and calls that wait.

    >>> RolloutCounts().shadow.agreed
    0
    """

    calls: int = 0
    canary: int = 0
    canary_missing: int = 0
    shadow: MirrorCounts = field(default_factory=MirrorCounts)

    @property
    def disagreed(self) -> int:
        """The number of texts for which the result of the shadow differs: see `agree` in `bertbundle.decoding`."""
        return self.shadow.disagreed


class Rollout:
    """Chooses which version answers each call, and copies calls to the shadow. Threads may share it."""

    def __init__(self, canary: Session | None, share: float, mirror: Mirror | None) -> None:
        """Combine a canary's session, or None, and a mirror, or None."""
        self._canary, self._share, self._mirror = canary, share, mirror
        self._lock = threading.Lock()
        self._counts = RolloutCounts()

    def choose(self) -> tuple[_Answer, _Answer]:
        """Return what answers one method call: the flow of one text, and that of a list."""
        canary = self._canary
        if canary is not None and random.random() >= self._share:  # noqa: S311 - no cryptography
            canary = None
        return functools.partial(self._answer, answer_one, canary), functools.partial(self._answer, answer_many, canary)

    def _answer(
        self,
        answer: _Answer,
        canary: Session | None,
        session: Session,
        decoder: Decoder,
        texts: Any,
        options: AskOptions,
    ) -> Flow[Any]:
        if canary is not None:
            try:
                result = yield from answer(canary, decoder, texts, options)
            except ServerError as error:
                if not _is_missing(error):
                    raise
                self._count(canary_missing=1)
            else:
                self._count(calls=1, canary=1)
                return result
        result = yield from answer(session, decoder, texts, options)
        self._count(calls=1)
        if self._mirror:
            self._mirror.submit(answer, decoder, texts, options, result)
        return result

    def _count(self, **changes: int) -> None:
        with self._lock:
            values = {name: getattr(self._counts, name) + change for name, change in changes.items()}
            self._counts = replace(self._counts, **values)

    def counts(self) -> RolloutCounts:
        """Return the counts so far."""
        return replace(self._counts, shadow=self._mirror.counts()) if self._mirror else self._counts

    def close(self) -> None:
        """Drop the calls that wait for the shadow, and end its thread."""
        if self._mirror:
            self._mirror.close()


def _is_missing(error: ServerError) -> bool:
    """Return whether the server does not have the version or the label, as before and after a rollout."""
    return isinstance(error, ModelNotFound) or "Unrecognized servable version label" in error.details


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """What a client passes on to its canary and shadow.

    Attributes:
        settings: how the client calls its model.
        external: the caller's description of a model that is not a bundle.
        transport: the transport that was passed to the client, if any.
        server: the client's address.
        channel: settings of its connection: `tls`, `token`, `metadata` and `compression`.
        timeout: timeout of a method call in seconds.
    """

    settings: CallSettings
    external: LoadedModel | None
    transport: Any
    server: str
    channel: Mapping[str, Any]
    timeout: float

    def make(self, canary: tuple[int | str, float] | None, shadow: int | str | Shadow | None) -> Rollout:
        """Return the rollout of a client's arguments `canary` and `shadow`.

        Raises:
            TypeError, ValueError: an argument is not valid.
        """
        version, share = _read_canary(canary, self.transport)
        session = None if canary is None else self._session(replace(self.settings, version=version))
        if shadow is None:
            return Rollout(session, share, None)
        chosen = shadow if isinstance(shadow, Shadow) else Shadow(_shadow_version(shadow))
        return Rollout(session, share, self._mirror(chosen))

    def _session(self, settings: CallSettings) -> Session:
        return Session(settings, self.external)

    def _mirror(self, shadow: Shadow) -> Mirror:
        if self.transport is not None and shadow.server is None and shadow.transport is None:
            raise ValueError(
                "a client with transport= needs a shadow with its own: Shadow(transport=...) or server=..."
            )
        settings = replace(self.settings, version=shadow.version, model=shadow.model or self.settings.model)
        if shadow.server is None and shadow.transport is None and settings == self.settings:
            raise ValueError("the shadow is what the client asks: pass it another version, server or model")
        transport = shadow.transport or GrpcTransport(shadow.server or self.server, **self.channel)
        policy = CallPolicy(Retries(attempts=1), RetryBudget(0))
        runner = ThreadRunner(transport, policy, timeout=self.timeout, concurrency=1)
        return Mirror(self._session(settings), runner, share=shadow.share, max_pending=shadow.max_pending)


def check_version(name: str, version: Any, transport: Any = None) -> None:
    """Check a version number or label, and that the transport can ask for it.

    Raises:
        TypeError: it is neither a whole number nor a str.
        ValueError: the number is negative, the label is empty, or the transport does not support labels.
    """
    if version is None:
        return
    if isinstance(version, bool):
        raise TypeError(f"{name} must be a version number or a label, got bool: {version}")
    check_type(name, version, (Integral, str), "a version number or a label")
    if version == "" or (not isinstance(version, str) and version < 0):
        raise ValueError(f"{name} must be a version number from 0 or a label, got {version!r}")
    if isinstance(version, str) and not getattr(transport, "supports_labels", True):
        raise ValueError(
            f"{name} {version!r} is a label, which {type(transport).__name__} does not support: pass a number"
        )


def _check_share(name: str, share: Any) -> None:
    check_type(name, share, Real, "a share of the calls, for example 0.05")
    if not 0 < share <= 1:
        raise ValueError(f"{name} must be more than 0 and at most 1, got {share}")


def _read_canary(canary: Any, transport: Any) -> tuple[Any, float]:
    """Return the version and the share of a canary."""
    if canary is None:
        return None, 0.0
    if not isinstance(canary, tuple) or len(canary) != 2 or canary[0] is None:
        raise TypeError(f'canary must be a version or label and a share, ("canary", 0.05), got {canary!r:.60}')
    check_version("canary", canary[0], transport)
    _check_share("the share of canary", canary[1])
    return canary[0], float(canary[1])


def _shadow_version(shadow: Any) -> Any:
    """Return a shadow that is a version or a label; an address is not guessed."""
    if isinstance(shadow, str) and ":" in shadow:
        raise ValueError(f"shadow {shadow!r} looks like an address: pass Shadow(server={shadow!r})")
    check_type("shadow", shadow, (Integral, str), "a version number, a label or a Shadow")
    return shadow
