"""A pytest plugin: the summary counts the skipped tests by reason."""

from __future__ import annotations

from collections import Counter

import pytest

__all__ = ["pytest_terminal_summary"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line `N skipped: reason` for each reason, the most frequent first."""
    counts = Counter(_reason(report) for report in terminalreporter.getreports("skipped"))
    if counts:
        terminalreporter.section("skipped tests by reason")
    for reason, count in counts.most_common():
        terminalreporter.write_line(f"{count:5} skipped: {reason}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the reason that a test gave when it was skipped."""
    if isinstance(report.longrepr, tuple):  # path, line, message
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)
