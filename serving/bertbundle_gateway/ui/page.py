"""The web page at ``/`` of the REST port. It is one file of this package, and loads nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

__all__ = ["page_route"]

# Nothing but the page itself: no script, style or request from or to anywhere else.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:"
}


def page_route() -> BaseRoute:
    """Return the route of the page. It needs no API key: the page asks for one if the text API does."""
    html = files("bertbundle_gateway.ui").joinpath("static/index.html").read_text(encoding="utf-8")

    async def show(http: Request) -> Response:
        del http
        return HTMLResponse(html, headers=_HEADERS)

    return Route("/", show, methods=["GET"])
