"""API keys for routes that are not those of `web.routes`."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from bertbundle_gateway.core.api_keys import ApiKeys
from bertbundle_gateway.core.errors import RequestError

__all__ = ["KeyMiddleware"]


class KeyMiddleware:
    """Refuses requests without a valid key, before an application sees them; those with OPTIONS need none.

    A browser asks with OPTIONS, and without a key, whether a page may send requests (CORS).

    Args:
        application: the application.
        keys: the keys.
        refuse: returns the response to a request without a valid key.
        except_for: routes that check keys themselves, or that need none.
    """

    def __init__(
        self,
        application: ASGIApp,
        keys: ApiKeys,
        refuse: Callable[[RequestError], Response],
        except_for: tuple[BaseRoute, ...] = (),
    ) -> None:
        self._application = application
        self._keys = keys
        self._refuse = refuse
        self._except_for = except_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        answer: ASGIApp = self._application
        if scope["type"] == "http" and scope["method"] != "OPTIONS" and not self._is_exception(scope):
            headers = Headers(scope=scope)
            try:
                self._keys.authorize(headers.get("authorization"), headers.get("x-api-key"))
            except RequestError as error:
                answer = self._refuse(error)
                answer.headers["WWW-Authenticate"] = "Bearer"
        await answer(scope, receive, send)

    def _is_exception(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self._except_for)
