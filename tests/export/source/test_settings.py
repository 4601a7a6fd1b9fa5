"""The tables of settings: each is followed, refused by name, or has no effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertbundle_export.errors import CheckpointError
from bertbundle_export.source import architectures
from bertbundle_export.source.setting import Setting
from bertbundle_export.source.settings import SETTINGS, check_settings

ROWS = [(file, name, row) for file, rows in SETTINGS.items() for row in rows for name in row.names]
REFUSED = [pytest.param(file, name, row, id=f"{file}-{name}") for file, name, row in ROWS if row.outcome == "refused"]
FOLLOWED = [
    pytest.param(file, name, row, id=f"{file}-{name}")
    for file, name, row in ROWS
    if row.outcome == "followed" and row.expected
]


def test_a_setting_has_one_row() -> None:
    """No setting of a file is in two rows."""
    for file, rows in SETTINGS.items():
        names = [name for row in rows for name in row.names]
        assert len(names) == len(set(names)), file


@pytest.mark.parametrize(("file", "name", "row"), REFUSED)
def test_refused_settings(file: str, name: str, row: Setting) -> None:
    """A refused setting is named with its value and what is supported; values that state nothing are accepted."""
    with pytest.raises(CheckpointError) as caught:
        check_settings(Path("x", file), file, {name: "unusual"})
    details = row.details.replace("`", "")
    assert str(caught.value).startswith(f"x/{file} has {name} 'unusual', which is not supported: {details}. Remove it")
    check_settings(Path("x", file), file, dict.fromkeys([name]))


@pytest.mark.parametrize(("file", "name", "row"), FOLLOWED)
def test_values_of_followed_settings(file: str, name: str, row: Setting) -> None:
    """A followed setting with a value of another kind is refused, null is accepted."""
    with pytest.raises(CheckpointError, match=f"has {name} {{}}, expected {row.expected}"):
        check_settings(Path(file), file, {name: {}})
    check_settings(Path(file), file, {name: None})


@pytest.mark.parametrize("value", ["a", 1, True, ["a"]])
def test_unknown_settings(value: Any) -> None:
    """A setting that no table has is refused by name, unless the caller allows it or it states nothing."""
    file = Path("tokenizer_config.json")
    with pytest.raises(CheckpointError, match=r"has future_setting .*, a setting that bertbundle does not know"):
        check_settings(file, file.name, {"future_setting": value})
    check_settings(file, file.name, {"future_setting": value}, allow_unknown=True)
    check_settings(file, file.name, {"future_setting": None, "other": False, "more": []})


def test_values_that_are_supported() -> None:
    """The supported value of a refused setting is accepted."""
    file = Path("tokenizer_config.json")
    check_settings(file, file.name, {"padding_side": "right", "wordpieces_prefix": "##", "clean_text": True})


@pytest.mark.parametrize("name", ["clean_text", "do_split_on_punc", "do_word_tokenize", "do_subword_tokenize"])
def test_false_is_refused_where_only_true_is_supported(name: str) -> None:
    """False does not count as no value where it changes answers."""
    file = Path("tokenizer_config.json")
    with pytest.raises(CheckpointError, match=f"has {name} False, which is not supported: true only"):
        check_settings(file, file.name, {name: False})


def test_settings_that_the_architectures_check() -> None:
    """Every setting of config.json that the architectures check is in the table."""
    names = {name for row in SETTINGS["config.json"] for name in row.names}
    sizes = {key for row in architectures.ARCHITECTURES.values() for key in row.sizes.values()}
    assert sizes | set(architectures._FIXED_SETTINGS) | set(architectures._TYPED_SETTINGS) <= names
