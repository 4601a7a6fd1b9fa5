"""Limits on requests: texts, characters, and requests in flight."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bertbundle import Manifest
from bertbundle._shared import flag_types
from bertbundle_gateway.core.errors import RequestError, invalid_request

__all__ = ["Gate", "Limits", "add_text_limits"]

_MAX_TEXTS = 2048
"""The largest limit of texts: the client answers so many with one version and one deadline."""
_MAX_FILLED_CHARACTERS = 20_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on requests.

    Attributes:
        texts: maximum number of texts (or pairs) of a request, at most 2048.
        characters: maximum number of characters of all texts of a request together.
        requests: maximum number of requests in flight.
        rows: maximum number of rows of a request, which has one for each text, or for each window of a long one.
    """

    texts: int = 1024
    characters: int = 500_000
    requests: int = 512
    rows: int = 8192

    def check(self, items: Sequence[Any]) -> None:
        """Check the texts of a request.

        Raises:
            RequestError: there are none, too many, or too many characters.
        """
        if not items:
            raise invalid_request("NO_TEXTS", "The request has no texts. Send at least one.", field="texts")
        if len(items) > self.texts:
            raise invalid_request(
                "TOO_MANY_TEXTS",
                f"The request has {len(items)} texts, at most {self.texts} are accepted. Send several requests.",
                field="texts",
            )
        size = sum(map(_size, items))
        if size > self.characters:
            raise invalid_request(
                "TOO_MANY_CHARACTERS",
                f"The request has {size} characters, at most {self.characters} are accepted. Send several requests.",
                field="texts",
            )

    def check_fills(self, texts: Sequence[Any], manifest: Manifest) -> None:
        """Check the size of the results for masks: each of the best tokens for each mask comes with the whole text.

        Raises:
            RequestError: all results together have more characters than a response may have.
        """
        mask = manifest.mask_token
        size = manifest.top_k * sum(text.count(mask) * len(text) for text in texts if mask)
        if size > _MAX_FILLED_CHARACTERS:
            raise invalid_request(
                "TOO_MANY_MASKS",
                f"The results for these masks would have {size} characters, at most {_MAX_FILLED_CHARACTERS} are "
                "returned. Send shorter texts, with fewer masks.",
                field="texts",
            )


def _size(item: Any) -> int:
    """Return the number of characters of a text or a pair, or of words joined by single spaces."""
    if isinstance(item, str):
        return len(item)
    return sum(map(len, item)) + (max(len(item) - 1, 0) if isinstance(item, list) else 0)


def add_text_limits(group: argparse._ArgumentGroup) -> None:
    """Add the flags --max_texts and --max_characters to a command."""
    group.add_argument(
        "--max_texts",
        type=_texts,
        default=Limits().texts,
        help=f"maximum number of texts of a request, up to {_MAX_TEXTS} (default: %(default)s)",
    )
    group.add_argument(
        "--max_characters",
        type=flag_types.positive_int,
        default=Limits().characters,
        help="maximum number of characters of all texts of a request (default: %(default)s)",
    )


def _texts(text: str) -> int:
    number = flag_types.positive_int(text)
    if number > _MAX_TEXTS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {_MAX_TEXTS}")
    return number


class Gate:
    """Counts the requests in flight.

    Attributes:
        limit: maximum number of requests in flight.
        in_flight: number of requests in flight.
    """

    def __init__(self, limit: int) -> None:
        """Let at most `limit` requests in."""
        self.limit = limit
        self.in_flight = 0

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Count a request while the context lasts.

        Raises:
            RequestError: too many requests are in flight.
        """
        if self.in_flight >= self.limit:
            raise RequestError(
                "RESOURCE_EXHAUSTED",
                "OVERLOADED",
                f"{self.in_flight} requests are in flight, at most {self.limit} are accepted. Retry later.",
            )
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
