"""While models are loaded, requests wait; only those for the health are answered."""

from __future__ import annotations

import asyncio

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["StartupGate"]


class StartupGate:
    """Lets requests wait until the models are loaded, as if the port were not open yet.

    Args:
        application: the application.
        loaded: set when requests may be answered.
        except_for: routes that are answered at once.
    """

    def __init__(self, application: ASGIApp, loaded: asyncio.Event, except_for: tuple[BaseRoute, ...]) -> None:
        self._application = application
        self._loaded = loaded
        self._except_for = except_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if not self._loaded.is_set() and not any(route.matches(scope)[0] is Match.FULL for route in self._except_for):
            await self._loaded.wait()
        await self._application(scope, receive, send)
