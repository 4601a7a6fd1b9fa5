"""How the answers of each task are read: one row per task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.labels import OUTSIDE
from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import Arrays, Classification, Encoding, Entity, Fill
from bertbundle.decoding.activations import sigmoid, softmax
from bertbundle.decoding.entities import decode_entities
from bertbundle.decoding.loaded_model import Held
from bertbundle.decoding.question_answering import best_answer, with_null
from bertbundle.errors import InputError, ServerError
from bertbundle.text.tokenizer import Text
from bertbundle.text.windows import Window, average_outputs, merge_token_outputs

__all__ = [
    "DECODERS",
    "THRESHOLD",
    "Decoder",
    "by_text",
    "by_token",
    "classification",
    "fills",
]

THRESHOLD = 0.5
"""Score from which a label of a multi-label model holds."""


Merge = Callable[[Held, Sequence[Window], Sequence[Arrays]], Arrays]


@dataclass(frozen=True, slots=True)
class Decoder:
    """How one task's answers are read.

    Attributes:
        task: its name in the manifest.
        method: the client's method for it.
        outputs: the outputs it asks for.
        decode: makes one text's result from its row of them.
        merge: makes one row of the rows of a long text's windows.
        takes: what a text may be: "text", "pair", or "text or pair".
        truncation: what becomes of a text that is too long, unless the caller says: windows where they lose nothing.
        side: text of a pair that is split into windows; None for the longer one.
        fallback: what it asks a model without `outputs`, somebody else's, and how those are made of that.
        gather: makes one value of the results of a list.
    """

    task: str
    method: str
    outputs: tuple[str, ...]
    decode: Callable[[Held, Any, Encoding, Arrays], Any]
    merge: Merge
    takes: str = "text"
    truncation: str = "error"
    side: int | None = None
    fallback: tuple[str, Callable[[Held, Arrays], Arrays]] | None = None
    gather: Callable[[list[Any]], Any] = list

    def asked(self, manifest: Manifest) -> tuple[str, ...]:
        """Return the outputs to ask a model for."""
        names = {spec.name for spec in manifest.outputs}
        if self.fallback and self.fallback[0] in names and not names.issuperset(self.outputs):
            return (self.fallback[0],)
        return self.outputs

    def complete(self, held: Held, row: Arrays) -> Arrays:
        """Return one row's outputs, made of the fallback's if that is what was asked."""
        return self.fallback[1](held, row) if self.fallback and self.fallback[0] in row else row


def by_token(held: Held, windows: Sequence[Window], rows: Sequence[Arrays]) -> Arrays:
    """Merge values per token; see `merge_token_outputs`."""
    labelled = "label_ids" in rows[0]
    return merge_token_outputs(windows, rows, outside=(lambda row: _outside(held, row)) if labelled else None)


def by_text(held: Held, windows: Sequence[Window], rows: Sequence[Arrays]) -> Arrays:
    """Merge values per text; see `average_outputs`."""
    del held
    return average_outputs(windows, rows)


# ---- token classification


def _outside(held: Held, row: Arrays) -> npt.NDArray[np.bool_]:
    roles = np.array([tag.role == OUTSIDE for tag in held.tags])
    outside: npt.NDArray[np.bool_] = roles[np.clip(row["label_ids"], 0, len(roles) - 1)]
    return outside


def _labels_of_logits(held: Held, row: Arrays) -> Arrays:
    del held
    probabilities = softmax(row["logits"])
    return {"label_ids": probabilities.argmax(axis=-1), "label_scores": probabilities.max(axis=-1)}


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


# ---- one value, one vector


def classification(
    held: Held, text: Text, encoding: Encoding, row: Arrays, *, threshold: float = THRESHOLD, top_k: int | None = None
) -> Classification:
    """Sort the scores; of independent classes those with a score of at least `threshold` hold."""
    del text, encoding
    values, labels = row["scores"], held.manifest.labels
    if values.shape != (len(labels),):
        raise ServerError(f"the server answered scores {list(values.shape)} per text for {len(labels)} labels.")
    ranked = sorted(zip(labels, values.tolist(), strict=True), key=lambda pair: -pair[1])
    label, score = ranked[0]
    holding = tuple(each for each, value in ranked if value >= threshold) if held.manifest.multi_label else (label,)
    return Classification(label, score, holding, dict(ranked[:top_k]))


def _scores_of_logits(held: Held, row: Arrays) -> Arrays:
    logits = row["logits"]
    return {"scores": sigmoid(logits) if held.manifest.multi_label else softmax(logits)}


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


def _mean_embedding(held: Held, windows: Sequence[Window], rows: Sequence[Arrays]) -> Arrays:
    """Merge vectors as `average_outputs` does; a vector of length 1 stays one."""
    row = average_outputs(windows, rows)
    if len(windows) == 1 or not held.manifest.normalized:
        return row
    return {name: vector / max(float(np.linalg.norm(vector)), 1e-12) for name, vector in row.items()}


# ---- fill-mask


def fills(held: Held, text: Text, encoding: Encoding, row: Arrays, *, top_k: int | None = None) -> list[list[Fill]]:
    """Read the best `top_k` tokens at each mask, all that the model offers if it is None."""
    ids, scores, size = row["token_ids"], row["token_scores"], held.manifest.top_k
    if top_k is not None and top_k > size:
        raise InputError(
            f"top_k is {top_k}, the bundle offers {size} tokens for each mask: export it with more (--top-k)."
        )
    if ids.shape != scores.shape or ids.ndim != 2 or len(ids) < len(encoding) or ids.shape[1] != size:
        raise ServerError(f"the server answered {list(ids.shape)} for token_ids, expected {size} for each token.")
    mask_id = held.tokenizer.token_id(held.manifest.mask_token)
    masks = [index for index, token_id in enumerate(encoding.ids) if token_id == mask_id]
    return [
        [
            _fill(held, str(text), encoding.offsets[mask], *pair)
            for pair in list(zip(ids[mask], scores[mask], strict=True))[:top_k]
        ]
        for mask in masks
    ]


def _fill(held: Held, text: str, offsets: tuple[int, int], token_id: Any, score: Any) -> Fill:
    start, end = offsets
    token = held.tokenizer.decode(int(token_id)).strip()  # byte-level tokens hold the space before a word
    return Fill(token, int(token_id), f"{text[:start]}{token}{text[end:]}", start, end, float(score))


_DECODERS = (
    Decoder(
        "token-classification",
        "entities",
        ("label_ids", "label_scores"),
        _entities,
        by_token,
        truncation="window",
        fallback=("logits", _labels_of_logits),
    ),
    Decoder(
        "text-classification",
        "classify",
        ("scores",),
        classification,
        by_text,
        takes="text or pair",
        fallback=("logits", _scores_of_logits),
    ),
    Decoder("regression", "regress", ("value",), _value, by_text, takes="text or pair"),
    Decoder("feature-extraction", "embed", ("sentence_embedding",), _embedding, _mean_embedding, gather=np.stack),
    Decoder(
        "question-answering",
        "answer",
        ("start_logits", "end_logits"),
        best_answer,
        with_null,
        takes="pair",
        truncation="window",
        side=1,
    ),
    Decoder("fill-mask", "fill_mask", ("token_ids", "token_scores"), fills, by_token, truncation="window"),
)
DECODERS: Mapping[str, Decoder] = {decoder.task: decoder for decoder in _DECODERS}
"""Every task by its name in the manifest."""
