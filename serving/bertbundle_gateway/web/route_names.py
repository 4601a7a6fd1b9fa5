"""The names of the text API's routes, for all REST APIs: their errors name the right route."""

from __future__ import annotations

from collections.abc import Mapping

from bertbundle_gateway.core.errors import RequestError

__all__ = ["ROUTE_OF_METHOD", "describe_error", "text_route"]

ROUTE_OF_METHOD: Mapping[str, str] = {
    "entities": "entities",
    "classify": "classes",
    "regress": "values",
    "embed": "embeddings",
    "answer": "answers",
    "fill_mask": "fills",
    "heads": "heads",
}
"""The end of the path of each method. The names are nouns, what is returned: TensorFlow Serving's are verbs."""


def text_route(model: str, method: str) -> str:
    """Return the method and path of a request, to be named in an error.

    >>> text_route("ner", "classify")
    'POST /v1/models/ner:classes'
    """
    return f"POST /v1/models/{model}:{ROUTE_OF_METHOD[method]}"


def describe_error(error: RequestError) -> str:
    """Return the message of an error, with the route that answers the task of the model."""
    return error.text(lambda method: text_route(error.metadata.get("model", "MODEL"), method))
