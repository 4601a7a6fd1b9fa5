"""While models are loaded, requests wait; only those for the health are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from bertbundle_serving.errors import RequestError
from bertbundle_serving.rest_api.responses import error_response

__all__ = ["StartupGate"]


class StartupGate:
    """Lets requests wait until the models are loaded, as if the port were not open yet.

    Args:
        application: the application.
        loaded: set when requests may be answered, or when the server stops.
        is_stopping: returns whether the server stops. Requests that waited are then refused: without its models, it
            would answer that there are none.
        except_for: routes that are answered at once.
    """

    def __init__(
        self,
        application: ASGIApp,
        loaded: asyncio.Event,
        is_stopping: Callable[[], bool],
        except_for: tuple[BaseRoute, ...],
    ) -> None:
        self._application = application
        self._loaded = loaded
        self._is_stopping = is_stopping
        self._except_for = except_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        answer = self._application
        if not self._loaded.is_set() and not any(route.matches(scope)[0] is Match.FULL for route in self._except_for):
            await self._loaded.wait()
            if self._is_stopping():
                answer = error_response(RequestError("UNAVAILABLE", "the server is shutting down"))
        await answer(scope, receive, send)
