"""The commands, names and reasons on docs/text-api.md match the code."""

from __future__ import annotations

import re
import shlex

from bertbundle.text.v1 import text_service_pb2 as pb
from bertbundle_gateway.core.errors import HTTP_STATUS
from bertbundle_gateway.core.servers import Servers
from bertbundle_gateway.flags import parse_arguments, to_options
from documents import read_blocks
from paths import ROOT

PAGE = "docs/text-api.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
SOURCES = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "serving/bertbundle_gateway").rglob("*.py"))
)


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
    named = {reason for *_, reasons in rows for reason in re.findall(r"`([A-Z_]+)`", reasons)}
    assert {reason for reason in named if f'"{reason}"' not in SOURCES} == set()


def test_fields_of_the_examples() -> None:
    """The examples in other languages use names of the .proto file."""
    examples = "\n".join(block.text for block in read_blocks(PAGE) if block.language == "text")
    names = {field.name.replace("_", "").lower() for field in pb.Span.DESCRIPTOR.fields}
    used = set(re.findall(r"[uU]tf\d+(?:Start|End)", examples))
    assert used
    assert {name.lower() for name in used} <= names
    assert {"FindEntities", "TextService"} <= set(re.findall(r"\w+", examples))
