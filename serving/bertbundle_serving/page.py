"""The page at ``/`` of the REST port: what is served, how it does, and a box to try it."""

from __future__ import annotations

from starlette.routing import BaseRoute

from bertbundle_serving.front import Front
from bertbundle_serving.predictor import Predictor

__all__ = ["page_routes"]


def page_routes(predictor: Predictor, front: Front, seconds: float) -> list[BaseRoute]:
    """Return the routes of the page."""
    del predictor, front, seconds
    return []
