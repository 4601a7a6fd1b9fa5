"""The bodies of the text API's requests and responses, as its OpenAPI document has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from bertbundle_gateway.core.methods import MAX_ANSWER_LEN
from bertbundle_gateway.web.validation import Body, Many

__all__ = [
    "AnswersRequest",
    "AnswersResponse",
    "ClassesRequest",
    "ClassesResponse",
    "EmbeddingsRequest",
    "EmbeddingsResponse",
    "EntitiesRequest",
    "EntitiesResponse",
    "ErrorResponse",
    "FillsRequest",
    "FillsResponse",
    "HeadsRequest",
    "HeadsResponse",
    "ValuesRequest",
    "ValuesResponse",
]

Truncation = Literal["window", "truncate", "error"]
OffsetUnit = Literal["code_points", "utf16", "utf8"]
Pair = Annotated[Many[str], Field(min_length=2, max_length=2, description="A pair of texts.")]
TextOrPair = str | Pair


class _LongTexts(Body):
    version: int | None = Field(None, ge=0, description="Number of the version that answers; null for the newest.")
    label: str | None = Field(None, description="Label of the version that answers, instead of its number.")
    truncation: Truncation | None = Field(
        None,
        description="What to do with a text of more tokens than the model accepts: split it into overlapping windows, "
        "drop the tokens at its end, or return an error for it. null is `window` for entities, answers and fills, else "
        "`error`.",
    )
    stride: int | None = Field(
        None, ge=0, description="Number of tokens that adjacent windows share; null for a quarter of a window."
    )


class _Offsets(_LongTexts):
    offset_unit: OffsetUnit = Field(
        "code_points",
        description="The unit of `start` and `end`: Unicode code points (Python), UTF-16 code units (Java, JavaScript, "
        "C#) or bytes of UTF-8 (Go, Rust).",
    )


Head = Annotated[
    str | None, Field(description="Which head answers, if the model has several for this task; see `heads`.")
]


class EntitiesRequest(_Offsets):
    """Texts to find entities in."""

    texts: Many[str] | Many[Many[str]] = Field(
        description="The texts; lists of words with `is_split_into_words`.", examples=[["Wang lives in Berlin"]]
    )
    is_split_into_words: bool = Field(
        False, description="Each text is a list of words. Offsets refer to the words joined by single spaces."
    )
    head: Head = None


class ClassesRequest(_LongTexts):
    """Texts or pairs of texts to classify."""

    texts: Many[TextOrPair] = Field(description="The texts or pairs of texts.", examples=[["I like it"]])
    top_k: int | None = Field(None, ge=1, description="Number of labels in `scores`; null for all.")
    threshold: float | None = Field(
        None, ge=0, le=1, description="Minimum score of a predicted label of a multi-label model; null for 0.5."
    )
    head: Head = None


class ValuesRequest(_LongTexts):
    """Texts or pairs of texts to compute a number for, such as a similarity."""

    texts: Many[TextOrPair] = Field(description="The texts or pairs of texts.", examples=[[["A man eats", "He eats"]]])
    head: Head = None


class EmbeddingsRequest(_LongTexts):
    """Texts to embed."""

    texts: Many[str] = Field(description="The texts.", examples=[["Wang lives in Berlin"]])


class Question(Body):
    """A question and a text that may contain its answer."""

    question: str
    context: str


class AnswersRequest(_Offsets):
    """Questions with their contexts."""

    questions: Many[Question] = Field(
        description="The questions.",
        examples=[[{"question": "Where does Wang live?", "context": "Wang lives in Berlin"}]],
    )
    max_answer_len: int | None = Field(
        None, ge=1, le=MAX_ANSWER_LEN, description="Maximum number of tokens of an answer; null for 15."
    )
    handle_impossible_answer: bool = Field(
        False, description='Return an empty answer if "no answer" has the highest score (SQuAD 2.0).'
    )


class FillsRequest(_Offsets):
    """Texts with masks to fill."""

    texts: Many[str] = Field(
        description="The texts, each with the model's mask token.", examples=[["Wang lives in [MASK]."]]
    )
    top_k: int | None = Field(
        None, ge=1, description="Number of tokens for each mask; null for all that the model returns."
    )


class HeadsRequest(_Offsets):
    """Texts for all heads of a model that has several."""

    texts: Many[TextOrPair] = Field(description="The texts; or pairs, if all heads take pairs.")


# ---- responses


class ItemError(BaseModel):
    """Why one text has no result."""

    code: str = Field(description="Name of the gRPC status code.", examples=["INVALID_ARGUMENT"])
    reason: str = Field(description="What is wrong, for programs.", examples=["EMPTY_TEXT"])
    message: str


class ItemFailure(BaseModel):
    """The result of a text that is invalid; the other texts of the request have theirs."""

    error: ItemError


class Entity(BaseModel):
    """A labelled span of a text."""

    label: str
    text: str
    start: int
    end: int
    score: float = Field(description="In [0, 1].")


class Entities(BaseModel):
    """The entities of a text by their start, the longer one first."""

    entities: list[Entity]


class Classes(BaseModel):
    """The classes of a text."""

    label: str = Field(description="The label with the highest score.")
    score: float
    labels: list[str] = Field(description="The predicted labels; of a multi-label model those above `threshold`.")
    scores: dict[str, float] = Field(description="The score of every label, or of the best `top_k`, best first.")


class Value(BaseModel):
    """The value of a text or a pair."""

    value: float


class Embedding(BaseModel):
    """The embedding of a text, pooled and normalized as the model's description says."""

    embedding: list[float]


class Answer(BaseModel):
    """The answer to a question, a span of its context."""

    text: str
    start: int
    end: int
    score: float
    null_score: float = Field(description='The probability of "no answer".')


class Fill(BaseModel):
    """A token for a mask."""

    token: str
    token_id: int
    text: str = Field(description="The text with the mask replaced by the token.")
    start: int
    end: int
    score: float


class Fills(BaseModel):
    """The best tokens for each mask of a text, in order, best first."""

    masks: list[list[Fill]]


class Heads(BaseModel):
    """The result of each head by its name, in the form of the method of its task."""

    heads: dict[str, Any]


class _Response(BaseModel):
    model: str = Field(description="The model, as the request names it.")
    model_version: int = Field(description="The version that computed all results.")


class EntitiesResponse(_Response):
    """One result for each text, in order."""

    results: list[Entities | ItemFailure]


class ClassesResponse(_Response):
    """One result for each text, in order."""

    results: list[Classes | ItemFailure]


class ValuesResponse(_Response):
    """One result for each text, in order."""

    results: list[Value | ItemFailure]


class EmbeddingsResponse(_Response):
    """One result for each text, in order."""

    results: list[Embedding | ItemFailure]


class AnswersResponse(_Response):
    """One result for each question, in order."""

    results: list[Answer | ItemFailure]


class FillsResponse(_Response):
    """One result for each text, in order."""

    results: list[Fills | ItemFailure]


class HeadsResponse(_Response):
    """One result for each text, in order."""

    results: list[Heads | ItemFailure]


class Error(BaseModel):
    """An error in the form of Google's APIs (https://google.aip.dev/193)."""

    code: int = Field(description="The HTTP status.", examples=[404])
    status: str = Field(description="The name of the gRPC status code.", examples=["NOT_FOUND"])
    message: str
    details: list[dict[str, Any]] = Field(description="A `google.rpc.ErrorInfo`, with the `reason` for programs.")


class ErrorResponse(BaseModel):
    """The response to a request that failed."""

    error: Error
