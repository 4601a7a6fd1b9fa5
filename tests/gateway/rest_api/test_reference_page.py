"""The page of the OpenAPI document."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from http_calls import fetch
from text_api import TextApi


class Page(HTMLParser):
    """The tags, the text and the addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_works_offline(api: TextApi) -> None:
    """The page has every operation of the document, no script, and loads nothing from elsewhere."""
    status, headers, body = fetch(f"{api.url}/reference")
    page = Page()
    page.feed(body.decode())
    assert (status, headers["content-security-policy"]) == (200, "default-src 'none'; style-src 'unsafe-inline'")
    assert "script" not in page.tags
    assert page.addresses == ["openapi.json"]
    assert not re.search(rb"url\(|@import", body)
    document = api.get("/openapi.json")[1]
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in page.text


def test_fields_are_described(api: TextApi) -> None:
    """The page has the fields of requests with their types, descriptions and examples."""
    body = fetch(f"{api.url}/reference")[2].decode()
    page = Page()
    page.feed(body)
    assert "offset_unit" in page.text
    assert '"code_points" | "utf16" | "utf8"' in page.text
    assert 'Example: [["I like it"]]' in page.text or 'Example: ["I like it"]' in page.text
