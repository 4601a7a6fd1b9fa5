"""The requests of Hugging Face's inference API; see `compatible_apis.hugging_face`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from bertbundle_gateway.compatible_apis.items import EmbedParameters
from bertbundle_gateway.core.methods import MAX_ANSWER_LEN
from bertbundle_gateway.web.validation import Body, Many

__all__ = [
    "EmbedParameters",
    "ErrorBody",
    "FeatureExtractionBody",
    "FillMaskBody",
    "QuestionAnsweringBody",
    "SentenceSimilarityBody",
    "TextClassificationBody",
    "TokenClassificationBody",
]


class ErrorBody(BaseModel):
    """The response to a request that failed."""

    error: str


class _Parameters(Body):
    truncation: bool | None = Field(
        None, description="Drop the tokens at the end of a text that is too long, instead of the default of the task."
    )
    head: str | None = Field(None, description="Which head answers, if the model has several for the task.")


class TokenClassificationParameters(_Parameters):
    """Parameters of token classification."""

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = Field(
        None, description="How tokens are grouped; null for simple."
    )
    ignore_labels: Many[str] | None = Field(None, description="Labels to leave out; null for O.")
    stride: int | None = Field(None, ge=0, description="Number of tokens that the windows of a long text share.")


class TokenClassificationBody(Body):
    """Texts to find entities in."""

    inputs: str | Many[str]
    parameters: TokenClassificationParameters | None = None

    def pipeline_inputs(self) -> Any:
        """Return the inputs of the client's pipeline."""
        return self.inputs


class TextPair(Body):
    """A text or a pair of texts."""

    text: str
    text_pair: str | None = None


class TextClassificationParameters(_Parameters):
    """Parameters of text classification."""

    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = Field(
        None, description="What is applied to the logits; null for what the model was trained with."
    )
    top_k: int | None = Field(None, ge=1, description="Number of labels; null for all.")


class TextClassificationBody(Body):
    """Texts or pairs of texts to classify."""

    inputs: str | TextPair | Many[str | TextPair]
    parameters: TextClassificationParameters | None = None

    def pipeline_inputs(self) -> Any:
        """Return the inputs of the client's pipeline."""
        if isinstance(self.inputs, list):
            return [_plain(text) for text in self.inputs]
        return _plain(self.inputs)


def _plain(text: str | TextPair) -> Any:
    return text if isinstance(text, str) else text.model_dump(exclude_none=True)


class Question(Body):
    """A question and a text that may contain its answer."""

    question: str
    context: str


class QuestionAnsweringParameters(Body):
    """Parameters of question answering."""

    top_k: int | None = Field(None, ge=1, le=1000, description="Number of answers; null for 1, which is not in a list.")
    align_to_words: bool | None = Field(None, description="Whether an answer has whole words only; null for true.")
    doc_stride: int | None = Field(None, ge=0, description="Number of tokens that the windows of a context share.")
    handle_impossible_answer: bool | None = Field(None, description="Whether no answer is an answer.")
    max_answer_len: int | None = Field(
        None, ge=1, le=MAX_ANSWER_LEN, description="Maximum number of tokens of an answer."
    )
    max_question_len: int | None = Field(None, description="Not supported: a question is never truncated.")
    max_seq_len: int | None = Field(None, description="Not supported: lengths are those of the bundle.")


class QuestionAnsweringBody(Body):
    """A question to answer."""

    inputs: Question
    parameters: QuestionAnsweringParameters | None = None

    def pipeline_inputs(self) -> Any:
        """Return the inputs of the client's pipeline."""
        return (self.inputs.question, self.inputs.context)


class FillMaskParameters(Body):
    """Parameters of fill-mask."""

    targets: Many[str] | None = Field(None, min_length=1, description="Tokens to choose from.")
    top_k: int | None = Field(None, ge=1, description="Number of tokens for each mask; null for 5.")


class FillMaskBody(Body):
    """Texts with masks to fill."""

    inputs: str | Many[str]
    parameters: FillMaskParameters | None = None

    def pipeline_inputs(self) -> Any:
        """Return the inputs of the client's pipeline."""
        return self.inputs


class FeatureExtractionBody(EmbedParameters):
    """Texts to embed; the parameters are not nested, as in text-embeddings-inference."""

    inputs: str | Many[str]


class Sentences(Body):
    """Sentences to compare."""

    source_sentence: str
    sentences: Many[str] = Field(min_length=1)


class SentenceSimilarityBody(Body):
    """Sentences to compare."""

    inputs: Sentences
    parameters: EmbedParameters | None = None
