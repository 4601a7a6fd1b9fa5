"""How the answers of each task are read: one row per task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.errors import ServerError
from bertbundle.labels import Tag, decode_entities
from bertbundle.manifest import Manifest
from bertbundle.primitives import Answer, Arrays, Classification, Encoding, Entity, Fill
from bertbundle.tokenizer import Text, Tokenizer

__all__ = ["DECODERS", "Decoder", "Held"]

_THRESHOLD = 0.5
_MOST_ANSWER_TOKENS = 15  # as transformers' question-answering pipeline, `max_answer_len`


@dataclass(frozen=True, slots=True)
class Held:
    """What a client holds of one version of a bundle."""

    version: int
    manifest: Manifest
    tokenizer: Tokenizer
    tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class Decoder:
    """How one task's answers are read.

    Attributes:
        method: the client's method for it.
        outputs: the outputs it asks for.
        decode: makes one text's result from its rows of them.
        takes: what a text may be: "text", "pair", or "text or pair".
    """

    method: str
    outputs: tuple[str, ...]
    decode: Callable[[Held, Text, Encoding, Arrays], Any]
    takes: str = "text"


def _entities(held: Held, text: Text, encoding: Encoding, row: Arrays) -> list[Entity]:
    labels, scores = row["label_ids"], row["label_scores"]
    if labels.ndim != 1 or labels.shape != scores.shape or len(labels) < len(encoding):
        shapes = f"{list(labels.shape)} and {list(scores.shape)}"
        raise ServerError(f"the server answered rows of {shapes} for label_ids and label_scores of {len(encoding)}.")
    size = len(held.tags)
    if labels.size and not 0 <= labels.min() <= labels.max() < size:
        raise ServerError(f"label_ids outside [0, {size}): the server's model and its manifest disagree.")
    rule = held.manifest.word_labels
    return decode_entities(str(text), encoding, labels.tolist(), scores.tolist(), tags=held.tags, word_labels=rule)


def _classification(held: Held, text: Text, encoding: Encoding, row: Arrays) -> Classification:
    del text, encoding
    values, labels = row["scores"], held.manifest.labels
    if values.shape != (len(labels),):
        raise ServerError(f"the server answered scores {list(values.shape)} per text for {len(labels)} labels.")
    scores = dict(sorted(zip(labels, values.tolist(), strict=True), key=lambda pair: -pair[1]))
    best = next(iter(scores))
    holding = tuple(label for label, score in scores.items() if score >= _THRESHOLD)
    return Classification(best, scores[best], holding if held.manifest.multi_label else (best,), scores)


def _value(held: Held, text: Text, encoding: Encoding, row: Arrays) -> float:
    del held, text, encoding
    if row["value"].shape != ():
        raise ServerError(f"the server answered shape {list(row['value'].shape)} per text for value.")
    return float(row["value"])


def _embedding(held: Held, text: Text, encoding: Encoding, row: Arrays) -> npt.NDArray[np.float32]:
    del held, text, encoding
    vector = row["sentence_embedding"]
    if vector.ndim != 1:
        raise ServerError(f"the server answered shape {list(vector.shape)} per text for sentence_embedding.")
    return vector.astype(np.float32, copy=False)


# ---- question answering


def _answer(held: Held, text: Text, encoding: Encoding, row: Arrays) -> Answer:
    """Pick the span of the context with the highest product of the probabilities of its start and its end.

    Source: Devlin et al., "BERT", 2019, section 4.2; probabilities over the context's tokens only, and the longest
    answer, as in transformers' question-answering pipeline.
    """
    del held
    context = [index for index, side in enumerate(encoding.sequence_ids) if side == 1]
    starts, ends = (_probabilities(row[name], encoding, context) for name in ("start_logits", "end_logits"))
    spans = np.tril(np.triu(starts[:, None] * ends[None, :]), _MOST_ANSWER_TOKENS - 1)
    first, last = np.unravel_index(int(spans.argmax()), spans.shape)
    start, end = _whole_words(encoding, context[int(first)], context[int(last)])
    return Answer(text[1][start:end], start, end, float(spans[first, last]))


def _probabilities(logits: npt.NDArray[Any], encoding: Encoding, context: list[int]) -> npt.NDArray[np.float64]:
    if logits.ndim != 1 or len(logits) < len(encoding):
        raise ServerError(f"the server answered {list(logits.shape)} logits for {len(encoding)} tokens.")
    chosen = logits[context].astype(np.float64)
    powers = np.exp(chosen - chosen.max())
    probabilities: npt.NDArray[np.float64] = powers / powers.sum()
    return probabilities


def _whole_words(encoding: Encoding, first: int, last: int) -> tuple[int, int]:
    """Return the characters from the word of one token to the end of the word of another."""
    words = list(zip(encoding.sequence_ids, encoding.word_ids, strict=True))
    first = words.index(words[first])
    last = len(words) - 1 - words[::-1].index(words[last])
    return encoding.offsets[first][0], encoding.offsets[last][1]


# ---- fill-mask


def _fills(held: Held, text: Text, encoding: Encoding, row: Arrays) -> list[list[Fill]]:
    ids, scores, size = row["token_ids"], row["token_scores"], held.manifest.top_k
    if ids.shape != scores.shape or ids.ndim != 2 or len(ids) < len(encoding) or ids.shape[1] != size:
        raise ServerError(f"the server answered {list(ids.shape)} for token_ids, expected {size} for each token.")
    mask_id = held.tokenizer.token_id(held.manifest.mask_token)
    masks = [index for index, token_id in enumerate(encoding.ids) if token_id == mask_id]
    return [
        [_fill(held, str(text), encoding.offsets[mask], *pair) for pair in zip(ids[mask], scores[mask], strict=True)]
        for mask in masks
    ]


def _fill(held: Held, text: str, offsets: tuple[int, int], token_id: Any, score: Any) -> Fill:
    start, end = offsets
    token = held.tokenizer.decode(int(token_id)).strip()  # byte-level tokens hold the space before a word
    return Fill(token, int(token_id), f"{text[:start]}{token}{text[end:]}", start, end, float(score))


DECODERS: Mapping[str, Decoder] = {
    "token-classification": Decoder("entities", ("label_ids", "label_scores"), _entities),
    "text-classification": Decoder("classify", ("scores",), _classification, takes="text or pair"),
    "regression": Decoder("regress", ("value",), _value, takes="text or pair"),
    "feature-extraction": Decoder("embed", ("sentence_embedding",), _embedding),
    "question-answering": Decoder("answer", ("start_logits", "end_logits"), _answer, takes="pair"),
    "fill-mask": Decoder("fill_mask", ("token_ids", "token_scores"), _fills),
}
"""Every task by its name in the manifest."""
