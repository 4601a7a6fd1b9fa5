"""The dashboards and rules: they are generated, query exported metrics only, and alert when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from embedded_server import start_server
from observability.dashboards import DASHBOARDS, FOLDER, files, queries
from optional import skip_without
from tiny_bundles import TinyBundles

SELECTOR = re.compile(r"(?<![\w:$\"])((?::tensorflow|bertbundle_|process_|up\b)[\w:]*)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')


def fulfils(labels: dict[str, str], label: str, sign: str, given: str) -> bool:
    """Return whether the labels of a series fulfil a matcher of PromQL."""
    value = labels.get(label, "")
    found = re.fullmatch(given, value) is not None if "~" in sign else value == given
    return found if sign.startswith("=") else not found


def read_rules() -> list[dict[str, Any]]:
    """Return the rules of rules.yaml."""
    document = yaml.safe_load((FOLDER / "rules.yaml").read_text("utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def selectors() -> Iterator[tuple[str, str, str]]:
    """Yield each selector of a panel or a rule: where it is, the metric, and the matchers."""
    expressions = [*queries(), *((rule.get("alert") or rule["record"], rule["expr"]) for rule in read_rules())]
    recorded = {rule.get("record") for rule in read_rules()}
    for where, expression in expressions:
        found = [match.groups(default="") for match in SELECTOR.finditer(expression)]
        assert found or any(str(name) in expression for name in recorded), f"{where} queries nothing: {expression}"
        yield from ((where, metric, matchers) for metric, matchers in found if metric not in recorded)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, dict[str, str]]]:
    """The series of a server that has loaded a model, and has not received a request yet."""
    base = tmp_path_factory.mktemp("models") / "tiny"
    base.mkdir()
    TinyBundles(base).write(1)
    server = start_server(base)
    text = server.server.metrics.exposition().decode()
    server.stop()
    families = text_string_to_metric_families(text)
    found = [(sample.name, sample.labels) for family in families for sample in family.samples]
    # The parser appends _total to the counters of TensorFlow Serving.
    return [(re.sub("^(:tensorflow:.*)_total$", r"\1", name), labels) for name, labels in found]


def test_files_are_generated() -> None:
    """The committed files are what `make dashboards` writes."""
    for path, text in files().items():
        assert path.read_text("utf-8") == text, f"{path.name} differs: run `make dashboards`"


def test_every_query_has_series_from_the_start(samples: list[tuple[str, dict[str, str]]]) -> None:
    """Every selector of a panel or a rule finds series before the first request: no panel says "no data" by mistake."""
    empty = []
    for where, metric, matchers in selectors():
        given = [match for match in MATCHER.findall(matchers) if not match[2].startswith("$")]
        found = [labels for name, labels in samples if name == metric]
        if not any(all(fulfils(labels, *matcher) for matcher in given) for labels in found):
            empty.append(f"{where}: {metric}{{{matchers}}}")
    assert empty == []


def test_labels_of_legends_are_selected() -> None:
    """A legend names only labels that the query keeps."""
    for dashboard in DASHBOARDS:
        for panel in (panel for row in dashboard.rows for panel in row.panels):
            for legend, expression in panel.queries.items():
                kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", expression))))
                everything = "by (" not in expression and not re.match("sum|max|avg|histogram", expression)
                assert everything or set(re.findall(r"\{\{(\w+)\}\}", legend)) <= kept, (panel.title, legend)


@pytest.mark.parametrize("name", ["overview", "instances"])
def test_layout(name: str) -> None:
    """Panels have distinct ids and do not overlap, and every variable that a query uses is defined."""
    dashboard = json.loads((FOLDER / "dashboards" / f"{name}.json").read_text("utf-8"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    defined = {f"${variable['name']}" for variable in dashboard["templating"]["list"]} | {"$__rate_interval"}
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    assert {name for expression in expressions for name in re.findall(r"\$(?:\w+)\b", expression)} - {"$1"} <= defined


def test_operator_has_the_same_rules() -> None:
    """The PrometheusRule for the Prometheus operator contains the groups of rules.yaml."""
    rule = yaml.safe_load((FOLDER / "prometheusrule.yaml").read_text("utf-8"))
    assert (rule["kind"], rule["apiVersion"]) == ("PrometheusRule", "monitoring.coreos.com/v1")
    assert rule["spec"] == yaml.safe_load((FOLDER / "rules.yaml").read_text("utf-8"))


def test_every_alert_is_tested() -> None:
    """rules_test.yaml has a case in which each alert fires, and one in which it does not."""
    tests = yaml.safe_load((FOLDER / "rules_test.yaml").read_text("utf-8"))["tests"]
    cases = [(case["alertname"], bool(case.get("exp_alerts"))) for test in tests for case in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in read_rules() if "alert" in rule}
    assert set(cases) == {(alert, fires) for alert in alerts for fires in (True, False)}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool, or skip the test."""
    program = shutil.which("promtool")
    if program is None:
        skip_without("prometheus")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_rules() -> None:
    """The rules are valid, and alert in the cases of rules_test.yaml, by Prometheus' own tool."""
    result = promtool("test", "rules", FOLDER / "rules_test.yaml")
    assert result.returncode == 0, result.stdout + result.stderr


def test_cases_fail_for_other_rules(tmp_path: Path) -> None:
    """The cases of rules_test.yaml notice a changed threshold."""
    rules = (FOLDER / "rules.yaml").read_text("utf-8")
    (tmp_path / "rules.yaml").write_text(rules.replace("> 0.3", "> 0.6"), encoding="utf-8")
    cases = yaml.safe_load((FOLDER / "rules_test.yaml").read_text("utf-8"))
    cases["tests"] = [test for test in cases["tests"] if test["name"].startswith("mistakes of callers")]
    (tmp_path / "rules_test.yaml").write_text(yaml.safe_dump(cases), encoding="utf-8")
    result = promtool("test", "rules", tmp_path / "rules_test.yaml")
    assert result.returncode != 0
    assert "BertBundleErrorRatio" in result.stdout + result.stderr


def test_share_of_padding_rows(tmp_path: Path) -> None:
    """The share of padding rows is of all computed rows, padding included: 3 of 4."""
    (query,) = (expression for _, expression in queries() if "bertbundle_batch_padding_rows_total" in expression)
    expression = query.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$model", ".*")
    series = {"bertbundle_batch_padding_rows_total": "0+180x9", "bertbundle_batch_rows_sum": "0+60x9"}
    case = {
        "interval": "1m",
        "input_series": [{"series": f'{name}{{model="ner"}}', "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": expression, "eval_time": "9m", "exp_samples": [{"labels": '{model="ner"}', "value": 0.75}]}
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"tests": [case]}), encoding="utf-8")
    result = promtool("test", "rules", tmp_path / "test.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
