"""API keys of routes that are not the gateway's own: those of TensorFlow Serving in an embedded server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embedded_server import start_server
from fakes import write_bundle
from http_calls import fetch


@pytest.mark.slow
@pytest.mark.parametrize("text_api", [False, True])
def test_all_routes_need_a_key(tmp_path: Path, text_api: bool) -> None:
    """With keys, each route of an embedded server needs one, but for health, the OpenAPI document and the page."""
    base, keys = tmp_path / "tiny", tmp_path / "keys"
    write_bundle(base)
    keys.write_text("right\n")
    server = start_server(base, rest_port=0, poll_seconds=0, text_api=text_api, page=text_api, api_keys_file=keys)
    url = f"http://127.0.0.1:{server.server.rest_port}"
    status, headers, body = fetch(f"{url}/v1/models/tiny")
    assert (status, headers["www-authenticate"], list(json.loads(body))) == (401, "Bearer", ["error"])
    assert fetch(f"{url}/v1/models/tiny:predict", b"{}")[0] == 401
    assert fetch(f"{url}/v1/models/tiny", headers={"Authorization": "Bearer right"})[0] == 200
    texts = json.dumps({"texts": ["wang"]}).encode()
    if text_api:
        assert fetch(f"{url}/v1/models/tiny:entities", texts)[0] == 401
        assert fetch(f"{url}/v1/models/tiny:entities", texts, headers={"X-Api-Key": "right"})[0] == 200
        assert fetch(f"{url}/openapi.json")[0] == 200
        assert fetch(url + "/")[0] == 200
    server.stop()
