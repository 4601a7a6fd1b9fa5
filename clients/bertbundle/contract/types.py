"""Data types passed between modules. Depends on the standard library and numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy.typing as npt

__all__ = [
    "Answer",
    "Arrays",
    "Classification",
    "Encoding",
    "Entity",
    "Fill",
    "InputFeatures",
    "PredictCall",
    "Prediction",
    "VersionStatus",
]

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""Named tensors within a process; protobuf messages are used only in `bertbundle.wire` and the transports."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """The tokens of one text or pair of texts, including special tokens, without padding.

    All sequences have one entry per token.

    Attributes:
        ids: vocabulary indices.
        type_ids: 0 for the first text, 1 for the second.
        tokens: each token as it is spelled in the vocabulary.
        offsets: ``(start, end)`` in characters of the original text; ``(0, 0)`` for special tokens.
        word_ids: index of the word that each token belongs to, None for special tokens.
        sequence_ids: 0 for tokens of the first text, 1 for those of the second, None for special tokens.
    """

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]
    word_ids: tuple[int | None, ...]
    sequence_ids: tuple[int | None, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, *spans: tuple[int, int]) -> Encoding:
        """Return an encoding of the tokens in the spans ``(start, stop)``, concatenated."""
        return Encoding(
            *(tuple(value for start, stop in spans for value in column[start:stop]) for column in self._columns())
        )

    def _columns(self) -> tuple[tuple[Any, ...], ...]:
        return (self.ids, self.type_ids, self.tokens, self.offsets, self.word_ids, self.sequence_ids)


@dataclass(frozen=True, slots=True)
class InputFeatures:
    """A padded batch: the inputs of one signature.

    Attributes:
        signature: name of the signature, for example ``"length_32"``.
        inputs: integer arrays of shape ``[batch, length]`` by input name.
    """

    signature: str
    inputs: Arrays


@dataclass(frozen=True, slots=True)
class PredictCall:
    """One Predict request.

    Attributes:
        model: model name.
        signature: signature name.
        inputs: arrays by input name.
        outputs: names of the outputs to return; empty for all.
        version: version number, or version label such as "stable"; None for the newest version.

    >>> PredictCall("ner", "length_32", {}, outputs=("label_ids",)).version is None
    True
    """

    model: str
    signature: str
    inputs: Arrays
    outputs: tuple[str, ...] = ()
    version: int | str | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """The response to one Predict call.

    Attributes:
        outputs: arrays by output name.
        version: the model version that computed the outputs, from ``response.model_spec``.

    >>> Prediction({}, version=3).version
    3
    """

    outputs: Arrays
    version: int


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """The state of one version of a model, as reported by the server.

    Attributes:
        version: version number.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error_code: name of the gRPC status code, ``"OK"`` if there is no error.
        error_message: why the version is not served; "" if there is no error.

    >>> VersionStatus(version=1, state="AVAILABLE", error_code="OK", error_message="").state
    'AVAILABLE'
    """

    version: int
    state: str
    error_code: str
    error_message: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A labelled span of a text: ``text[start:end] == entity.text``.

    Attributes:
        label: the label without its B-/I- prefix.
        text: the span of the original text.
        start, end: character offsets into the original text.
        score: mean probability of the predicted label over the span's tokens (or words), in [0, 1]. For span
            classification, the sigmoid of the span's logit: not a calibrated probability.

    >>> Entity("PER", "Wang", 0, 4, 0.5).to_dict()
    {'label': 'PER', 'text': 'Wang', 'start': 0, 'end': 4, 'score': 0.5}
    """

    label: str
    text: str
    start: int
    end: int
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serializable dict.

        >>> Entity("PER", "Wang", 0, 4, 0.5).to_dict()["label"]
        'PER'
        """
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Classification:
    """The result of text classification.

    Attributes:
        label: the label with the highest score.
        score: its score, in [0, 1].
        labels: the predicted labels, best first: the best label, or for a multi-label model every label with a score of
            at least `threshold` (0.5 by default), which may be none.
        scores: the score of every label, or of the best `top_k` labels if `top_k` was passed, best first.

    >>> Classification("yes", 0.75, ("yes",), {"yes": 0.75, "no": 0.25}).to_dict()["scores"]
    {'yes': 0.75, 'no': 0.25}
    """

    label: str
    score: float
    labels: tuple[str, ...]
    scores: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serializable dict.

        >>> Classification("yes", 0.75, ("yes",), {"yes": 0.75}).to_dict()["label"]
        'yes'
        """
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question, a span of its context: ``context[start:end] == answer.text``.

    Probabilities are over the context's tokens and [CLS], which stands for "no answer" (SQuAD 2.0).

    Attributes:
        text: the span of the original context; "" for no answer, if `handle_impossible_answer` was passed.
        start, end: character offsets into the original context.
        score: start probability of the first token times end probability of the last token, in [0, 1].
        null_score: probability of "no answer", computed likewise for [CLS].

    >>> Answer("Berlin", 3, 9, 0.5, 0.25).to_dict()
    {'text': 'Berlin', 'start': 3, 'end': 9, 'score': 0.5, 'null_score': 0.25}
    """

    text: str
    start: int
    end: int
    score: float
    null_score: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serializable dict.

        >>> Answer("Berlin", 3, 9, 0.5).to_dict()["start"]
        3
        """
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Fill:
    """A predicted token for a mask.

    Attributes:
        token: the token as text.
        token_id: its vocabulary index.
        text: the original text with the mask replaced by the token; other masks are unchanged.
        start, end: character offsets of the mask in the original text.
        score: probability of the token at the mask, in [0, 1].

    >>> Fill("wang", 4, "wang lives", 0, 6, 0.75).to_dict()["token"]
    'wang'
    """

    token: str
    token_id: int
    text: str
    start: int
    end: int
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serializable dict.

        >>> Fill("wang", 4, "wang lives", 0, 6, 0.75).to_dict()["score"]
        0.75
        """
        return asdict(self)
