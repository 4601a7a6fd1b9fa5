"""The code blocks of README.md and the pages under docs/."""

from __future__ import annotations

import re
from dataclasses import dataclass

from paths import ROOT

__all__ = ["Block", "pages", "read_blocks"]


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block: its page (a path relative to the repository), language and text."""

    page: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, with continuation lines joined."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [line for line in joined.splitlines() if line]


def pages() -> list[str]:
    """Return the paths of README.md and all Markdown files under docs/."""
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


def read_blocks(*names: str) -> list[Block]:
    """Return the fenced code blocks of pages, in order."""
    return [
        Block(name, language, text)
        for name in names
        for language, text in re.findall(r"^```(\w*)\n(.*?)^```", _read(name), flags=re.DOTALL | re.MULTILINE)
    ]


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
