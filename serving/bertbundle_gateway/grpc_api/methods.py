"""The gRPC methods that answer texts: from a request to what the core takes, and from its results to a response."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertbundle.text.v1 import text_service_pb2 as pb
from bertbundle_gateway.core.errors import ItemError, invalid_request
from bertbundle_gateway.core.methods import Options
from bertbundle_gateway.core.models import ModelRef
from bertbundle_gateway.core.service import Results
from bertbundle_gateway.grpc_api import results

__all__ = ["RPCS", "RPC_OF_METHOD", "Rpc", "make_response", "read_items", "read_model", "read_options"]


@dataclass(frozen=True, slots=True)
class Rpc:
    """A gRPC method that answers texts.

    Attributes:
        name: its name in TextService.
        method: the name in `METHODS` of the core's method.
        request, response: its messages.
        encode: writes the result of one item into the result message of the response.
    """

    name: str
    method: str
    request: Any
    response: Any
    encode: Callable[[Any, Any, Any], None]


_RPCS = (
    Rpc("FindEntities", "entities", pb.FindEntitiesRequest, pb.FindEntitiesResponse, results.encode_entities),
    Rpc("Classify", "classify", pb.ClassifyRequest, pb.ClassifyResponse, results.encode_classification),
    Rpc("Regress", "regress", pb.RegressRequest, pb.RegressResponse, results.encode_value),
    Rpc("Embed", "embed", pb.EmbedRequest, pb.EmbedResponse, results.encode_embedding),
    Rpc("AnswerQuestions", "answer", pb.AnswerQuestionsRequest, pb.AnswerQuestionsResponse, results.encode_answer),
    Rpc("FillMask", "fill_mask", pb.FillMaskRequest, pb.FillMaskResponse, results.encode_masks),
    Rpc("RunHeads", "heads", pb.RunHeadsRequest, pb.RunHeadsResponse, results.encode_heads),
)
RPCS: Mapping[str, Rpc] = {rpc.name: rpc for rpc in _RPCS}
"""The gRPC methods by name."""
RPC_OF_METHOD: Mapping[str, str] = {rpc.method: rpc.name for rpc in _RPCS}
"""The name of the gRPC method for each of the core's methods."""

_TRUNCATIONS = {
    pb.TRUNCATION_UNSPECIFIED: None,
    pb.TRUNCATION_WINDOW: "window",
    pb.TRUNCATION_TRUNCATE: "truncate",
    pb.TRUNCATION_ERROR: "error",
}


def read_model(request: Any) -> ModelRef:
    """Return the model that a request names."""
    model, choice = request.model, request.model.WhichOneof("version_choice")
    return ModelRef(
        model.name, model.version if choice == "version" else None, model.label if choice == "label" else None
    )


def read_items(request: Any) -> list[Any]:
    """Return the texts of a request: str, pairs, or lists of words.

    Raises:
        RequestError: there are texts and lists of words, or not one second text for each text.
    """
    if isinstance(request, pb.AnswerQuestionsRequest):
        return [(item.question, item.context) for item in request.questions]
    texts = list(request.texts)
    word_lists, seconds = (list(getattr(request, name, ())) for name in ("word_lists", "second_texts"))
    if word_lists:
        if texts:
            raise invalid_request("WRONG_KIND_OF_ITEM", "Send either texts or word_lists.", field="word_lists")
        return [list(item.words) for item in word_lists]
    if not seconds:
        return texts
    if len(seconds) != len(texts):
        raise invalid_request(
            "WRONG_KIND_OF_ITEM",
            f"There are {len(texts)} texts and {len(seconds)} second_texts. Send one for each text, or none.",
            field="second_texts",
        )
    return list(zip(texts, seconds, strict=True))


def read_options(request: Any) -> Options:
    """Return the options of a request.

    Raises:
        RequestError: the truncation is none of the enum's.
    """
    long_texts = request.long_texts
    if long_texts.truncation not in _TRUNCATIONS:
        message = f"{long_texts.truncation} is no Truncation that this server knows."
        raise invalid_request("INVALID_OPTION", message, field="long_texts.truncation")
    return Options(
        truncation=_TRUNCATIONS[long_texts.truncation],
        stride=_optional(long_texts, "stride"),
        head=getattr(request, "head", "") or None,
        is_split_into_words=bool(getattr(request, "word_lists", ())),
        top_k=_optional(request, "top_k"),
        threshold=_optional(request, "threshold"),
        max_answer_len=_optional(request, "max_answer_len"),
        handle_impossible_answer=getattr(request, "handle_impossible_answer", False),
    )


def _optional(message: Any, name: str) -> Any:
    """Return the value of an optional field; None if it is not set, or the message has no such field."""
    has_field = name in message.DESCRIPTOR.fields_by_name and message.HasField(name)
    return getattr(message, name) if has_field else None


def make_response(rpc: Rpc, items: Sequence[Any], answers: Results) -> Any:
    """Return the response for the results of the items."""
    response = rpc.response(model_version=answers.version)
    for item, answer in zip(items, answers, strict=True):
        result = response.results.add()
        if isinstance(answer, ItemError):
            results.encode_error(result.error, answer)
        else:
            rpc.encode(result, item, answer)
    return response
