"""MkDocs hook: publish README.md and other files outside docs/ as pages of the site.

Links are written as a code host resolves them, relative to the file in the repository. Links to published files are
rewritten to their pages; links to files that the site does not have become plain text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

__all__ = ["on_files", "on_page_markdown", "rewrite_links"]

PUBLISHED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "examples.md",
}
"""Page by file of the repository."""

_ROOT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the published files to those of docs/."""
    for source, page in PUBLISHED.items():
        files.append(File.generated(config, page, abs_src_path=str(_ROOT / source)))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Rewrite the links of a page."""
    return rewrite_links(markdown, page.file.src_uri)


def rewrite_links(markdown: str, page: str) -> str:
    """Return the Markdown of a page with links that resolve within the site.

    Args:
        markdown: text with links as in the repository.
        page: path of the page in the site.

    >>> rewrite_links("[changes](../CHANGELOG.md) and [license](../LICENSE)", "clients.md")
    '[changes](changelog.md) and license'
    """
    source = {page: name for name, page in PUBLISHED.items()}.get(page, f"docs/{page}")

    def rewrite(match: re.Match[str]) -> str:
        image, text, link = match.groups()
        target, hash_, anchor = link.partition("#")
        if not target or ":" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        published = PUBLISHED.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if published is None:
            return text
        return f"{image}[{text}]({posixpath.relpath(published, posixpath.dirname(page) or '.')}{hash_}{anchor})"

    return _LINK.sub(rewrite, markdown)
