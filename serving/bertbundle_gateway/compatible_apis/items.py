"""What the APIs have in common that have no errors of single texts, and that truncate and normalize embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bertbundle import Manifest
from bertbundle.decoding.base import Decoder
from bertbundle.session.batches import AskOptions
from bertbundle_gateway.core.errors import ItemError, RequestError, invalid_request
from bertbundle_gateway.core.methods import Options
from bertbundle_gateway.core.models import ModelRef
from bertbundle_gateway.core.service import TextService
from bertbundle_gateway.web.validation import Body

__all__ = ["TRUNCATE_HINT", "EmbedParameters", "Truncating", "ask_all", "embed_all", "require_results"]

_SMALLEST_NORM = 1e-12
TRUNCATE_HINT = 'Split it, or send "truncate": true, which drops its end.'


class Truncating(Body):
    """The parameters of text-embeddings-inference about long texts."""

    truncate: bool | None = Field(
        None, description="Drop the tokens at the end of a text that is too long; else it is an error."
    )
    truncation_direction: Literal["Right", "right", "Left", "left"] = Field(
        "Right", description="Only right is supported: the tokens at the end are dropped."
    )

    @property
    def truncation(self) -> str:
        """The `truncation` of the client's methods.

        Raises:
            RequestError: the direction is left.
        """
        if self.truncation_direction.lower() == "left":
            raise invalid_request(
                "NOT_SUPPORTED",
                "truncation_direction Left is not supported: only the tokens at the end of a text can be dropped.",
                field="truncation_direction",
            )
        return "truncate" if self.truncate else "error"


class EmbedParameters(Truncating):
    """The parameters of embeddings."""

    normalize: bool | None = Field(None, description="Whether the embeddings have length 1.")
    prompt_name: str | None = Field(None, description="Not supported: a bundle has no prompts.")
    dimensions: int | None = Field(None, description="If given, it must be the size of the model's embeddings.")


_CLIENT_HINT = "Split it, or pass truncation="
"""Where the advice of the client's `TextTooLong` begins, which names the client's options."""


def require_results(results: Sequence[Any], field: str, hint: str, *, single: bool = False) -> list[Any]:
    """Return results, all of which must be there.

    Args:
        results: results of the service.
        field: the field of the request with the texts.
        hint: what to do with a text that is too long, in the words of the API.
        single: whether the field is one text, not a list.

    Raises:
        RequestError: a text has an error.
    """
    for index, result in enumerate(results):
        if isinstance(result, ItemError):
            name = field if single else f"{field}[{index}]"
            message, found, _ = result.message.partition(_CLIENT_HINT)
            text = f"{message}{hint}" if found else message
            raise RequestError(result.code, result.reason, text, field=name)
    return list(results)


async def ask_all(
    service: TextService,
    ref: ModelRef,
    method: str,
    items: Sequence[Any],
    decoder: Decoder,
    options: AskOptions,
    hint: str,
) -> list[Any]:
    """Return the result of each item with a decoder; see `TextService.ask` and `require_results`.

    Raises:
        RequestError: the request failed, or an item has an error.
    """
    results = await service.ask(ref, method, items, decoder, replace(options, keep_errors=True))
    return require_results(results, "inputs", hint, single=len(items) == 1)


async def embed_all(
    service: TextService, ref: ModelRef, texts: Sequence[str], parameters: EmbedParameters, *, normalize: bool = False
) -> npt.NDArray[np.float32]:
    """Return the embeddings of texts as a matrix ``[texts, size]``.

    Args:
        service: answers the texts.
        ref: the model.
        texts: the texts.
        parameters: parameters of the request.
        normalize: whether to normalize the embeddings if the request does not say.

    Raises:
        RequestError: the request failed, a text has an error, or a parameter is not supported.
    """
    if parameters.prompt_name is not None:
        raise _refused("prompt_name", "a bundle has no prompts. Put the prompt before the text")
    options = Options(truncation=parameters.truncation)
    results = await service.annotate(ref, "embed", texts, options)
    vectors = np.stack(require_results(results, "inputs", TRUNCATE_HINT, single=len(texts) == 1))
    if parameters.dimensions not in (None, vectors.shape[1]):
        raise _refused("dimensions", f"the embeddings of this model have {vectors.shape[1]}. Leave it out")
    wanted = normalize if parameters.normalize is None else parameters.normalize
    if parameters.normalize is False:
        _check_not_normalized(await service.manifest(ref))
    return _normalized(vectors) if wanted else vectors


def _normalized(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: npt.NDArray[np.float32] = (vectors / np.maximum(norms, _SMALLEST_NORM)).astype(np.float32)
    return scaled


def _check_not_normalized(manifest: Manifest) -> None:
    if manifest.normalized:
        raise _refused("normalize", "the model itself normalizes its embeddings. Leave it out, or send true")


def _refused(field: str, why: str) -> RequestError:
    return invalid_request("NOT_SUPPORTED", f"This value of {field} is not supported: {why}.", field=field)
