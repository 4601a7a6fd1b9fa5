"""The parts that all HTML pages share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bertbundle.errors import InputError
from bertbundle.evaluation.reports.marks import escape

__all__ = ["file_writer", "note_list", "number", "paragraph", "table", "whole_page"]

_STYLE = Path(__file__).with_name("page.css")
# Nothing in the page may run or be loaded, whatever the texts contain.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def file_writer(path: str) -> Callable[[str], None]:
    """Return a function that writes a page to a file, atomically; a symbolic link stays one.

    Called before the evaluation, so that a file that cannot be written is reported first.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        target = Path(path).resolve()
        hidden = target.with_name(f".{target.name}.new")
        if target.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        if target.exists() and not target.is_file():
            raise ValueError("Not a file")  # such as /dev/null, which must not be replaced
        hidden.touch()
        hidden.unlink()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a link to itself
        raise InputError(f"--html {path} cannot be written: {getattr(error, 'strerror', None) or error}.") from error

    def write(page: str) -> None:
        try:
            hidden.write_bytes(page.encode("utf-8", "backslashreplace"))
            hidden.replace(target)
        finally:
            hidden.unlink(missing_ok=True)

    return write


def whole_page(title: str, parts: Iterable[str]) -> str:
    """Return a page that needs no other file."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def note_list(notes: Sequence[str]) -> str:
    """Return sentences as a list; nothing if there are none."""
    return f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>' if notes else ""


def table(header: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], kind: str = "") -> str:
    """Return a table; each row is its class and its cells as HTML."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "\n".join(f'<tr class="{name}">{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for name, cells in rows)
    content = f'<table class="{kind}"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'
    return f'<div class="scroll">{content}</div>'


def number(value: float | None) -> str:
    """Return a number with four decimals, or a dash if it is not defined."""
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def paragraph(content: str) -> str:
    """Return HTML as a paragraph in the direction of its text."""
    return f'<p dir="auto">{content}</p>'
