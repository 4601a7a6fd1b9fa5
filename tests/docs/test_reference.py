"""The reference pages match the code: tables of errors and options, and a directive for each public name."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

import bertbundle
import bertbundle_export
import reference_tables
from paths import ROOT

REFERENCE = ROOT / "docs/reference"


@pytest.mark.parametrize("page", reference_tables.PAGES)
def test_tables_are_up_to_date(page: str) -> None:
    """The committed tables equal those generated from the code; `make docs-tables` writes them."""
    assert (REFERENCE / page).read_text(encoding="utf-8") == reference_tables.render(page)


@pytest.mark.parametrize(
    ("package", "page"),
    [pytest.param(bertbundle, "client.md", id="client"), pytest.param(bertbundle_export, "export.md", id="export")],
)
def test_every_public_name_is_documented(package: ModuleType, page: str) -> None:
    """Each name of the package's `__all__` has one directive on its page, and no other name has."""
    named = re.findall(
        rf"^::: {package.__name__}\.(\w+)$", (REFERENCE / page).read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(named) == sorted(package.__all__)
