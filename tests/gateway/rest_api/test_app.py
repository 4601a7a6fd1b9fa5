"""The application as a whole: its OpenAPI document, and requests made from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from embedded_server import start_server
from fakes import write_bundle
from http_calls import fetch
from paths import ROOT
from text_api import MODELS, TextApi, text_api
from tiny_bundles import TinyBundles

REQUESTS = int(os.environ.get("BERTBUNDLE_API_REQUESTS", "300"))
"""Number of requests that are made from the OpenAPI document."""


@pytest.fixture(scope="session")
def document(api: TextApi) -> Any:
    """The OpenAPI document."""
    status, found = api.get("/openapi.json")
    assert status == 200
    return found


def test_document_is_valid(document: Any) -> None:
    """The document is valid OpenAPI 3.1, and each operation has an id of its own and a summary."""
    OpenAPIV31SpecValidator(document).validate()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert all(operation["summary"] for operation in operations)
    assert "HTTPValidationError" not in json.dumps(document)  # FastAPI's own form of errors


def test_document_of_keys(tmp_path: Path) -> None:
    """With API keys, the document says how to send one."""
    (tmp_path / "keys").write_text("secret\n")
    with text_api(api_keys_file=tmp_path / "keys") as api:
        document = api.get("/openapi.json")[1]
    OpenAPIV31SpecValidator(document).validate()
    schemes = document["components"]["securitySchemes"].values()
    assert {scheme.get("scheme", scheme.get("name")) for scheme in schemes} == {"bearer", "x-api-key"}


def test_requests_from_the_document(api: TextApi) -> None:
    """Requests that are valid by the document have a status that it names, and none of 500 or above."""
    program = ROOT / "tests/support/requests_from_openapi.py"
    command = [sys.executable, str(program), api.url, str(REQUESTS), *MODELS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    assert int(done.stdout) >= REQUESTS


def test_paths_that_no_api_has(api: TextApi) -> None:
    """Another path is not found; another method is not allowed."""
    status, answer = api.get("/v1/nothing")
    assert (status, answer["error"]["message"]) == (
        404,
        "/v1/nothing does not exist. GET /openapi.json lists all routes.",
    )
    status, answer = api.get("/v1/embeddings")
    assert (status, answer["error"]["code"]) == (405, 405)
    # TensorFlow Serving's routes are not those of the text API.
    assert api.post("/v1/models/tagger:predict", {"instances": [1]})[0] == 404


def test_cors(api: TextApi) -> None:
    """Web pages of other origins are refused unless the option is set."""
    headers = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in fetch(f"{api.url}/v1/embeddings", method="OPTIONS", headers=headers)[1]
    with text_api(cors=True) as other:
        _, allowed, _ = fetch(f"{other.url}/v1/embeddings", method="OPTIONS", headers=headers)
        assert allowed["access-control-allow-origin"] == "*"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The root URL of an embedded server with the text API."""
    base = tmp_path_factory.mktemp("models") / "tiny"
    write_bundle(base)
    server = start_server(base, rest_port=0, text_api=True, poll_seconds=0)
    yield f"http://127.0.0.1:{server.server.rest_port}"
    server.stop()


@pytest.mark.slow
def test_routes_of_both_apis(embedded: str) -> None:
    """In an embedded server, the routes of TensorFlow Serving stay as they are beside those of the text API."""
    body = json.dumps({"texts": ["Wang lives"]}).encode()
    status, _, answer = fetch(f"{embedded}/v1/models/tiny:entities", body)
    assert (status, json.loads(answer)["results"][0]["entities"][0]["text"]) == (200, "Wang")
    assert json.loads(fetch(f"{embedded}/v1/models")[2])["data"][0]["task"] == "token-classification"
    row = {name: [1] * 4 for name in ("input_ids", "attention_mask", "token_type_ids")}
    request = {"signature_name": "length_4", "instances": [row]}
    status, _, answer = fetch(f"{embedded}/v1/models/tiny:predict", json.dumps(request).encode())
    assert (status, set(json.loads(answer)["predictions"][0])) == (200, {"label_ids", "label_scores", "logits"})
    assert json.loads(fetch(f"{embedded}/v1/models/tiny")[2])["model_version_status"][0]["state"] == "AVAILABLE"
    status, _, answer = fetch(f"{embedded}/v1/models/tiny:classify", body)
    assert (status, set(json.loads(answer))) == (400, {"error"})
    status, _, answer = fetch(f"{embedded}/v1/other")
    assert (status, json.loads(answer)) == (400, {"error": "Malformed request: GET /v1/other"})


def test_text_api_is_off_by_default(tmp_path: Path) -> None:
    """Without the option, an embedded server has the routes of TensorFlow Serving only."""
    base = tmp_path / "tiny"
    base.mkdir()
    TinyBundles(base).write(1)
    server = start_server(base, rest_port=0, poll_seconds=0)
    url = f"http://127.0.0.1:{server.server.rest_port}"
    answers = [fetch(f"{url}{path}")[0] for path in ("/openapi.json", "/v1/models/tiny:info", "/health")]
    server.stop()
    assert answers == [404, 400, 404]
