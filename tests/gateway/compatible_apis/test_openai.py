"""OpenAI's API, called by the package `openai`."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from text_api import MODELS, TextApi, text_api


@pytest.fixture(scope="session")
def client(api: TextApi) -> Iterator[openai.OpenAI]:
    """OpenAI's client, with nothing changed but the address."""
    with openai.OpenAI(base_url=f"{api.url}/v1", api_key="unused", max_retries=0) as opened:
        yield opened


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_embeddings(client: openai.OpenAI, encoding: Any) -> None:
    """Each text has its embedding, as numbers or as base64, which the client asks for by default."""
    options: dict[str, Any] = {} if encoding is None else {"encoding_format": encoding}
    answer = client.embeddings.create(model="embedder", input=["wang", "in berlin"], user="someone", **options)
    vectors: list[Any] = [item.embedding for item in answer.data]
    if encoding == "base64":
        vectors = [np.frombuffer(base64.b64decode(vector), "<f4").tolist() for vector in vectors]
    assert vectors == [[4, 3], [6, 5]]  # the id of the first word, and the number of tokens
    assert [item.index for item in answer.data] == [0, 1]
    assert (answer.object, answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == (
        "list",
        "embedder",
        8,
        8,
    )


def test_one_text(client: openai.OpenAI) -> None:
    """A text that is not in a list has one embedding."""
    (item,) = client.embeddings.create(model="embedder", input="wang", dimensions=2).data
    assert item.embedding == [4, 3]


REFUSED = [
    ({"input": [1, 2]}, openai.BadRequestError, "tokens_not_supported", "input"),
    ({"input": [[1, 2], [3]]}, openai.BadRequestError, "tokens_not_supported", "input"),
    ({"input": ["wang", ""]}, openai.BadRequestError, "empty_text", "input[1]"),
    ({"input": ""}, openai.BadRequestError, "empty_text", "input"),
    ({"input": []}, openai.BadRequestError, "no_texts", "input"),
    ({"input": "wang " * 50}, openai.BadRequestError, "context_length_exceeded", "input"),
    ({"input": ["x"] * 101}, openai.BadRequestError, "too_many_texts", "input"),
    ({"input": "wang", "dimensions": 1}, openai.BadRequestError, "invalid_dimensions", "dimensions"),
    ({"input": "wang", "extra_body": {"truncate": True}}, openai.BadRequestError, "unknown_field", "truncate"),
    ({"input": "wang", "model": "tagger"}, openai.BadRequestError, "wrong_task", None),
]


@pytest.mark.parametrize(("request_", "error_type", "code", "param"), REFUSED)
def test_refused(client: openai.OpenAI, request_: Any, error_type: Any, code: str, param: str | None) -> None:
    """What cannot be followed is refused in OpenAI's form, with the field at fault."""
    with pytest.raises(error_type) as raised:
        client.embeddings.create(**{"model": "embedder", **request_})
    assert (raised.value.code, raised.value.param, raised.value.type) == (code, param, "invalid_request_error")


def test_advice(client: openai.OpenAI) -> None:
    """The errors say what to do in the terms of this API."""
    with pytest.raises(openai.BadRequestError, match="Split it into several texts"):
        client.embeddings.create(model="embedder", input="wang " * 50)
    with pytest.raises(openai.BadRequestError, match="Use POST /v1/models/tagger:entities"):
        client.embeddings.create(model="tagger", input="wang")


def test_models(client: openai.OpenAI) -> None:
    """The client lists the models; the list also has their tasks."""
    models = list(client.models.list())
    assert {model.id: model.task for model in models} == MODELS  # type: ignore[attr-defined]


def test_keys_and_servers(tmp_path: Path) -> None:
    """A wrong key, a model that does not exist, and a server that is away raise the client's own errors."""
    keys = tmp_path / "keys"
    keys.write_text("right\n")
    with text_api(api_keys_file=keys) as api:

        def ask(key: str, model: str = "embedder") -> Any:
            with openai.OpenAI(base_url=f"{api.url}/v1", api_key=key, max_retries=0) as client:
                return client.embeddings.create(model=model, input="wang")

        with pytest.raises(openai.AuthenticationError) as raised:
            ask("wrong")
        assert (raised.value.code, raised.value.type) == ("invalid_api_key", "authentication_error")
        assert len(ask("right").data) == 1
        with pytest.raises(openai.NotFoundError) as missing:
            ask("right", "nobody")
        assert missing.value.code == "model_not_found"
        api.server.stop()
        with pytest.raises(openai.InternalServerError) as away:
            ask("right")
        assert (away.value.status_code, away.value.type) == (503, "server_error")
