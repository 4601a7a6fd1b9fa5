"""docs/migration.md names modules and names that exist."""

from __future__ import annotations

import importlib
import re

import pytest

import bertbundle
import bertbundle_export
from paths import ROOT

PAGE = (ROOT / "docs/migration.md").read_text(encoding="utf-8")
MODULES = re.findall(
    r"^\| `(bertbundle\w*)\.([\w.]+)` \| `(bertbundle\w*\.[\w.]+)` \|$", PAGE.split("\n## Modules\n")[1], re.MULTILINE
)


def file_of(module: str) -> str:
    """Return the path of a module in the repository."""
    folder = {"bertbundle": "clients", "bertbundle_export": "export", "bertbundle_serving": "serving"}
    return f"{folder[module.partition('.')[0]]}/{module.replace('.', '/')}.py"


def test_new_modules_exist() -> None:
    """Each module in the column of new names exists."""
    assert len(MODULES) > 100
    assert [new for _, _, new in MODULES if not (ROOT / file_of(new)).is_file()] == []


def test_old_modules_are_gone() -> None:
    """No module in the column of old names exists any more."""
    old = [f"{package}.{name}" for package, name, _ in MODULES]
    assert [name for name in old if (ROOT / file_of(name)).is_file()] == []


@pytest.mark.parametrize(
    "name", ["CheckpointError", "ExportError", "OutputNamesError", "OutputShapeError", "ToleranceError"]
)
def test_public_names_that_moved(name: str) -> None:
    """A public name of the table is where the table says, and no longer where it was."""
    assert f"| `bertbundle.{name}` | `bertbundle_export.{name}` |" in PAGE
    assert not hasattr(bertbundle, name)
    assert hasattr(bertbundle_export, name)


def test_new_names_exist() -> None:
    """Each name in the new column of the tables of classes and functions exists in its module."""
    for package, section in (
        ("bertbundle", "Client"),
        ("bertbundle_export", "Export"),
        ("bertbundle_serving", "Server"),
    ):
        text = PAGE.split(f"\n### {section}\n")[1].split("\n#")[0]
        for new in re.findall(r"^\| `.+` \| (`.+`) \|$", text, re.MULTILINE):
            path, *others = re.findall(r"`([\w.]+)`", new)
            module, _, name = path.rpartition(".")
            found = importlib.import_module(f"{package}.{module}")
            assert [each for each in (name, *others) if not hasattr(found, each)] == [], new
