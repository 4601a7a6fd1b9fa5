"""The OpenAPI document, and a page of it that loads nothing from elsewhere and needs no script."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

__all__ = ["reference_page", "reference_router"]

_CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h2 { border-bottom: 1px solid #ccc; margin-top: 2.5rem } h3 { margin: 2rem 0 .25rem; font-size: 1rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .25rem .5rem }
tr { border-top: 1px solid #eee } code, pre { font: 14px/1.5 ui-monospace, monospace }
pre { background: #f5f5f5; padding: .75rem; overflow-x: auto } summary { cursor: pointer; margin: .25rem 0 }
"""


def reference_router(document: Callable[[], dict[str, Any]]) -> APIRouter:
    """Return the routes of an OpenAPI document and its page; they need no key."""
    router = APIRouter()

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(json.dumps(document()), media_type="application/json")

    @router.get("/reference", include_in_schema=False)
    async def page() -> Response:
        headers = {"Content-Security-Policy": _CONTENT_SECURITY_POLICY}
        return HTMLResponse(reference_page(document()), headers=headers)

    return router


def reference_page(document: Mapping[str, Any]) -> str:
    """Return an OpenAPI document as an HTML page."""
    info = document["info"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{_text(info['title'])} {_text(info['version'])}</h1>{_paragraphs(info.get('description', ''))}"
        f'<p>The same as an <a href="openapi.json">OpenAPI document</a>.</p>{"".join(_sections(document))}</html>\n'
    )


def _sections(document: Mapping[str, Any]) -> Iterator[str]:
    tag = None
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation.get("tags", [""])[0] != tag:
                tag = operation.get("tags", [""])[0]
                yield f"<h2>{_text(tag)}</h2>"
            yield _operation(document, f"{method.upper()} {path}", operation)


def _operation(document: Mapping[str, Any], title: str, operation: Mapping[str, Any]) -> str:
    body = operation.get("requestBody", {})
    answers = operation.get("responses", {})
    others = "".join(
        f"<li>{_text(status)}: {_text(answer.get('description', ''))}"
        for status, answer in answers.items()
        if status != "200"
    )
    return (
        f'<h3 id="{_text(operation.get("operationId", ""))}"><code>{_text(title)}</code></h3>'
        f"<p>{_text(operation.get('summary', ''))}.</p>"
        f"{_schema(document, 'Request', body)}{_schema(document, 'Response', answers.get('200', {}))}<ul>{others}</ul>"
    )


def _schema(document: Mapping[str, Any], title: str, content: Mapping[str, Any]) -> str:
    """Return the table of the fields of a body, and those of the objects in it."""
    schema = content.get("content", {}).get("application/json", {}).get("schema")
    if not schema:
        return ""
    names = list(dict.fromkeys(_references(document, schema, set())))
    tables = "".join(_table(name, document["components"]["schemas"][name]) for name in names)
    return f"<details><summary>{title}: <code>{_text(_type(schema))}</code></summary>{tables}</details>"


def _references(document: Mapping[str, Any], schema: Any, seen: set[str]) -> Iterator[str]:
    """Yield the names of the objects that a schema refers to, itself first."""
    if isinstance(schema, list):
        for part in schema:
            yield from _references(document, part, seen)
    if not isinstance(schema, dict):
        return
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name and name not in seen:
        seen.add(name)
        yield name
        yield from _references(document, document["components"]["schemas"][name], seen)
    for part in schema.values():
        yield from _references(document, part, seen)


def _table(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{_text(field)}</code><td><code>{_text(_type(part))}</code>"
        f"<td>{'required. ' if field in required else ''}{_text(part.get('description', ''))}{_example(part)}"
        for field, part in schema.get("properties", {}).items()
    )
    return f"<p><code>{_text(name)}</code>: {_text(schema.get('description', ''))}</p><table>{rows}</table>"


def _example(schema: Mapping[str, Any]) -> str:
    examples = schema.get("examples") or []
    return f" Example: <code>{_text(json.dumps(examples[0], ensure_ascii=False))}</code>" if examples else ""


def _type(schema: Mapping[str, Any]) -> str:
    """Return the type of a schema as one line, as in ``array of string | null``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return " | ".join(_type(part) for part in alternatives)
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_text(part)}</p>" for part in text.split("\n\n"))


def _text(value: Any) -> str:
    return html.escape(str(value))
