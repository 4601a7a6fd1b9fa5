"""What a client does, without the waiting: each task as a generator of calls.

A flow yields the `Call`s it wants made and is sent each answer, so that a client is only a loop that makes calls,
blocking or not.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np

from bertbundle.errors import InputError, InvalidRequest, ManifestError, ServerError, SignatureNotFound
from bertbundle.labels import Tag, parse_labels
from bertbundle.manifest import BUNDLE_INFO, Manifest
from bertbundle.primitives import Arrays, Encoding, Prediction
from bertbundle.tasks import DECODERS, Decoder, Held
from bertbundle.tokenizer import Text, Tokenizer, choose_signature, pack

__all__ = ["Call", "Flow", "Session"]

T = TypeVar("T")
_ROWS_PER_CALL = 32
_VERSION_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Call:
    """A Predict call that a flow wants made."""

    signature: str
    inputs: Arrays
    outputs: tuple[str, ...]


Flow: TypeAlias = Generator[Call, Prediction, T]


class Session:
    """What one client holds of one model, and the flows over it. Knows no transport."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._held: Held | None = None

    def manifest(self) -> Flow[Manifest]:
        """Return the manifest, asking the server for it if it is not held."""
        held = self._held or (yield from self._fetch())
        return held.manifest

    def run(self, task: str, texts: Sequence[Text], *, truncation: str) -> Flow[list[Any]]:
        """Return one result per text, in order, all from one version of the model."""
        if not texts:
            raise InputError("the batch is empty. Give at least one text.")
        _check_pairs(DECODERS[task], texts)
        held = self._held or (yield from self._fetch())
        for _ in range(_VERSION_ATTEMPTS):
            _check_task(held.manifest, task, self.model)
            try:
                results = yield from self._attempt(held, DECODERS[task], texts, truncation)
                if results is not None:
                    return results
                held = yield from self._fetch()
            except (InvalidRequest, SignatureNotFound):  # another version may have other signatures
                refused, held = held, (yield from self._fetch())
                if held.version == refused.version:
                    raise
        raise ServerError(f"the version of model {self.model!r} changed {_VERSION_ATTEMPTS} times during one call.")

    def _attempt(self, held: Held, decoder: Decoder, texts: Sequence[Text], truncation: str) -> Flow[list[Any] | None]:
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

    def _fetch(self) -> Flow[Held]:
        row = {"row": np.zeros(1, np.int32)}
        answer = yield Call(BUNDLE_INFO, row, ("manifest", "tokenizer"))
        _check_answer(answer, ("manifest", "tokenizer"), 1)
        manifest = Manifest.from_json(_text(answer, "manifest"))
        tokenizer = Tokenizer(_text(answer, "tokenizer"), max_length=manifest.max_length)
        self._held = Held(answer.version, manifest, tokenizer, _tags(manifest))
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


def _check_pairs(decoder: Decoder, texts: Sequence[Text]) -> None:
    kinds = {"pair" if isinstance(text, tuple) else "text" for text in texts}
    wrong = kinds - set(decoder.takes.split(" or "))
    if wrong:
        raise TypeError(f"{decoder.method} takes a {decoder.takes} each, got a {wrong.pop()}; a batch is a list")


def _check_task(manifest: Manifest, task: str, model: str) -> None:
    if manifest.task == task:
        return
    known = DECODERS.get(manifest.task)
    advice = f"use {known.method}()" if known else "upgrade bertbundle"
    raise InputError(
        f"model {model!r} does {manifest.task}, {DECODERS[task].method}() needs a model for {task}: {advice}."
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
