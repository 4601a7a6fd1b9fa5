"""The commands and the tables of docs/observability.md match the code."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bertbundle_serving.dataplane.metrics import Metrics
from bertbundle_serving.flags import parse_arguments, to_options
from documents import read_blocks
from observability.dashboards import FOLDER
from optional import skip_without
from paths import ROOT

PAGE = "docs/observability.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
COMMANDS = [shlex.split(command) for block in read_blocks(PAGE) if block.language == "sh" for command in block.commands]


def serve(flags: list[str]) -> None:
    """Check the flags of a server, with the model in a directory that exists."""
    options = to_options(parse_arguments([flag.replace("models/my-model", str(ROOT)) for flag in flags]))
    assert [model.name for model in options.models] == ["my-model"]
    assert options.metrics_path in (None, "/monitoring/prometheus/metrics")


def promtool(arguments: list[str]) -> None:
    """Run promtool, except for the tests of the rules, which tests/deploy/test_observability.py runs."""
    if arguments[0] == "test":
        assert arguments == ["test", "rules", str((FOLDER / "rules_test.yaml").relative_to(ROOT))]
        return
    program = shutil.which("promtool")
    if program is None:
        skip_without("prometheus")
    result = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def install(arguments: list[str]) -> None:
    """Check that the extras exist; tests/architecture/test_distributions.py installs what they name."""
    action, target = arguments
    extras = re.findall(r"\w+", target)
    declared = re.findall(r"^([\w-]+) = \[", (ROOT / "pyproject.toml").read_text("utf-8"), flags=re.MULTILINE)
    assert action == "install"
    assert set(extras) <= set(declared)


def trace(arguments: list[str]) -> None:
    """Check the flags of a server under the launcher; tests/serving/test_opentelemetry.py receives the spans of one."""
    program, *flags = arguments
    assert program == "bertbundle-serve"
    serve(flags)


RUN: dict[str, Callable[[list[str]], None]] = {
    "bertbundle-serve": serve,
    "promtool": promtool,
    "pip": install,
    "opentelemetry-instrument": trace,
}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command works, with the settings in front of it."""
    monkeypatch.chdir(ROOT)
    program, *arguments = [word for word in command if not re.match("OTEL_[A-Z_]+=", word)]
    RUN[program](arguments)


def test_metrics() -> None:
    """The tables have every metric, and no others."""
    found = re.findall(
        r"^# TYPE ((?:bertbundle_|:tensorflow:)\S+)", Metrics().exposition().decode(), flags=re.MULTILINE
    )
    assert set(re.findall(r"^\| `((?:bertbundle_|:tensorflow:)[^`]+)` \|", TEXT, flags=re.MULTILINE)) == set(found)


def test_alerts() -> None:
    """The table has every alert, and no others."""
    rules = (FOLDER / "rules.yaml").read_text("utf-8")
    assert set(re.findall(r"^\| `(BertBundle\w+)` \|", TEXT, flags=re.MULTILINE)) == set(
        re.findall(r"alert: (\w+)", rules)
    )


def test_spans() -> None:
    """The table has the engine's spans and their attributes."""
    source = (ROOT / "serving/bertbundle_serving/dataplane/tracing.py").read_text("utf-8")
    assert set(re.findall(r"`(bertbundle\.[a-z_.]+)`", TEXT)) == set(re.findall(r'"(bertbundle\.[a-z_.]+)"', source))
    assert {"queue", "batch", "compute"} <= set(re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.MULTILINE))


def test_scrape_configuration(tmp_path: Path) -> None:
    """Prometheus accepts the scrape configuration with the rules."""
    (block,) = [block.text for block in read_blocks(PAGE) if block.text.startswith("rule_files:")]
    (tmp_path / "prometheus.yml").write_text(block, encoding="utf-8")
    shutil.copy(FOLDER / "rules.yaml", tmp_path)
    promtool(["check", "config", str(tmp_path / "prometheus.yml")])
