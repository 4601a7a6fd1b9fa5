"""The argument parser of the command."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., str]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "COMMAND", id="no-command"),
        pytest.param(["dance"], "invalid choice: 'dance'", id="unknown-command"),
        pytest.param(["predict", "wang"], "required: --model", id="no-model"),
        pytest.param(["info", "--model", ""], "--model: expected a name, got nothing", id="empty-model"),
        pytest.param(["info", "--model", "a", "--server", ""], "--server: expected a name", id="empty-server"),
    ],
)
def test_incomplete_commands(fail: Run, arguments: list[str], message: str) -> None:
    """The message for an incomplete command says what is missing and refers to --help."""
    line = fail(*arguments)
    assert message in line
    assert line.endswith("--help.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["wang", "--truncation", "cut"], "invalid choice: 'cut'", id="truncation"),
        pytest.param(["wang", "--verbose"], "unrecognized arguments: --verbose", id="unknown-flag"),
    ],
)
def test_invalid_arguments(fail: Run, ner: list[str], arguments: list[str], message: str) -> None:
    """An invalid argument is reported in one line with exit code 2."""
    assert message in fail("predict", *ner, *arguments)
