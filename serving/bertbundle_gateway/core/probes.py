"""Whether models are ready, and which of their versions answers: from the states that their servers report."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bertbundle import BertBundleError, VersionStatus
from bertbundle_gateway.core.errors import RequestError, request_error
from bertbundle_gateway.core.models import ModelRef, Models

__all__ = ["Probes", "answering_version"]


class Probes:
    """Asks servers for the states of models. No limit applies: a gateway that is busy is still ready."""

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
        if not states:
            raise RequestError("NOT_FOUND", "MODEL_NOT_FOUND", f"There is no {ref}. Check its name and version.")
        if "AVAILABLE" not in states:
            message = f"There is no available version of {ref}: {', '.join(sorted(states))}. Retry later."
            raise RequestError("UNAVAILABLE", "MODEL_NOT_READY", message)

    async def ready(self, *, timeout: float) -> list[bool]:
        """Return for each configured model whether its server has an available version."""
        checks = (self.check(ModelRef(name), timeout=timeout) for name in self._models.configured())
        found = await asyncio.gather(*checks, return_exceptions=True)
        return [not isinstance(result, BaseException) for result in found]


def answering_version(versions: Sequence[VersionStatus], ref: ModelRef) -> int | None:
    """Return the version that answers a reference; None if it is not known, as for a label.

    >>> states = [VersionStatus(2, "LOADING", "OK", ""), VersionStatus(1, "AVAILABLE", "OK", "")]
    >>> answering_version(states, ModelRef("ner"))
    1
    """
    available = [status.version for status in versions if status.state == "AVAILABLE"]
    version = max(available, default=None) if ref.version is None else ref.version
    return version if ref.label is None and version in available else None
