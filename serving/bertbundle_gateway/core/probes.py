"""Whether models are ready, and which of their versions answers: from the states that their servers report."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertbundle import AsyncTransport, BertBundleError, InvalidRequest, ModelNotFound, VersionStatus
from bertbundle_gateway.core.errors import RequestError, request_error
from bertbundle_gateway.core.models import ModelRef, Models

__all__ = ["OTHER_MODELS", "Probes", "Readiness", "answering_version"]


_NO_MODEL = ""
"""A server answers a question about it with an error, which shows that it answers."""
OTHER_MODELS = "*"
"""Stands for the models of the default server, whose names are not known."""
_READINESS_SECONDS = 3.0
"""A server that does not answer for so long is not ready: who asks, such as Kubernetes, waits for some seconds only."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests may be sent.

    Attributes:
        obstacles: why each configured model that is not available is not.
        is_stopping: whether the process is shutting down.
    """

    obstacles: Mapping[str, str]
    is_stopping: bool = False

    @property
    def reason(self) -> str:
        """Why requests should not be sent; "" if they may.

        >>> Readiness({"ner": "The server of model 'ner' cannot be reached. Retry later."}).reason
        'not available: ner'
        """
        if self.is_stopping:
            return "the server is shutting down"
        return f"not available: {', '.join(self.obstacles)}" if self.obstacles else ""


class Probes:
    """Asks servers for the states of models. No limit applies: a gateway that is busy is still ready.

    Attributes:
        is_stopping: whether the gateway is shutting down: it is then not ready, whatever the servers say.
    """

    is_stopping = False

    def __init__(self, models: Models) -> None:
        """Ask the servers of models."""
        self._models = models

    async def check(self, ref: ModelRef, *, timeout: float) -> None:
        """Check that the server of a model has an available version of it, or the one that is named.

        Raises:
            RequestError: it has none, it has no such model, or it cannot be reached within `timeout` seconds.
        """
        try:
            versions = await self._models.transport(ref).status(ref.name, timeout=timeout)
        except BertBundleError as error:
            raise request_error(error, str(ref)) from error
        states = {status.state for status in versions if ref.version in (None, status.version)}
        if not versions:
            raise RequestError("UNAVAILABLE", "MODEL_NOT_READY", f"There is no version of {ref} yet.")
        if not states:
            raise RequestError("NOT_FOUND", "MODEL_NOT_FOUND", f"There is no {ref}. Check its name and version.")
        if "AVAILABLE" not in states:
            message = f"There is no available version of {ref}: {', '.join(sorted(states))}. Retry later."
            raise RequestError("UNAVAILABLE", "MODEL_NOT_READY", message)

    async def readiness(self, *, timeout: float) -> Readiness:
        """Return whether all configured models are available.

        The default server may have any models; if it does not answer, that is an obstacle for `OTHER_MODELS`. The
        answer takes 3 seconds at most, also if a server hangs.
        """
        timeout = min(timeout, _READINESS_SECONDS)
        checks = {name: self.check(ModelRef(name), timeout=timeout) for name in self._models.configured()}
        default = self._models.default_transport()
        if default is not None:
            checks[OTHER_MODELS] = _check_server(default, timeout)
        found = await asyncio.gather(*(_reason(check) for check in checks.values()))
        obstacles = {name: reason for name, reason in zip(checks, found, strict=True) if reason}
        return Readiness(obstacles, self.is_stopping)


async def _check_server(transport: AsyncTransport, timeout: float) -> None:
    """Check that a server answers, without the name of a model.

    Raises:
        RequestError: it does not answer within `timeout` seconds.
    """
    try:
        await transport.status(_NO_MODEL, timeout=timeout)
    except (InvalidRequest, ModelNotFound):
        return  # it answers that there is no such model
    except BertBundleError as error:
        raise request_error(error, "the other models") from error


async def _reason(check: Coroutine[Any, Any, None]) -> str:
    """Return the message of the error of a check; "" if there is none."""
    try:
        await check
    except RequestError as error:
        return error.message
    return ""


def answering_version(versions: Sequence[VersionStatus], ref: ModelRef) -> int | None:
    """Return the version that answers a reference; None if it is not known, as for a label.

    >>> states = [VersionStatus(2, "LOADING", "OK", ""), VersionStatus(1, "AVAILABLE", "OK", "")]
    >>> answering_version(states, ModelRef("ner"))
    1
    """
    available = [status.version for status in versions if status.state == "AVAILABLE"]
    version = max(available, default=None) if ref.version is None else ref.version
    return version if ref.label is None and version in available else None
