"""Answers texts in SageMaker's TensorFlow Serving container, which calls `handler`.

The client tokenizes here and calls the TensorFlow Serving beside it. A request is ``{"texts": [...]}``; a text is a
string, or a list of two for models of pairs. `truncation` is that of the client. The response is
``{"results": [...]}`` with a result, or an error, for each text.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from bertbundle import BertBundleError, Client, InputError
from bertbundle.cli.formatting import RESULT_FORMATS
from bertbundle.decoding.decoders import DECODERS
from bertbundle.session.batches import AskOptions

__all__ = ["handler"]

_JSON = "application/json"


class Stream(Protocol):
    """The body of a request."""

    def read(self) -> bytes:
        """Return all of it."""


class Context(Protocol):
    """What the container says about a request; only these attributes are used."""

    @property
    def model_name(self) -> str | None:
        """The model, if the container serves several."""

    @property
    def grpc_port(self) -> int | str:
        """The gRPC port of TensorFlow Serving."""

    @property
    def request_content_type(self) -> str:
        """The content type of the body."""


def handler(data: Stream, context: Context) -> tuple[str, str]:
    """Answer one request. The container calls this.

    Args:
        data: the body.
        context: the container's context.

    Returns:
        The body of the response and its content type.

    Raises:
        InputError: the body is not as described above; the container answers with status 500 and the message.
        BertBundleError: the model returned NaN or infinity, or cannot be asked.
    """
    texts, truncation = _read_request(data.read(), context.request_content_type)
    # The container names no model if it serves one. It sets the variable to the name of that model's directory.
    name = context.model_name or os.environ["TFS_DEFAULT_MODEL_NAME"]
    results = _answer(_client(f"localhost:{context.grpc_port}", name), texts, truncation)
    try:
        return json.dumps({"results": results}, ensure_ascii=False, allow_nan=False), _JSON
    except ValueError as error:
        raise BertBundleError("the model returned NaN or infinity, which JSON does not have") from error


@functools.cache
def _client(address: str, model: str) -> Client:
    return Client(address, model)


def _answer(client: Client, texts: list[Any], truncation: str | None) -> list[Mapping[str, Any]]:
    task = client.manifest().task
    decoder = replace(DECODERS[task], gather=list)
    results = client.ask(decoder, texts, AskOptions(truncation, keep_errors=True))
    to_dict = RESULT_FORMATS[task].to_dict
    return [{"error": str(found)} if isinstance(found, InputError) else to_dict(found) for found in results]


def _read_request(body: bytes, content_type: str) -> tuple[list[Any], str | None]:
    if content_type.partition(";")[0].strip() != _JSON:
        raise InputError(f'the content type is {content_type}. Send {_JSON}: {{"texts": ["..."]}}.')
    try:
        request = json.loads(body)
    except ValueError as error:
        raise InputError(f'the body is not JSON: {error}. Send {{"texts": ["..."]}}.') from error
    if not isinstance(request, dict) or not isinstance(request.get("texts"), list):
        raise InputError('the body has no list "texts". Send {"texts": ["..."]}.')
    if unknown := sorted(request.keys() - {"texts", "truncation"}):
        raise InputError(f'the body has the unknown field {unknown[0]!r}. Known are "texts" and "truncation".')
    texts = [tuple(text) if isinstance(text, list) else text for text in request["texts"]]
    return texts, request.get("truncation")
