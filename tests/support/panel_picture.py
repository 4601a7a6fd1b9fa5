"""A picture of the dashboards' panels, drawn from the answers to their queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from observability.dashboards import DASHBOARDS
from observability.layout import Panel
from optional import require_package
from prometheus import Prometheus

__all__ = ["draw_panels"]

COLUMNS = 4
SCALES = {"percentunit": (100, "%"), "µs": (1e-3, "ms"), "s": (1e3, "ms"), "bytes": (2**-20, "MiB"), "reqps": (1, "/s")}
"""By Grafana's unit: the factor of the drawn values, and their unit."""


def draw_panels(prometheus: Prometheus, start: float, end: float, path: Path, *, max_panels: int | None = None) -> None:
    """Draw the panels of all dashboards except tables, one point a second.

    Args:
        prometheus: answers the queries.
        start: beginning in seconds since the epoch.
        end: end in seconds since the epoch.
        path: the PNG file to write.
        max_panels: how many panels to draw; None draws all.
    """
    panels = [panel for dashboard in DASHBOARDS for row in dashboard.rows for panel in row.panels]
    panels = [panel for panel in panels if panel.kind == "timeseries"][:max_panels]
    lines = -(-len(panels) // COLUMNS)
    figure = require_package("matplotlib.figure").Figure(figsize=(4.2 * COLUMNS, 2.3 * lines))
    places = figure.subplots(lines, COLUMNS).flat
    for panel, place in zip(panels, places, strict=False):
        _draw(place, panel, prometheus, start, end)
    for place in places:
        place.set_axis_off()
    figure.subplots_adjust(left=0.03, right=0.99, bottom=0.02, top=0.98, hspace=0.35, wspace=0.15)
    figure.savefig(path, dpi=80)


def _draw(place: Any, panel: Panel, prometheus: Prometheus, start: float, end: float) -> None:
    factor, unit = SCALES.get(panel.unit, (1, ""))
    for legend, expression in panel.queries.items():
        for labels, points in prometheus.history(expression, start, end):
            moments = [moment - start for moment, _ in points]
            place.plot(moments, [value * factor for _, value in points], label=_name(legend, labels), linewidth=1)
    place.set_title(f"{panel.title}, {unit}" if unit else panel.title, fontsize=8)
    place.set_ylim(bottom=0)
    place.tick_params(labelsize=6)
    if place.get_legend_handles_labels()[0]:
        place.legend(fontsize=5, loc="lower right")


def _name(legend: str, labels: dict[str, str]) -> str:
    """Return a legend of Grafana with the values of a series' labels."""
    for label, value in labels.items():
        legend = legend.replace(f"{{{{{label}}}}}", value)
    return legend
