"""The published .proto file: generated code, and the rules of `buf lint` that need no buf."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bertbundle.text.v1 import text_service_pb2 as pb
from generated_code import descriptors
from optional import require_package
from paths import ROOT

PROTO = "bertbundle/text/v1/text_service.proto"
FILE: Any = pb.DESCRIPTOR
(SERVICE,) = FILE.services_by_name.values()
MESSAGES = list(FILE.message_types_by_name.values())
ENUMS = list(FILE.enum_types_by_name.values())


def test_generated_code() -> None:
    """The Python code is the one that protoc generates from the file."""
    require_package("grpc_tools")
    compiled, committed = descriptors(ROOT / "clients", PROTO, pb)
    assert compiled == committed


def test_names() -> None:
    """buf's STANDARD rules for names: the package is the directory and has a version; services, fields and enums."""
    assert FILE.name == PROTO
    assert PROTO.rpartition("/")[0] == FILE.package.replace(".", "/")
    assert re.search(r"\.v\d+$", FILE.package)
    assert SERVICE.name.endswith("Service")
    fields = [field.name for message in MESSAGES for field in message.fields]
    assert [name for name in fields if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)] == []
    names = [item.name for item in (*MESSAGES, *ENUMS, *SERVICE.methods)]
    assert [name for name in names if not re.fullmatch(r"([A-Z][a-z0-9]*)+", name)] == []
    for enum in ENUMS:
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper()
        assert {value.name.startswith(f"{prefix}_") for value in enum.values} == {True}
        assert enum.values_by_number[0].name == f"{prefix}_UNSPECIFIED"


def test_requests_and_responses() -> None:
    """Each method has a request and a response of its own, named after it."""
    for method in SERVICE.methods:
        assert (method.input_type.name, method.output_type.name) == (f"{method.name}Request", f"{method.name}Response")


def comments() -> Iterator[tuple[str, str]]:
    """Yield each definition of a service, method, message, enum or enum value, and the line before it."""
    lines = (ROOT / "clients" / PROTO).read_text(encoding="utf-8").splitlines()
    for before, line in zip(lines, lines[1:], strict=False):
        if re.match(r"(service|message|enum) | {2}(rpc|[A-Z_]+ =)", line):
            yield line, before


def test_comments() -> None:
    """Every service, method, message, enum and enum value has a comment."""
    assert [line for line, before in comments() if not before.strip().startswith("//")] == []
    assert len(list(comments())) > len(MESSAGES)
