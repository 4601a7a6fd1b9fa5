"""The plain values that travel between the parts: stdlib and numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
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


@dataclass(frozen=True, slots=True)
class InputFeatures:
    """A batch at one fixed length, as a signature takes it.

    Attributes:
        signature: name of the signature, for example ``"length_32"``.
        inputs: int32 arrays of shape ``[batch, length]`` by input name.
    """

    signature: str
    inputs: Mapping[str, npt.NDArray[np.int32]]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a server answered to one Predict call.

    Attributes:
        outputs: arrays by output name.
        version: the version that answered, from ``response.model_spec``.
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
    """

    label: str
    text: str
    start: int
    end: int
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that ``json.dumps`` takes."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer of a text classification.

    Attributes:
        label: the label with the highest score.
        score: its score, in [0, 1].
        labels: the labels that hold: the best one, or for a multi-label model all with a score of at least 0.5
            (perhaps none), best first.
        scores: every label's score, best first.
    """

    label: str
    score: float
    labels: tuple[str, ...]
    scores: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that ``json.dumps`` takes."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question, a span of its context: ``context[start:end] == answer.text``.

    Attributes:
        text: the span, cut from the context as given.
        start, end: character offsets into the context as given.
        score: probability of its first token as the start times that of its last as the end, in [0, 1].
    """

    text: str
    start: int
    end: int
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that ``json.dumps`` takes."""
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
    """

    token: str
    token_id: int
    text: str
    start: int
    end: int
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that ``json.dumps`` takes."""
        return asdict(self)
