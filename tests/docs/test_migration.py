"""The new modules and names in docs/migration.md exist, and the old ones do not."""

from __future__ import annotations

import importlib
import inspect
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
    folder = {"bertbundle": "clients", "bertbundle_export": "export"}
    return f"{folder.get(module.partition('.')[0], 'serving')}/{module.replace('.', '/')}.py"


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
    """A public name exists in its new package, as listed in the table, and no longer in the old one."""
    assert f"| `bertbundle.{name}` | `bertbundle_export.{name}` |" in PAGE
    assert not hasattr(bertbundle, name)
    assert hasattr(bertbundle_export, name)


def new_names(package: str, section: str) -> list[tuple[str, list[str]]]:
    """Return each name in the new column of a table with its package and module, and the parameters listed after it."""
    names: list[tuple[str, list[str]]] = []
    text = PAGE.split(f"\n### {section}\n")[1].split("\n#")[0]
    for new in re.findall(r"^\| `.+` \| (.+) \|$", text, re.MULTILINE):
        for name, parameters in re.findall(r"`([\w.]+)(?:\(([\w, ]+)\))?`", new):
            if "." not in name or name[0].isupper():  # in the module of the previous name
                module = re.sub(r"\.([A-Z]\w*\.)?\w+$", "", names[-1][0])
                full_name = f"{module}.{name}"
            else:
                full_name = name if name.startswith("bertbundle") else f"{package}.{name}"
            names.append((full_name, parameters.split(", ") if parameters else []))
    return names


def exists(full_name: str, parameters: list[str]) -> bool:
    """Return whether a module of this name exists, or a name or class member with these parameters."""
    *path, name = full_name.split(".")
    if (ROOT / file_of(full_name)).is_file():
        return True
    owner: object
    if path[-1][0].isupper():
        owner = getattr(importlib.import_module(".".join(path[:-1])), path[-1])
    else:
        owner = importlib.import_module(".".join(path))
    if hasattr(owner, name):
        return not parameters or set(parameters) <= inspect.signature(getattr(owner, name)).parameters.keys()
    # an attribute that only instances have
    return isinstance(owner, type) and re.search(rf"\bself\.{name}\b", inspect.getsource(owner)) is not None


@pytest.mark.parametrize(
    ("package", "section"),
    [("bertbundle", "Client"), ("bertbundle_export", "Export"), ("bertbundle_serving", "Server")],
)
def test_new_names_exist(package: str, section: str) -> None:
    """Each name in the new column of the tables of classes and functions exists, and has the parameters."""
    names = new_names(package, section)
    assert len(names) > 80
    assert [name for name in names if not exists(*name)] == []
