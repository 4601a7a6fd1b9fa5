"""HTTP requests with urllib only."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

__all__ = ["fetch", "fetch_json"]

_SECONDS = 60


def fetch(
    url: str, data: bytes | None = None, *, method: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers (their names in lower case) and body, whatever the status is."""
    request = urllib.request.Request(url, data, headers or {}, method=method)  # noqa: S310  # loopback
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as response:  # noqa: S310
            return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def fetch_json(url: str, document: Any = None, *, data: bytes | None = None) -> tuple[int, Any]:
    """Return status and parsed body; a document is sent as JSON by POST."""
    body = json.dumps(document).encode() if document is not None else data
    status, _, answer = fetch(url, body)
    return status, json.loads(answer)
