"""What a dashboard consists of."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Dashboard", "Panel", "Row"]


@dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        title: its title.
        text: what it shows, for its tooltip.
        unit: unit of Grafana.
        queries: PromQL by legend.
        kind: type of the panel: timeseries, or table for a table of the queries' newest values.
    """

    title: str
    text: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"


@dataclass(frozen=True)
class Row:
    """A row of panels with a title."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """A dashboard.

    Attributes:
        uid: its identifier in Grafana.
        title: its title.
        text: what it answers.
        variables: label that selects the values of each variable.
        rows: its rows.
    """

    uid: str
    title: str
    text: str
    variables: tuple[str, ...]
    rows: tuple[Row, ...]
