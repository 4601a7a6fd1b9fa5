"""Labelled tokens as transformers' token classification pipeline gives them, strategy by strategy.

The rules are those of `TokenClassificationPipeline` in transformers 4.57, so that code written for its output runs
unchanged; `client.entities` is the reading that trusts the model's own label scheme and word rule instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays, Encoding
from bertbundle.decoding.activations import softmax
from bertbundle.decoding.loaded_model import Held
from bertbundle.errors import ServerError

__all__ = ["STRATEGIES", "token_dicts"]

_Scores: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Token:
    """A token, or a word made of them, before it has a label."""

    word: str
    scores: _Scores
    start: int
    end: int
    index: int
    subword: bool


def token_dicts(
    held: Held, text: str, encoding: Encoding, row: Arrays, *, strategy: str, ignore_labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return what the pipeline would: tokens for "none", else groups of neighbours of one type."""
    tokens = _tokens(held, text, encoding, _probabilities(held, encoding, row["logits"]))
    choose = STRATEGIES[strategy]
    units = [_labelled(held, token) for token in (tokens if choose is None else _words(held, tokens, choose))]
    if strategy == "none":
        return [
            _as_token(unit, token)
            for unit, token in zip(units, tokens, strict=True)
            if unit["entity"] not in ignore_labels
        ]
    groups = [_group(held, units) for units in _neighbours(units)]
    return [group for group in groups if group["entity_group"] not in ignore_labels]


def _probabilities(held: Held, encoding: Encoding, logits: npt.NDArray[Any]) -> _Scores:
    """Return the softmax in float32, as the pipeline computes it: the last digits decide ties."""
    if logits.ndim != 2 or len(logits) < len(encoding) or logits.shape[1] != len(held.manifest.labels):
        raise ServerError(f"the server answered {list(logits.shape)} logits for {len(encoding)} tokens.")
    return softmax(logits[: len(encoding)], np.float32)


def _tokens(held: Held, text: str, encoding: Encoding, scores: _Scores) -> list[_Token]:
    prefix, unknown = held.tokenizer.subword_prefix, held.tokenizer.unknown_token
    found = []
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
        found.append(_Token(word, scores[index], start, end, index, subword))
    return found


def _first(tokens: Sequence[_Token]) -> _Scores:
    return tokens[0].scores


def _average(tokens: Sequence[_Token]) -> _Scores:
    scores: _Scores = np.nanmean(np.stack([token.scores for token in tokens]), axis=0)
    return scores


def _max(tokens: Sequence[_Token]) -> _Scores:
    return max(tokens, key=lambda token: float(token.scores.max())).scores


Choose: TypeAlias = "Callable[[Sequence[_Token]], _Scores]"
STRATEGIES: Mapping[str, Choose | None] = {
    "none": None,
    "simple": None,
    "first": _first,
    "average": _average,
    "max": _max,
}
"""How each strategy scores a word of several tokens; None leaves tokens alone."""


def _words(held: Held, tokens: Sequence[_Token], choose: Choose) -> list[_Token]:
    words: list[list[_Token]] = []
    for token in tokens:
        if words and token.subword:
            words[-1].append(token)
        else:
            words.append([token])
    return [
        _Token(
            held.tokenizer.join([token.word for token in word]),
            choose(word),
            word[0].start,
            word[-1].end,
            0,
            subword=False,
        )
        for word in words
    ]


def _labelled(held: Held, token: _Token) -> dict[str, Any]:
    best = int(token.scores.argmax())
    return {
        "entity": held.manifest.labels[best],
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


def _neighbours(units: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
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


def _group(held: Held, units: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "entity_group": units[0]["entity"].split("-", 1)[-1],
        "score": float(np.mean([unit["score"] for unit in units])),
        "word": held.tokenizer.join([unit["word"] for unit in units]),
        "start": units[0]["start"],
        "end": units[-1]["end"],
    }
