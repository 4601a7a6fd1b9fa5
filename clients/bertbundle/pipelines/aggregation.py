"""The aggregation strategies of transformers' token classification pipeline.

The rules are those of `TokenClassificationPipeline` in transformers 4.57. `client.entities` instead follows the label
scheme and `word_labels` of the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bertbundle.decoding.activations import softmax
from bertbundle.decoding.base import DecodeInput
from bertbundle.decoding.loaded_model import LoadedModel
from bertbundle.errors import ServerError

__all__ = ["STRATEGIES", "token_dicts"]

_Scores: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Token:
    """A token or a word, with the score of each label."""

    word: str
    scores: _Scores
    start: int
    end: int
    index: int
    subword: bool


def token_dicts(item: DecodeInput, *, strategy: str, ignore_labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the result of the pipeline: tokens for "none", else groups of adjacent tokens or words of one type.

    Args:
        item: a text and its `logits`.
        strategy: a key of `STRATEGIES`.
        ignore_labels: labels to leave out.

    Raises:
        ServerError: the shape of the logits does not match the tokens and labels, or some are NaN or infinite.
    """
    model, tokens = item.model, _tokens(item, _probabilities(item))
    score_word = STRATEGIES[strategy]
    words = tokens if score_word is None else _words(model, tokens, score_word)
    units = [_labelled(model, word) for word in words]
    if strategy == "none":
        return [
            _as_token(unit, token)
            for unit, token in zip(units, tokens, strict=True)
            if unit["entity"] not in ignore_labels
        ]
    groups = [_group(model, adjacent) for adjacent in _adjacent(units)]
    return [group for group in groups if group["entity_group"] not in ignore_labels]


def _probabilities(item: DecodeInput) -> _Scores:
    """Return the softmax in float32: as in transformers, rounding decides ties."""
    logits, tokens = item.outputs["logits"], len(item.encoding)
    if logits.ndim != 2 or len(logits) < tokens or logits.shape[1] != len(item.model.manifest.labels):
        raise ServerError(f"the server returned logits of shape {list(logits.shape)} for {tokens} tokens.")
    probabilities = softmax(logits[:tokens], np.float32)
    if np.isnan(probabilities).any():  # each label would be the first one: no entities, without a word
        raise ServerError("the server returned logits that are NaN or infinite.")
    return probabilities


def _tokens(item: DecodeInput, scores: _Scores) -> list[_Token]:
    text, encoding, tokenizer = item.text, item.encoding, item.model.tokenizer
    prefix, unknown = tokenizer.subword_prefix, tokenizer.unknown_token
    tokens = []
    for index, (word, (start, end)) in enumerate(zip(encoding.tokens, encoding.offsets, strict=True)):
        if encoding.sequence_ids[index] is None:
            continue
        part = text[start:end]
        if word == unknown:
            word, subword = part, False
        elif prefix:
            subword = len(word) != len(part)
        else:
            subword = start > 0 and " " not in text[start - 1 : start + 1]
        tokens.append(_Token(word, scores[index], start, end, index, subword))
    return tokens


def _first(tokens: Sequence[_Token]) -> _Scores:
    return tokens[0].scores


def _average(tokens: Sequence[_Token]) -> _Scores:
    scores: _Scores = np.nanmean(np.stack([token.scores for token in tokens]), axis=0)
    return scores


def _max(tokens: Sequence[_Token]) -> _Scores:
    return max(tokens, key=lambda token: float(token.scores.max())).scores


ScoreWord: TypeAlias = "Callable[[Sequence[_Token]], _Scores]"
STRATEGIES: Mapping[str, ScoreWord | None] = {
    "none": None,
    "simple": None,
    "first": _first,
    "average": _average,
    "max": _max,
}
"""How each strategy scores a word of several tokens; None for a strategy that does not group tokens into words."""


def _words(model: LoadedModel, tokens: Sequence[_Token], score_word: ScoreWord) -> list[_Token]:
    words: list[list[_Token]] = []
    for token in tokens:
        if words and token.subword:
            words[-1].append(token)
        else:
            words.append([token])
    return [
        _Token(
            model.tokenizer.join([token.word for token in word]),
            score_word(word),
            word[0].start,
            word[-1].end,
            0,
            subword=False,
        )
        for word in words
    ]


def _labelled(model: LoadedModel, token: _Token) -> dict[str, Any]:
    best = int(token.scores.argmax())
    return {
        "entity": model.manifest.labels[best],
        "score": float(token.scores[best]),
        "word": token.word,
        "start": token.start,
        "end": token.end,
    }


def _as_token(unit: dict[str, Any], token: _Token) -> dict[str, Any]:
    keys = ("entity", "score", "index", "word", "start", "end")
    return {key: token.index if key == "index" else unit[key] for key in keys}


def _tag(label: str) -> tuple[str, str]:
    return (label[0], label[2:]) if label.startswith(("B-", "I-")) else ("I", label)


def _adjacent(units: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups: list[list[dict[str, Any]]] = []
    last = ""
    for unit in units:
        role, kind = _tag(unit["entity"])
        if groups and kind == last and role != "B":
            groups[-1].append(unit)
        else:
            groups.append([unit])
        last = kind
    return groups


def _group(model: LoadedModel, units: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "entity_group": units[0]["entity"].split("-", 1)[-1],
        "score": float(np.mean([unit["score"] for unit in units])),
        "word": model.tokenizer.join([unit["word"] for unit in units]),
        "start": units[0]["start"],
        "end": units[-1]["end"],
    }
