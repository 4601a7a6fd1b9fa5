"""The file of a page is written whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bertbundle.errors import InputError
from bertbundle.evaluation.reports.page import file_writer


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the page cannot be written, the page before stays, and nothing lies beside it."""
    target = tmp_path / "page.html"
    target.write_text("before", encoding="utf-8")
    write = file_writer(str(target))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write("after")
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("page.html", "before")]


def test_links_and_what_is_no_file(tmp_path: Path) -> None:
    """A link stays one, and a pipe or a device is refused instead of replaced."""
    link = tmp_path / "link.html"
    link.symlink_to(tmp_path / "page.html")
    file_writer(str(link))("after")
    assert link.is_symlink()
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "after"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe cannot be written: Not a file"):
        file_writer(str(tmp_path / "pipe"))
