"""The plain values that travel between the parts: stdlib and numpy only."""

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
    "Prediction",
    "VersionStatus",
]

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""Named tensors inside a process. Protobufs appear only at the edges."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One text (or pair of texts) as the model sees it, special tokens included, unpadded.

    All sequences have one entry per token.

    Attributes:
        ids: vocabulary indices.
        type_ids: 0 for the first text, 1 for the second.
        tokens: the vocabulary's spelling of each token.
        offsets: ``(start, end)`` in characters of the text as given; ``(0, 0)`` for special tokens.
        word_ids: index of the word a token belongs to, None for special tokens.
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

    def part(self, *spans: tuple[int, int]) -> Encoding:
        """Return the tokens of some spans ``(start, stop)``, one after the other."""
        return Encoding(
            *(tuple(each for start, stop in spans for each in column[start:stop]) for column in self._columns())
        )

    def _columns(self) -> tuple[tuple[Any, ...], ...]:
        return (self.ids, self.type_ids, self.tokens, self.offsets, self.word_ids, self.sequence_ids)


@dataclass(frozen=True, slots=True)
class InputFeatures:
    """A batch at one fixed length, as a signature takes it.

    Attributes:
        signature: name of the signature, for example ``"length_32"``.
        inputs: integer arrays of shape ``[batch, length]`` by input name.
    """

    signature: str
    inputs: Arrays


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a server answered to one Predict call.

    Attributes:
        outputs: arrays by output name.
        version: the version that answered, from ``response.model_spec``.

    >>> Prediction({}, version=3).version
    3
    """

    outputs: Arrays
    version: int


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """The state of one version of a model, as the server reports it.

    Attributes:
        version: version number.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error_code: name of the gRPC status code, ``"OK"`` if nothing is wrong.
        error_message: why the version is not served, if so.

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
        text: the span, cut from the text as given.
        start, end: character offsets into the text as given.
        score: mean over the span's tokens (or words) of the probability of the chosen label, in [0, 1].

    >>> Entity("PER", "Wang", 0, 4, 0.5).to_dict()
    {'label': 'PER', 'text': 'Wang', 'start': 0, 'end': 4, 'score': 0.5}
    """

    label: str
    text: str
    start: int
    end: int
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that ``json.dumps`` takes.

        >>> Entity("PER", "Wang", 0, 4, 0.5).to_dict()["label"]
        'PER'
        """
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer of a text classification.

    Attributes:
        label: the label with the highest score.
        score: its score, in [0, 1].
        labels: the labels that hold: the best one, or for a multi-label model all that reach the threshold, 0.5 unless
            another was asked for (perhaps none), best first.
        scores: every label's score, best first, or of the best `top_k` if that was asked for.

    >>> Classification("yes", 0.75, ("yes",), {"yes": 0.75, "no": 0.25}).to_dict()["scores"]
    {'yes': 0.75, 'no': 0.25}
    """

    label: str
    score: float
    labels: tuple[str, ...]
    scores: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that ``json.dumps`` takes.

        >>> Classification("yes", 0.75, ("yes",), {"yes": 0.75}).to_dict()["label"]
        'yes'
        """
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question, a span of its context: ``context[start:end] == answer.text``.

    Probabilities are over the context's tokens and [CLS], which means "no answer" to a model trained for that.

    Attributes:
        text: the span, cut from the context as given; "" if there is no answer, and that was asked for.
        start, end: character offsets into the context as given.
        score: probability of its first token as the start times that of its last as the end, in [0, 1].
        null_score: the same of "no answer".

    >>> Answer("Berlin", 3, 9, 0.5, 0.25).to_dict()
    {'text': 'Berlin', 'start': 3, 'end': 9, 'score': 0.5, 'null_score': 0.25}
    """

    text: str
    start: int
    end: int
    score: float
    null_score: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that ``json.dumps`` takes.

        >>> Answer("Berlin", 3, 9, 0.5).to_dict()["start"]
        3
        """
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Fill:
    """A token offered for a mask.

    Attributes:
        token: the token as text.
        token_id: its vocabulary index.
        text: the text as given with the token in the mask's place; other masks stay.
        start, end: character offsets of the mask in the text as given.
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
        """Return the fields as a dict that ``json.dumps`` takes.

        >>> Fill("wang", 4, "wang lives", 0, 6, 0.75).to_dict()["score"]
        0.75
        """
        return asdict(self)
