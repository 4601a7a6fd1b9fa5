"""Generate the Grafana dashboards and the PrometheusRule of this folder: `make dashboards`.

Writes dashboards/overview.json and dashboards/instances.json from the tables in overview.py and instances.py, and
prometheusrule.yaml from rules.yaml. A test compares the files with what this module generates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from observability.instances import INSTANCES
from observability.layout import Dashboard, Panel
from observability.overview import OVERVIEW

__all__ = ["DASHBOARDS", "files", "queries"]

FOLDER = Path(__file__).resolve().parent
DASHBOARDS = (OVERVIEW, INSTANCES)
_WIDTH, _HEIGHT = 24, 7


def queries() -> Iterator[tuple[str, str]]:
    """Yield a name and the PromQL of every query of every panel."""
    for dashboard in DASHBOARDS:
        for row in dashboard.rows:
            for panel in row.panels:
                for legend, expression in panel.queries.items():
                    yield f"{dashboard.uid}: {row.title}: {panel.title}: {legend}", expression


def files() -> dict[Path, str]:
    """Return the text of each generated file."""
    texts = {
        FOLDER / "dashboards" / f"{dashboard.uid.removeprefix('bertbundle-')}.json": json.dumps(
            _dashboard(dashboard), indent=1, ensure_ascii=False
        )
        + "\n"
        for dashboard in DASHBOARDS
    }
    return texts | {FOLDER / "prometheusrule.yaml": _prometheus_rule((FOLDER / "rules.yaml").read_text("utf-8"))}


def _dashboard(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.text,
        "tags": ["bertbundle"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["bertbundle"], "title": "bertbundle", "keepTime": True}],
        "templating": {"list": [_DATA_SOURCE, *(_variable(name) for name in dashboard.variables)]},
        "panels": list(_panels(dashboard)),
    }


_DATA_SOURCE = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _variable(name: str) -> dict[str, Any]:
    label = {"model": "model_name"}.get(name, name)
    chosen = "" if name == "job" else '{job=~"$job"}'
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": f"label_values(:tensorflow:serving:request_count{chosen}, {label})",
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "refresh": 2,
        "current": {"text": "All", "value": "$__all"},
    }


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """Yield the panels with their places: a line for each title, below it at most three panels side by side."""
    number, top = 0, 0
    for row in dashboard.rows:
        number += 1
        place = {"x": 0, "y": top, "w": _WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "gridPos": place, "panels": []}
        top += 1
        columns = min(3, len(row.panels))
        width = _WIDTH // columns
        for index, panel in enumerate(row.panels):
            number += 1
            place = {"x": index % columns * width, "y": top + index // columns * _HEIGHT, "w": width, "h": _HEIGHT}
            yield {"id": number, "gridPos": place, **_panel(panel)}
        top += -(-len(row.panels) // columns) * _HEIGHT


def _panel(panel: Panel) -> dict[str, Any]:
    is_table = panel.kind == "table"
    targets = [
        {
            "refId": chr(ord("A") + index),
            "expr": expression,
            "legendFormat": legend,
            **({"format": "table", "instant": True} if is_table else {}),
        }
        for index, (legend, expression) in enumerate(panel.queries.items())
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "noValue": "no data"}, "overrides": []},
        "targets": targets,
        **({"transformations": _table_columns(panel)} if is_table else {}),
    }


def _table_columns(panel: Panel) -> list[dict[str, Any]]:
    """Return the transformations that join the queries by model and name the columns after their legends."""
    names = {f"Value #{chr(ord('A') + index)}": legend for index, legend in enumerate(panel.queries)}
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"renameByName": names, "excludeByName": {"Time": True, "model_name": True}}},
    ]


def _prometheus_rule(rules: str) -> str:
    """Return the rules as an object of the Prometheus operator."""
    start = rules.index("groups:")
    head = (
        "# Written by dashboards.py from rules.yaml.\n"
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: bertbundle\nspec:\n"
    )
    return head + "".join(f"  {line}\n" if line else "\n" for line in rules[start:].splitlines())


def main() -> None:
    """Write the files."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
