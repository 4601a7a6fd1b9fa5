"""docs/decisions: one decision per file, numbered, with the same sections, and listed in the index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paths import ROOT

FOLDER = ROOT / "docs/decisions"
FILES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
SECTIONS = ["Context", "Options", "Decision", "Consequences"]

each_file = pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in FILES])


def test_numbers_have_no_gaps() -> None:
    """Files are numbered from 0001 on, without gaps or duplicates."""
    assert [path.name[:5] for path in FILES] == [f"{number:04}-" for number in range(1, len(FILES) + 1)]


@each_file
def test_form(path: Path) -> None:
    """A decision has its number and a title, a date, and the sections in order; only Consequences may be missing."""
    text = path.read_text(encoding="utf-8")
    assert re.match(rf"# {path.name[:4]}: .+\n\nDate: \d{{4}}-\d\d-\d\d", text)
    sections = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert sections == SECTIONS[: len(sections)]
    assert len(sections) >= 3
    assert all(part.strip() for part in re.split(r"^## .+$", text, flags=re.MULTILINE))


def test_index_lists_every_decision() -> None:
    """The index has a row for each file, in order, with its number, date and title."""
    rows = re.findall(r"^\| \[(\d{4})\]\((\S+)\) \| (\S+) \| (.+?) \| .+ \|$", _index(), flags=re.MULTILINE)
    assert rows == [_row(path) for path in FILES]


def _index() -> str:
    return (FOLDER / "README.md").read_text(encoding="utf-8")


def _row(path: Path) -> tuple[str, ...]:
    text = path.read_text(encoding="utf-8")
    found = re.match(r"# \d{4}: (.+)\n\nDate: ([\d-]+)", text)
    assert found is not None
    return path.name[:4], path.name, found[2], found[1]
