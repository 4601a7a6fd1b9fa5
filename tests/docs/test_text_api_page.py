"""The commands, names and reasons on docs/text-api.md match the code."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bertbundle.text.v1 import text_service_pb2 as pb
from bertbundle_gateway.core.errors import HTTP_STATUS
from bertbundle_gateway.core.metrics import GatewayMetrics
from bertbundle_gateway.core.servers import Servers
from bertbundle_gateway.flags import parse_arguments, to_options
from bertbundle_gateway.rest_api.metrics_route import METRICS_PATH
from bertbundle_gateway.web.route_names import ROUTE_OF_METHOD
from documents import read_blocks
from inference_clients import inference_python
from node import node_output
from optional import skip_without
from paths import ROOT
from text_api import text_api

PAGE = "docs/text-api.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


def sources(*patterns: str) -> str:
    """Return the text of modules of the gateway."""
    paths = [path for pattern in patterns for path in sorted((ROOT / "serving/bertbundle_gateway").glob(pattern))]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


SOURCES = sources("**/*.py")
REASON_SOURCES = sources(
    "core/*.py", "web/*.py", "grpc_api/*.py", "rest_api/*.py", "compatible_apis/open_inference*.py"
)
"""The other APIs have errors of their own, without reasons or with those of their services."""


def test_the_command() -> None:
    """The command that starts the gateway is valid."""
    commands = [line for block in read_blocks(PAGE) if block.language == "sh" for line in block.text.splitlines()]
    program, *flags = shlex.split(next(line for line in commands if line.startswith("bertbundle-gateway")))
    assert program == "bertbundle-gateway"
    options = to_options(parse_arguments(flags))
    assert (options.servers, options.port, options.rest_port) == (Servers("localhost:8500", {}), 8600, 8601)


def test_methods() -> None:
    """The table has every method of the service."""
    table = TEXT.split("| method |")[1].split("\n\n")[0]
    methods = re.findall(r"`([A-Z]\w+)`", table)
    assert {*methods} == {method.name for method in pb.DESCRIPTOR.services_by_name["TextService"].methods}


def test_reasons() -> None:
    """The table has every status and reason of the code, and no others."""
    table = TEXT.split("| status |")[1].split("\n\n")[0]
    rows = [line.split("|")[1:4] for line in table.splitlines()[2:]]
    for status, http, _ in rows:
        assert HTTP_STATUS[status.strip()] == int(http)
    named = {reason for *_, reasons in rows for reason in re.findall(r"`([A-Z_\d]+)`", reasons)}
    assert {reason for reason in named if f'"{reason}"' not in SOURCES} == set()
    raised = re.findall(r'(?:invalid_request\(|RequestError\(\s*"[A-Z_]+",|return)\s*"([A-Z_\d]+)"', REASON_SOURCES)
    assert len(raised) > len(named) / 2
    named |= set(re.findall(r"`([A-Z]+_[A-Z_\d]+)`", TEXT))  # those of single texts are before the table
    assert {*raised} - named == {"NO_SUCH_METHOD"}  # of the Python interface: callers name methods by routes


def test_fields_of_the_examples() -> None:
    """The examples in other languages use names of the .proto file."""
    examples = "\n".join(block.text for block in read_blocks(PAGE) if block.language == "text")
    names = {field.name.replace("_", "").lower() for field in pb.Span.DESCRIPTOR.fields}
    used = set(re.findall(r"[uU]tf\d+(?:Start|End)", examples))
    assert used
    assert {name.lower() for name in used} <= names
    assert {"FindEntities", "TextService"} <= set(re.findall(r"\w+", examples))


def test_rest_examples(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The curl command and the Python examples of the page print answers."""
    python = [block.text for block in read_blocks(PAGE) if block.language == "python"]
    curl = [line for block in read_blocks(PAGE) if block.language == "sh" for line in block.commands if "curl" in line]
    with text_api() as api:

        def at_test_server(example: str) -> str:
            names = example.replace("/ner", "/tagger").replace('"minilm"', '"embedder"').replace("Alex", "Wang")
            return names.replace("http://localhost:8601", api.url)

        for example in (example for example in python if "tritonclient" not in example):
            exec(at_test_server(example), {})  # noqa: S102
        printed = capsys.readouterr().out
        if shutil.which("curl") is None:
            skip_without("curl")
        (command,) = curl
        done = subprocess.run(  # noqa: S602
            at_test_server(command), shell=True, cwd=tmp_path, capture_output=True, text=True, check=True
        )
    assert printed.splitlines() == ["2 12", "PER wang 0 4"]
    assert '"text":"Wang"' in done.stdout


def test_triton_example() -> None:
    """The example with Triton's client prints the shape of the embeddings."""
    python = inference_python()
    (example,) = (block.text for block in read_blocks(PAGE) if "tritonclient" in block.text)
    with text_api() as api:
        script = example.replace("localhost:8600", api.address).replace('"minilm"', '"embedder"')
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.returncode) == ("(2, 2)\n", 0), done.stderr


def test_metrics() -> None:
    """The table has each metric of the gateway with its labels, and the scrape has their path."""
    metrics = GatewayMetrics()
    metrics.request_finished("ner", "entities", "OK", 1, 0.1)
    families = [
        family
        for family in text_string_to_metric_families(metrics.exposition().decode())
        if family.name.startswith("bertbundle_")
    ]
    names = {f"{family.name}_total" if family.type == "counter" else family.name: family for family in families}
    table = TEXT.split("| metric |")[1].split("\n\n")[0]
    rows = [re.findall(r"`(\w+)`", line.rpartition("|")[0].rpartition("|")[0]) for line in table.splitlines()[2:]]
    assert {name for name, *_ in rows} == names.keys()
    for name, *labels in rows:
        for sample in names[name].samples:
            assert sample.labels.keys() - {"le"} == {*labels}
    (scrape,) = (block.text for block in read_blocks(PAGE) if "scrape_configs" in block.text)
    (config,) = yaml.safe_load(scrape)["scrape_configs"]
    assert config["metrics_path"] == METRICS_PATH


def test_rest_routes() -> None:
    """The table of routes has each route of the text API."""
    assert set(re.findall(r"`POST /v1/models/\{model\}:(\w+)`", TEXT)) == set(ROUTE_OF_METHOD.values())


def test_node_examples() -> None:
    """The examples for Node.js print entities with their text, also after a character of two UTF-16 code units."""
    text, directory = "😀 Wang lives in Berlin", str(ROOT / "clients")
    expected = ["PER Wang 0.54", "LOC Berlin 0.57"]
    examples = ROOT / "examples/node"
    with text_api() as api:
        assert node_output(examples / "entities_rest.mjs", api.url, "tagger", text).splitlines() == expected
        packages = ("@grpc/grpc-js", "@grpc/proto-loader")
        arguments = (api.address, "tagger", text, directory)
        assert node_output(examples / "entities_grpc.mjs", *arguments, packages=packages).splitlines() == expected
