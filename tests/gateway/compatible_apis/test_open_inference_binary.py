"""Tensors as bytes after the JSON document of a request or a response."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from http_calls import fetch
from text_api import TextApi

HEADER = "Inference-Header-Content-Length"
WANG = struct.pack("<I", 4) + b"wang"


def post(
    api: TextApi, body: dict[str, Any], data: bytes, header: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Send a request to the embedder."""
    document = json.dumps(body).encode()
    size = str(len(document)) if header is None else header
    return fetch(f"{api.url}/v2/models/embedder/infer", document + data, headers={HEADER: size})


def text(**fields: Any) -> dict[str, Any]:
    """Return a tensor with one text, without its elements."""
    return {"name": "text", "shape": [1], "datatype": "BYTES", **fields}


SIZE = {"binary_data_size": len(WANG)}


@pytest.mark.parametrize("selected", [None, True, False])
@pytest.mark.parametrize("default", [None, True, False])
def test_outputs(api: TextApi, *, selected: bool | None, default: bool | None) -> None:
    """An output is bytes if its parameter says so, or else that of the request."""
    body: dict[str, Any] = {"inputs": [text(parameters=SIZE)]}
    if selected is not None:
        body["outputs"] = [{"name": "embedding", "parameters": {"binary_data": selected}}]
    if default is not None:
        body["parameters"] = {"binary_data_output": default}
    status, headers, received = post(api, body, WANG)
    size = {name.lower(): value for name, value in headers.items()}.get(HEADER.lower())
    is_binary = default if selected is None else selected
    assert (status, size is not None) == (200, bool(is_binary))
    (output,) = json.loads(received[: None if size is None else int(size)])["outputs"]
    if size is None:
        assert output["data"] == [4.0, 3.0]
    else:
        assert output == {
            "name": "embedding",
            "datatype": "FP32",
            "shape": [1, 2],
            "parameters": {"binary_data_size": 8},
        }
        assert received[int(size) :] == struct.pack("<2f", 4, 3)


REFUSED: list[tuple[dict[str, Any], bytes, str | None, str]] = [
    (
        {"inputs": [text(parameters=SIZE)]},
        WANG[:-1],
        None,
        "inputs['text']: binary_data_size must be a number of the 7",
    ),
    (
        {"inputs": [text(parameters=SIZE)]},
        WANG + b"x",
        None,
        "After the JSON document there are 1 bytes that are of no",
    ),
    ({"inputs": [text(parameters={"binary_data_size": -1})]}, WANG, None, "inputs['text']: binary_data_size must be a"),
    ({"inputs": [text(parameters={"binary_data_size": True})]}, WANG, None, "inputs['text']: binary_data_size must be"),
    ({"inputs": [text(parameters={"binary_data_size": None})]}, WANG, None, "inputs['text']: binary_data_size must be"),
    ({"inputs": [text(parameters=SIZE, data=["a"])]}, WANG, None, "inputs['text']: it has data and binary_data_size."),
    ({"inputs": [text()]}, b"", None, "inputs['text']: it has neither data nor binary_data_size."),
    ({"inputs": [text(data=["a"])]}, WANG, None, "After the JSON document there are 8 bytes"),
    ({"inputs": [text(parameters=SIZE)]}, b"\5\0\0\0wang", None, "inputs['text']: data is not strings, each after its"),
    ({"inputs": [text(parameters=SIZE)]}, b"\3\0\0\0wang", None, "inputs['text']: data is not strings, each after its"),
    (
        {"inputs": [text(parameters=SIZE)]},
        WANG,
        "many",
        "The header inference-header-content-length must be the number",
    ),
    (
        {"inputs": [text(parameters=SIZE)]},
        WANG,
        "9" * 5000,
        "The header inference-header-content-length must be the nu",
    ),
    ({"inputs": [text(parameters=SIZE)]}, WANG, "3", "The body is not valid JSON in UTF-8"),
    ({"inputs": [text(parameters=SIZE)]}, WANG, "0", "The body is not valid JSON in UTF-8"),
    ({"inputs": [text(data=["a"])]}, b"", "9999", "The JSON document should have 9999 bytes, the body has "),
    (
        {"inputs": [text(parameters=SIZE)], "parameters": {"binary_data_output": 1}},
        WANG,
        None,
        "binary_data_output and binary_data must be true or false.",
    ),
]


@pytest.mark.parametrize(("body", "data", "header", "message"), REFUSED)
def test_refused(api: TextApi, body: dict[str, Any], data: bytes, header: str | None, message: str) -> None:
    """Bytes that do not fit to what the document says are refused."""
    status, _, received = post(api, body, data, header)
    error = json.loads(received)["error"]
    assert (status, error[: len(message)]) == (400, message)
