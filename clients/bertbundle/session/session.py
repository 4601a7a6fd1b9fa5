"""What a client does, without the waiting: each task as a generator of rounds of calls.

A flow yields the `Call`s it wants made, in any order or all at once, and is sent their answers, so that a client is
only a loop that makes calls, blocking or not.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np

from bertbundle.contract.manifest import BUNDLE_INFO, Manifest
from bertbundle.contract.types import Arrays, Encoding, Prediction
from bertbundle.decoding.decoders import Decoder
from bertbundle.decoding.loaded_model import Held, hold
from bertbundle.decoding.response_checks import check_answer, check_pairs, check_task, text_of
from bertbundle.errors import (
    InputError,
    InvalidRequest,
    ServerError,
    SignatureNotFound,
    TextTooLong,
)
from bertbundle.text.features import choose_signature, pad_encodings
from bertbundle.text.windows import Window, split_into_windows

__all__ = ["TEXTS_PER_ROUND", "Call", "Flow", "Options", "Session", "advance"]

T = TypeVar("T")
TEXTS_PER_ROUND = 2048
"""Texts that are tokenized, sorted into lengths and held at a time, of a list or a generator of any size."""
_MESSAGE_BYTES = 4_000_000  # gRPC's usual limit is 4 MiB; a proxy between may have it
_VERSION_ATTEMPTS = 3
_FRUITLESS = 8  # rounds without one answer of the version held; of two replicas by chance once in 256
_FETCHES = 3


@dataclass(frozen=True, slots=True)
class Call:
    """A Predict call that a flow wants made."""

    signature: str
    inputs: Arrays
    outputs: tuple[str, ...]


Flow: TypeAlias = Generator[Sequence[Call], Sequence[Prediction], T]


def advance(steps: Generator[T, Any, Any], outcome: Any) -> T:
    """Send a generator what came of what it asked for, or throw it the error that came."""
    return steps.throw(outcome) if isinstance(outcome, ServerError) else steps.send(outcome)


@dataclass(frozen=True, slots=True)
class Options:
    """How a caller wants texts answered.

    Attributes:
        truncation: "error", "truncate" or "window"; None for the task's own.
        stride: tokens that neighbouring windows share; None for a quarter of a window.
        split_words: each text is a list of its words.
        keep_errors: a text that is refused has its `InputError` as its result, and the others are answered.
    """

    truncation: str | None = None
    stride: int | None = None
    split_words: bool = False
    keep_errors: bool = False


@dataclass(frozen=True, slots=True)
class _Piece:
    """One row of a request: a window of a text."""

    text: int
    window: Window


class Session:
    """What one client holds of one model, and the flows over it. Knows no transport."""

    def __init__(
        self,
        model: str,
        *,
        rows_per_call: int = 32,
        given: Held | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Hold nothing yet, or for good what is `given`: the model cannot say of itself what it is.

        Args:
            model: model name.
            rows_per_call: most rows of a request.
            given: what is held.
            names: what the model calls signatures, inputs and outputs, by the names they have in a bundle.
        """
        self.model = model
        self._rows_per_call = rows_per_call
        self._given = given
        self._held = given
        self._names = names or {}

    def manifest(self) -> Flow[Manifest]:
        """Return the manifest, asking the server for it if it is not held."""
        held = self._held or (yield from self._fetch())
        return held.manifest

    def one(self, decoder: Decoder, text: Any, options: Options) -> Flow[Any]:
        """Return the result of one text."""
        (result,) = yield from self._settle(decoder, [text], options)
        return result

    def many(self, decoder: Decoder, texts: Sequence[Any], options: Options) -> Flow[Any]:
        """Return one result per text, in order, all from one version of the model."""
        if not texts:
            raise InputError("the batch is empty. Give at least one text.")
        results = yield from self._settle(decoder, texts, options)
        return decoder.gather(results)

    def _settle(self, decoder: Decoder, texts: Sequence[Any], options: Options) -> Flow[list[Any]]:
        """Answer all texts from one version, beginning again when another one answers."""
        if not options.split_words:
            check_pairs(decoder, texts)
        known = self._held
        held = known if known and known.manifest.task == decoder.task else (yield from self._fetch())
        check_task(held.manifest, decoder, self.model)
        for left in reversed(range(_VERSION_ATTEMPTS)):
            try:
                results = yield from self._attempt(held, decoder, texts, options, stay=not left)
                if results is not None:
                    return results
                held = yield from self._fetch_other(held)
            except (TextTooLong, InvalidRequest, SignatureNotFound) as error:  # another version may take it
                refused, asked = held, isinstance(error, TextTooLong) and held is not known
                held = held if asked else (yield from self._fetch())
                if held.version == refused.version:
                    raise
            check_task(held.manifest, decoder, self.model)
        raise ServerError(
            f"the servers of model {self.model!r} answer with different versions, none with all of one batch in "
            f"{_VERSION_ATTEMPTS} attempts. Ask again when the update is through."
        )

    def _attempt(
        self, held: Held, decoder: Decoder, texts: Sequence[Any], options: Options, *, stay: bool
    ) -> Flow[list[Any] | None]:
        """Answer all texts from the version held; None as soon as another one is the better choice."""
        results: list[Any] = []
        for start in range(0, len(texts), TEXTS_PER_ROUND):
            part = yield from self._round(held, decoder, texts[start : start + TEXTS_PER_ROUND], options, stay=stay)
            if part is None:
                return None
            results += part
        return results

    def _round(
        self, held: Held, decoder: Decoder, texts: Sequence[Any], options: Options, *, stay: bool
    ) -> Flow[list[Any] | None]:
        split_texts = _windows(held, decoder, texts, options)
        pieces = [
            _Piece(row, window)
            for row, (_, windows) in enumerate(split_texts)
            if not isinstance(windows, InputError)
            for window in windows
        ]
        batches = list(self._batches(pieces, held.manifest))
        answers = yield from self._agreed(held, [self._call(held, decoder, *batch) for batch in batches], stay=stay)
        if answers is None:
            return None
        answers = [self._ours(answer) for answer in answers] if self._names else answers
        rows = _rows(held, decoder, batches, answers)
        return [
            windows if isinstance(windows, InputError) else _decode(held, decoder, text, encoding, windows, rows[row])
            for row, (text, (encoding, windows)) in enumerate(zip(texts, split_texts, strict=True))
        ]

    def _agreed(self, held: Held, calls: Sequence[Call], *, stay: bool) -> Flow[list[Prediction] | None]:
        """Make calls, those again that another version answers: the replicas of a rolling update differ.

        Returns:
            The answers, all from the version held; None if it answers no more, or, unless told to stay, if a newer
            version has answered as often.
        """
        answers: dict[int, Prediction] = {}
        newer = fruitless = 0
        while fruitless < _FRUITLESS:
            missing = [index for index in range(len(calls)) if index not in answers]
            if not missing:
                return [answers[index] for index in range(len(calls))]
            got = yield [calls[index] for index in missing]
            ours = {
                i: each for i, each in zip(missing, got, strict=True) if self._given or each.version == held.version
            }
            answers |= ours
            newer += sum(each.version > held.version for each in got)
            fruitless = 0 if ours else fruitless + 1
            if not stay and not self._given and newer and newer >= len(answers):
                return None
        return None

    def _batches(self, pieces: Iterable[_Piece], manifest: Manifest) -> Iterable[tuple[str, list[_Piece]]]:
        """Group pieces by the shortest signature that holds them, a bounded number of rows at a time."""
        groups: dict[str, list[_Piece]] = {}
        for piece in pieces:
            signature = choose_signature(len(piece.window.encoding), manifest.signatures)
            groups.setdefault(signature, []).append(piece)
        for signature, group in groups.items():
            row_bytes = sum(manifest.signatures[signature] * np.dtype(spec.dtype).itemsize for spec in manifest.inputs)
            rows = max(1, min(self._rows_per_call, _MESSAGE_BYTES // row_bytes))
            for start in range(0, len(group), rows):
                yield signature, group[start : start + rows]

    def _call(self, held: Held, decoder: Decoder, signature: str, pieces: Sequence[_Piece]) -> Call:
        encodings = [piece.window.encoding for piece in pieces]
        length = held.manifest.signatures[signature]
        features = pad_encodings(encodings, signature, length=length, inputs=held.manifest.inputs)
        inputs = {self._name(name): array for name, array in features.inputs.items()}
        return Call(self._name(signature), inputs, tuple(map(self._name, decoder.asked(held.manifest))))

    def _name(self, name: str) -> str:
        return self._names.get(name, name)

    def _ours(self, answer: Prediction) -> Prediction:
        """Give outputs the names they have in a bundle."""
        ours = {theirs: name for name, theirs in self._names.items()}
        return Prediction({ours.get(name, name): array for name, array in answer.outputs.items()}, answer.version)

    def _fetch_other(self, held: Held) -> Flow[Held]:
        """Ask what the model is until another version than the one held says it, a few times at most."""
        found = held
        for _ in range(_FETCHES):
            found = yield from self._fetch()
            if found.version != held.version:
                break
        return found

    def _fetch(self) -> Flow[Held]:
        """Ask the server what the model is, unless that was given."""
        if self._given:
            return self._given
        row = {"row": np.zeros(1, np.int32)}
        (answer,) = yield [Call(BUNDLE_INFO, row, ("manifest", "tokenizer"))]
        check_answer(answer, ("manifest", "tokenizer"), 1)
        manifest = Manifest.from_json(text_of(answer, "manifest"))
        self._held = hold(manifest, text_of(answer, "tokenizer"), answer.version)
        return self._held


def _windows(
    held: Held, decoder: Decoder, texts: Sequence[Any], options: Options
) -> list[tuple[Any, list[Window] | InputError]]:
    """Tokenize texts: each one's encoding and windows, or the error that refuses it if errors are kept."""
    truncation = options.truncation or decoder.truncation
    encodings = held.tokenizer.try_encode(
        texts, truncation=truncation, sequence_id=decoder.side, is_split_into_words=options.split_words
    )
    found = [(encoding, _split(encoding, held, decoder, options)) for encoding in encodings]
    refused = next((windows for _, windows in found if isinstance(windows, InputError)), None)
    if refused and not options.keep_errors:
        raise refused
    return found


def _split(
    encoding: Encoding | InputError, held: Held, decoder: Decoder, options: Options
) -> list[Window] | InputError:
    try:
        if isinstance(encoding, InputError):
            return encoding
        return split_into_windows(encoding, held.tokenizer.max_length, stride=options.stride, sequence_id=decoder.side)
    except InputError as error:
        return error


def _rows(
    held: Held, decoder: Decoder, batches: Sequence[tuple[str, list[_Piece]]], answers: Sequence[Prediction]
) -> Mapping[int, list[Arrays]]:
    """Return each text's rows of the answers, one per window and in their order."""
    rows: dict[int, dict[int, Arrays]] = {}
    asked = decoder.asked(held.manifest)
    for (_, pieces), answer in zip(batches, answers, strict=True):
        check_answer(answer, asked, len(pieces))
        for index, piece in enumerate(pieces):
            row = {name: answer.outputs[name][index] for name in asked}
            rows.setdefault(piece.text, {})[piece.window.start] = row
    return {text: [parts[start] for start in sorted(parts)] for text, parts in rows.items()}


def _decode(held: Held, decoder: Decoder, text: Any, encoding: Encoding, windows: list[Window], rows: Any) -> Any:
    complete = [decoder.complete(held, row) for row in rows]
    text = " ".join(text) if isinstance(text, list) else text
    return decoder.decode(held, text, encoding, decoder.merge(held, windows, complete))
