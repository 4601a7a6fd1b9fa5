"""What a client does, without the waiting: each task as a generator of calls.

A flow yields the `Call`s it wants made and is sent each answer, so that a client is only a loop that makes calls,
blocking or not.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from bertbundle.errors import InputError, InvalidRequest, ManifestError, ServerError, SignatureNotFound
from bertbundle.labels import Tag, decode_entities, parse_labels
from bertbundle.manifest import BUNDLE_INFO, Manifest
from bertbundle.primitives import Arrays, Classification, Encoding, Entity, Prediction
from bertbundle.tokenizer import Text, Tokenizer, choose_signature, pack

__all__ = ["Call", "Flow", "Session"]

T = TypeVar("T")
_ROWS_PER_CALL = 32
_VERSION_ATTEMPTS = 3
_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Call:
    """A Predict call that a flow wants made."""

    signature: str
    inputs: Arrays
    outputs: tuple[str, ...]


Flow: TypeAlias = Generator[Call, Prediction, T]


@dataclass(frozen=True, slots=True)
class _Held:
    """What a client holds of one version of a bundle."""

    version: int
    manifest: Manifest
    tokenizer: Tokenizer
    tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class _Decoder:
    """How one task's answers are read: the outputs it asks for, and one text's result from its rows of them."""

    method: str
    outputs: tuple[str, ...]
    decode: Callable[[_Held, Text, Encoding, Arrays], Any]
    takes_pairs: bool = False


def _entities(held: _Held, text: Text, encoding: Encoding, row: Arrays) -> list[Entity]:
    labels, scores = row["label_ids"], row["label_scores"]
    if labels.ndim != 1 or labels.shape != scores.shape or len(labels) < len(encoding):
        shapes = f"{list(labels.shape)} and {list(scores.shape)}"
        raise ServerError(f"the server answered rows of {shapes} for label_ids and label_scores of {len(encoding)}.")
    size = len(held.tags)
    if labels.size and not 0 <= labels.min() <= labels.max() < size:
        raise ServerError(f"label_ids outside [0, {size}): the server's model and its manifest disagree.")
    rule = held.manifest.word_labels
    return decode_entities(str(text), encoding, labels.tolist(), scores.tolist(), tags=held.tags, word_labels=rule)


def _classification(held: _Held, text: Text, encoding: Encoding, row: Arrays) -> Classification:
    del text, encoding
    values, labels = row["scores"], held.manifest.labels
    if values.shape != (len(labels),):
        raise ServerError(f"the server answered scores {list(values.shape)} per text for {len(labels)} labels.")
    scores = dict(sorted(zip(labels, values.tolist(), strict=True), key=lambda pair: -pair[1]))
    best = next(iter(scores))
    holding = tuple(label for label, score in scores.items() if score >= _THRESHOLD)
    return Classification(best, scores[best], holding if held.manifest.multi_label else (best,), scores)


def _embedding(held: _Held, text: Text, encoding: Encoding, row: Arrays) -> npt.NDArray[np.float32]:
    del held, text, encoding
    vector = row["sentence_embedding"]
    if vector.ndim != 1:
        raise ServerError(f"the server answered shape {list(vector.shape)} per text for sentence_embedding.")
    return vector.astype(np.float32, copy=False)


_DECODERS: Mapping[str, _Decoder] = {
    "token-classification": _Decoder("entities", ("label_ids", "label_scores"), _entities),
    "text-classification": _Decoder("classify", ("scores",), _classification, takes_pairs=True),
    "feature-extraction": _Decoder("embed", ("sentence_embedding",), _embedding),
}


class Session:
    """What one client holds of one model, and the flows over it. Knows no transport."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._held: _Held | None = None

    def manifest(self) -> Flow[Manifest]:
        """Return the manifest, asking the server for it if it is not held."""
        held = self._held or (yield from self._fetch())
        return held.manifest

    def run(self, task: str, texts: Sequence[Text], *, truncation: str) -> Flow[list[Any]]:
        """Return one result per text, in order, all from one version of the model."""
        if not texts:
            raise InputError("the batch is empty. Give at least one text.")
        _check_pairs(_DECODERS[task], texts)
        held = self._held or (yield from self._fetch())
        for _ in range(_VERSION_ATTEMPTS):
            _check_task(held.manifest, task, self.model)
            try:
                results = yield from self._attempt(held, _DECODERS[task], texts, truncation)
                if results is not None:
                    return results
                held = yield from self._fetch()
            except (InvalidRequest, SignatureNotFound):  # another version may have other signatures
                refused, held = held, (yield from self._fetch())
                if held.version == refused.version:
                    raise
        raise ServerError(f"the version of model {self.model!r} changed {_VERSION_ATTEMPTS} times during one call.")

    def _attempt(
        self, held: _Held, decoder: _Decoder, texts: Sequence[Text], truncation: str
    ) -> Flow[list[Any] | None]:
        """Answer all texts from the version held; None as soon as another version answers."""
        encodings = held.tokenizer.encode(texts, truncation=truncation)
        results: list[Any] = [None] * len(texts)
        for signature, rows in _batches(encodings, held.manifest.signatures):
            length = held.manifest.signatures[signature]
            chosen = [encodings[row] for row in rows]
            features = pack(chosen, signature, length=length, inputs=held.manifest.inputs)
            answer = yield Call(signature, features.inputs, decoder.outputs)
            if answer.version != held.version:
                return None
            _check_answer(answer, decoder.outputs, len(rows))
            for index, row in enumerate(rows):
                values = {name: answer.outputs[name][index] for name in decoder.outputs}
                results[row] = decoder.decode(held, texts[row], encodings[row], values)
        return results

    def _fetch(self) -> Flow[_Held]:
        row = {"row": np.zeros(1, np.int32)}
        answer = yield Call(BUNDLE_INFO, row, ("manifest", "tokenizer"))
        _check_answer(answer, ("manifest", "tokenizer"), 1)
        manifest = Manifest.from_json(_text(answer, "manifest"))
        tokenizer = Tokenizer(_text(answer, "tokenizer"), max_length=manifest.max_length)
        self._held = _Held(answer.version, manifest, tokenizer, _tags(manifest))
        return self._held


def _text(answer: Prediction, name: str) -> str:
    value = answer.outputs[name][0]
    if not isinstance(value, bytes):
        raise ServerError(f"the server answered {type(value).__name__} for output {name!r}, expected a string.")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ManifestError(f"the {name} is not UTF-8: {error}. Export the bundle again.") from error


def _tags(manifest: Manifest) -> tuple[Tag, ...]:
    if manifest.label_scheme == "none":
        return ()
    try:
        return parse_labels(manifest.labels, manifest.label_scheme)
    except ValueError as error:
        raise ManifestError(f"the manifest of {manifest.name!r}: {error}. Upgrade bertbundle.") from error


def _check_pairs(decoder: _Decoder, texts: Sequence[Text]) -> None:
    if not decoder.takes_pairs and any(isinstance(text, tuple) for text in texts):
        raise TypeError(f"{decoder.method} takes single texts, got a tuple; a batch is a list")


def _check_task(manifest: Manifest, task: str, model: str) -> None:
    if manifest.task == task:
        return
    known = _DECODERS.get(manifest.task)
    advice = f"use {known.method}()" if known else "upgrade bertbundle"
    raise InputError(
        f"model {model!r} does {manifest.task}, {_DECODERS[task].method}() needs a model for {task}: {advice}."
    )


def _check_answer(answer: Prediction, outputs: Sequence[str], rows: int) -> None:
    for name in outputs:
        array = answer.outputs.get(name)
        if array is None or array.ndim < 1 or len(array) != rows:
            shape = "nothing" if array is None else f"shape {list(array.shape)}"
            raise ServerError(f"the server answered {shape} for output {name!r}, expected {rows} rows.")


def _batches(encodings: Sequence[Encoding], signatures: Mapping[str, int]) -> list[tuple[str, list[int]]]:
    """Group texts by the shortest signature that holds them, a bounded number of rows at a time."""
    groups: dict[str, list[int]] = {}
    for row, encoding in enumerate(encodings):
        groups.setdefault(choose_signature(len(encoding), signatures), []).append(row)
    return [
        (signature, rows[start : start + _ROWS_PER_CALL])
        for signature, rows in groups.items()
        for start in range(0, len(rows), _ROWS_PER_CALL)
    ]
