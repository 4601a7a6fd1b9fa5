"""What all REST APIs do before a method is called: keys, limits of bodies, and strict JSON."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from http_calls import fetch
from text_api import TextApi, text_api
from waiting import wait_until

PATHS = [
    "/v1/models/tagger:entities",
    "/v1/embeddings",
    "/models/tagger",
    "/models/tagger/pipeline/token-classification",
    "/models/embedder/embed",
    "/v2/models/tagger/infer",
]
QUOTE = "Wang-secret-text"


def message(path: str, answer: Any) -> str:
    """Return the message of an error in the form of the path's API."""
    error = answer["error"]
    if path.startswith("/v1/"):
        assert set(error) in ({"code", "status", "message", "details"}, {"message", "type", "param", "code"})
        return str(error["message"])
    assert set(answer) == ({"error", "error_type"} if path.endswith("/embed") else {"error"})
    return str(error)


BAD_BODIES = {
    "invalid JSON": b'{"texts": ["' + QUOTE.encode() + b'"',
    "invalid UTF-8": b'{"texts": ["' + QUOTE.encode() + b'\xff"]}',
    "lone surrogate": b'{"texts": ["' + QUOTE.encode() + b'\\ud800"]}',
    "UTF-8 of a surrogate": b'{"texts": ["' + QUOTE.encode() + b'\xed\xa0\x80"]}',
    "null character": b'{"texts": ["' + QUOTE.encode() + b'\x00"]}',
    "NaN": b'{"texts": [NaN]}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", BAD_BODIES)
def test_invalid_json(api: TextApi, path: str, name: str) -> None:
    """A body that is not strict JSON is refused in the form of the API; the message does not quote it."""
    status, answer = api.post(path, BAD_BODIES[name])
    assert status == 400
    text = message(path, answer)
    assert text.startswith("The body is not valid JSON in UTF-8: ")
    assert QUOTE not in text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [{}, [], 1, "x", None, {QUOTE * 3: 1}, {"inputs": {QUOTE: QUOTE}}])
def test_wrong_documents(api: TextApi, path: str, body: Any) -> None:
    """A document of another form is refused in the form of the API, without quoting it."""
    status, answer = api.post(path, body)
    assert status in (400, 422)
    assert QUOTE * 3 not in message(path, answer)


@pytest.mark.parametrize("path", PATHS)
def test_empty_body(api: TextApi, path: str) -> None:
    """An empty body is refused."""
    status, answer = api.post(path, b"")
    assert status in (400, 422)
    assert message(path, answer) == "The body is empty, expected JSON."


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json", ""])
def test_any_content_type(api: TextApi, content_type: str) -> None:
    """The Content-Type does not matter: curl -d sends that of a form."""
    headers = {"Content-Type": content_type}
    assert api.post("/v1/models/tagger:entities", {"texts": ["wang"]}, **headers)[0] == 200


def test_compressed_bodies(api: TextApi) -> None:
    """A compressed body is refused by name."""
    data = gzip.compress(b'{"texts": ["wang"]}')
    status, answer = api.post("/v1/models/tagger:entities", data, **{"Content-Encoding": "gzip"})
    assert (status, answer["error"]["message"]) == (400, "Send the body without a Content-Encoding.")


def test_large_bodies() -> None:
    """A body over the limit is refused before it is complete."""
    with text_api(message_bytes=1000) as api:
        status, answer = api.post("/v1/models/tagger:entities", {"texts": ["x" * 2000]})
        assert (status, answer["error"]["message"]) == (
            400,
            "The body has more than 1000 bytes. Send several requests.",
        )
        assert api.post("/v1/models/tagger:entities", {"texts": ["wang"]})[0] == 200


def test_keys(tmp_path: Path) -> None:
    """With keys, all routes but health, the OpenAPI document and its page need one."""
    keys = tmp_path / "keys"
    keys.write_text("secret-1\nsecret-2\n")
    with text_api(api_keys_file=keys) as api:
        for path in PATHS:
            status, answer = api.post(path, {"texts": ["wang"]})
            assert (status, "Send an API key" in message(path, answer)) == (401, True)
            status, answer = api.post(path, b"not JSON", Authorization="Bearer wrong")
            assert (status, message(path, answer)) == (401, "The API key is not valid.")
        for headers in ({"Authorization": "Bearer secret-1"}, {"X-Api-Key": "secret-2"}):
            assert api.post(PATHS[0], {"texts": ["wang"]}, **headers)[0] == 200
        assert api.get("/v1/models")[0] == 401
        assert fetch(f"{api.url}/v1/models")[1]["www-authenticate"] == "Bearer"
        public = (
            "/openapi.json",
            "/reference",
            "/health",
            "/healthz",
            "/readyz",
            "/v2/health/ready",
            "/v2/models/tagger/ready",
        )
        assert [fetch(api.url + path)[0] for path in public] == [200] * len(public)


def test_timeout() -> None:
    """A request that takes longer than the timeout is ended with 504."""

    def slow(inputs: Any) -> Any:
        time.sleep(0.5)
        return inputs["input_ids"]

    with text_api({"label_ids": slow}, rest_timeout_seconds=0.1) as api:
        status, answer = api.post("/v1/models/tagger:entities", {"texts": ["wang"]})
    assert (status, answer["error"]["status"]) == (504, "DEADLINE_EXCEEDED")


def test_requests_at_the_limit() -> None:
    """Requests beyond the limit in flight are refused with 429."""
    from bertbundle_gateway.core.limits import Limits

    started, end = threading.Event(), threading.Event()

    def slow(inputs: Any) -> Any:
        started.set()
        end.wait(20)
        return inputs["input_ids"]

    path, body = "/v1/models/tagger:entities", {"texts": ["wang"]}
    with text_api({"label_ids": slow}, limits=Limits(requests=1)) as api, ThreadPoolExecutor(1) as pool:
        first = pool.submit(api.post, path, body)
        assert started.wait(20)
        refused = [api.post(path, body)[0] for _ in range(2)]
        ready = api.get("/v2/models/tagger/ready")[0]
        end.set()
        assert (first.result()[0], refused, ready) == (200, [429, 429], 200)


def test_client_that_disconnects() -> None:
    """A request whose client is gone is cancelled: it does not count among those in flight."""
    from bertbundle_gateway.core.limits import Limits

    started, end = threading.Event(), threading.Event()

    def first_is_slow(inputs: Any) -> Any:
        if not started.is_set():
            started.set()
            end.wait(20)
        return inputs["input_ids"]

    path, body = "/v1/models/tagger:entities", {"texts": ["wang"]}
    with text_api({"label_ids": first_is_slow}, limits=Limits(requests=1)) as api:
        host, port = api.url.removeprefix("http://").split(":")
        with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=20)) as connection:
            connection.request("POST", path, json.dumps(body))
            assert started.wait(20)
            assert api.post(path, body)[0] == 429
        wait_until(lambda: api.post(path, body)[0] == 200)
        end.set()


def test_a_long_text_does_not_stop_the_others(api: TextApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the tokenizer is busy with a long text, other requests and health checks are answered."""
    from bertbundle.text.tokenizer import Tokenizer

    started, end, encode = threading.Event(), threading.Event(), Tokenizer.try_encode

    def slow(self: Tokenizer, texts: Any, **options: Any) -> Any:
        if len(texts[0]) > 5000:
            started.set()
            assert end.wait(20)
        return encode(self, texts, **options)

    monkeypatch.setattr(Tokenizer, "try_encode", slow)
    path, long_text = "/v1/models/tagger:entities", {"texts": ["wang " * 1800], "truncation": "truncate"}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(api.post, path, long_text)
        assert started.wait(20)
        others = [api.post(path, {"texts": ["wang"]})[0], api.get("/v2/health/live")[0], api.get("/health")[0]]
        end.set()
        assert (first.result()[0], others) == (200, [200, 200, 200])


def test_bugs_are_hidden(api: TextApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception is an error 500 in the form of the API, without details."""
    from bertbundle_gateway.core.service import TextService

    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("inner details")

    monkeypatch.setattr(TextService, "ask", fail)
    status, answer = api.post("/v1/models/tagger:entities", {"texts": ["wang"]})
    assert status == 500
    assert "inner details" not in json.dumps(answer)
