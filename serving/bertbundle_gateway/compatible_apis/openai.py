"""OpenAI's embeddings API: ``POST /v1/embeddings``.

Source: https://platform.openai.com/docs/api-reference/embeddings, and the `openai` package, which asks for base64
unless `encoding_format` is passed. ``GET /v1/models`` is in `rest_api.model_routes`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from bertbundle.decoding.base import DecodeInput
from bertbundle.decoding.decoders import DECODERS
from bertbundle.session.batches import AskOptions
from bertbundle_gateway.compatible_apis.items import require_results
from bertbundle_gateway.core.errors import RequestError, invalid_request
from bertbundle_gateway.core.models import ModelRef
from bertbundle_gateway.web.json_documents import check_finite, json_response
from bertbundle_gateway.web.route_names import describe_error
from bertbundle_gateway.web.routes import ApiContext, ErrorStyle, api_router
from bertbundle_gateway.web.validation import Body, Many

__all__ = ["openai_router"]


class EmbeddingsBody(Body):
    """Texts to embed."""

    model: str = Field(description="The name of the model.")
    input: str | Many[str] | Many[int] | Many[Many[int]] = Field(
        description="A text or a list of texts. Arrays of tokens are refused: they depend on a tokenizer."
    )
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="A list of numbers, or base64 of little-endian float32."
    )
    dimensions: int | None = Field(None, description="If given, it must be the size of the model's embeddings.")
    user: str | None = Field(None, description="Has no effect, as in OpenAI's API.")


class Vector(BaseModel):
    """The embedding of one text."""

    object: str
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """The number of tokens, special tokens included."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsDocument(BaseModel):
    """One embedding for each text, in order."""

    object: str
    model: str
    data: list[Vector]
    usage: Usage


class OpenAiError(BaseModel):
    """An error."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAiErrorDocument(BaseModel):
    """The response to a request that failed."""

    error: OpenAiError


# Source: https://platform.openai.com/docs/guides/error-codes
_TYPES: Mapping[str, str] = {
    "UNAUTHENTICATED": "authentication_error",
    "RESOURCE_EXHAUSTED": "rate_limit_error",
    "INTERNAL": "server_error",
    "UNAVAILABLE": "server_error",
    "DEADLINE_EXCEEDED": "server_error",
}
_CODES: Mapping[str, str] = {
    "MODEL_NOT_FOUND": "model_not_found",
    "TEXT_TOO_LONG": "context_length_exceeded",
    "API_KEY_MISSING": "invalid_api_key",
    "API_KEY_INVALID": "invalid_api_key",
    "OVERLOADED": "rate_limit_exceeded",
}


def openai_router(context: ApiContext) -> APIRouter:
    """Return the routes of OpenAI's API."""
    router = api_router(context, ErrorStyle(_document_of_error), tag="OpenAI")

    @router.post(
        "/v1/embeddings",
        summary="Embed texts, as OpenAI's API does",
        operation_id="openai_embeddings",
        responses={
            200: {"model": EmbeddingsDocument},
            **{status: {"model": OpenAiErrorDocument} for status in (400, 401, 404, 429, 503, 504)},
        },
    )
    async def embeddings(body: EmbeddingsBody) -> Response:
        texts = _texts(body.input)
        results = await context.service.ask(
            ModelRef(body.model), "embed", texts, _DECODER, AskOptions(keep_errors=True)
        )
        return json_response(_document(body, _checked(results, body)))

    return router


def _with_tokens(item: DecodeInput) -> tuple[npt.NDArray[np.float32], int]:
    """Return the embedding of a text and its number of tokens."""
    return DECODERS["feature-extraction"].decode(item), len(item.encoding)


_DECODER = replace(DECODERS["feature-extraction"], decode=_with_tokens, gather=list)


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not all(isinstance(text, str) for text in texts):
        raise invalid_request(
            "TOKENS_NOT_SUPPORTED",
            "input has arrays of tokens, which are not supported: the gateway has the model's tokenizer, send texts. "
            "In LangChain's OpenAIEmbeddings pass check_embedding_ctx_length=False.",
            field="input",
        )
    return list(texts)


def _checked(results: Sequence[Any], body: EmbeddingsBody) -> list[tuple[npt.NDArray[np.float32], int]]:
    """Return the results.

    Raises:
        RequestError: a text has none, as this API has no errors of single texts; `dimensions` is another number; or
            the model returned NaN.
    """
    vectors = require_results(results, "input", "Split it into several texts.", single=isinstance(body.input, str))
    check_finite([vector for vector, _ in vectors])  # base64 has NaN, and nobody would notice it
    size = len(vectors[0][0])
    if body.dimensions not in (None, size):
        raise invalid_request(
            "INVALID_DIMENSIONS",
            f"dimensions is {body.dimensions}, the embeddings of this model have {size}. Leave it out.",
            field="dimensions",
        )
    return vectors


def _document(body: EmbeddingsBody, results: Sequence[tuple[npt.NDArray[np.float32], int]]) -> dict[str, Any]:
    is_base64 = body.encoding_format == "base64"
    tokens = sum(count for _, count in results)
    return {
        "object": "list",
        "model": body.model,
        "data": [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if is_base64 else vector}
            for index, (vector, _) in enumerate(results)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _base64(vector: npt.NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4", copy=False).tobytes()).decode("ascii")


def _document_of_error(error: RequestError, _status: int) -> dict[str, Any]:
    """Return the document of an error. Source: https://platform.openai.com/docs/guides/error-codes."""
    return {
        "error": {
            "message": describe_error(error),
            "type": _TYPES.get(error.code, "invalid_request_error"),
            "param": "input" if error.field == "texts" else error.field or None,  # `texts` is the core's name
            "code": _CODES.get(error.reason, error.reason.lower()),
        }
    }
