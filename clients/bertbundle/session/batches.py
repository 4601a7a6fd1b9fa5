"""Convert texts to Predict calls, and their predictions to results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bertbundle.contract.manifest import Manifest
from bertbundle.contract.types import Arrays, Encoding, PredictCall, Prediction
from bertbundle.decoding.base import DecodeInput, Decoder, WindowOutputs, convert_row
from bertbundle.decoding.decoders import DECODERS
from bertbundle.decoding.loaded_model import LoadedModel
from bertbundle.errors import InputError, ServerError
from bertbundle.text.features import choose_signature, pad_encodings
from bertbundle.text.windows import Window, split_into_windows

__all__ = [
    "AskOptions",
    "Batches",
    "CallSettings",
    "check_outputs",
    "decode_predictions",
    "make_batches",
    "requested_outputs",
]

_MAX_MESSAGE_BYTES = 4_000_000  # gRPC's default limit is 4 MiB; a proxy may enforce it


@dataclass(frozen=True, slots=True)
class AskOptions:
    """Options of `BaseClient.ask` that all tasks share.

    Attributes:
        truncation: "error", "truncate" or "window"; None for the task's default.
        stride: number of tokens that adjacent windows share; None for a quarter of a window.
        is_split_into_words: each text is a list of words.
        head: which of several heads of a model answers; None for the only one of the task.
        keep_errors: return the `InputError` of an invalid text as its result instead of raising it.
        max_rows: maximum number of rows of all texts, which have one for each window; texts beyond it are errors. None
            for any number. Used by the gateway.
    """

    truncation: str | None = None
    stride: int | None = None
    is_split_into_words: bool = False
    head: str | None = None
    keep_errors: bool = False
    max_rows: int | None = None


@dataclass(frozen=True, slots=True)
class CallSettings:
    """How to call a model.

    Attributes:
        model: model name.
        names: the model's own names of signatures, inputs and outputs, by their names in a bundle.
        rows_per_call: maximum number of rows in a request.
        version: version number or version label; None for the newest version.
    """

    model: str
    names: Mapping[str, str] = field(default_factory=dict)
    rows_per_call: int = 32
    version: int | str | None = None

    def rename(self, name: str) -> str:
        """Return the model's own name of a signature, an input or an output."""
        return self.names.get(name, name)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a request: a window of the text at index `text`."""

    text: int
    window: Window


@dataclass(frozen=True, slots=True)
class Batches:
    """Texts, tokenized and grouped into calls to one version of a model.

    Attributes:
        texts: the texts as the caller passed them.
        encodings: the tokens of each text, or its error.
        windows: the windows of each text; none for a text with an error.
        rows: the rows of each call's request.
        calls: the calls to make.
        keep_errors: as in `AskOptions`.
    """

    texts: Sequence[Any]
    encodings: Sequence[Encoding | InputError]
    windows: Sequence[Sequence[Window]]
    rows: Sequence[Sequence[_Row]]
    calls: Sequence[PredictCall]
    keep_errors: bool = False


def make_batches(
    settings: CallSettings, model: LoadedModel, decoder: Decoder, texts: Sequence[Any], options: AskOptions
) -> Batches:
    """Tokenize texts, split long texts into windows, and group the windows by length into calls.

    Raises:
        InputError: a text is invalid, unless `options.keep_errors`.
    """
    encodings, windows = _encode(model, decoder, texts, options)
    rows = [_Row(index, window) for index, text_windows in enumerate(windows) for window in text_windows]
    groups = list(_groups(rows, model.manifest, settings.rows_per_call))
    outputs = tuple(settings.rename(model.prefix + name) for name in requested_outputs(decoder, model))
    calls = [
        PredictCall(
            settings.model,
            settings.rename(signature),
            {settings.rename(name): array for name, array in _inputs(group, signature, model.manifest).items()},
            outputs,
            settings.version,
        )
        for signature, group in groups
    ]
    return Batches(texts, encodings, windows, [group for _, group in groups], calls, options.keep_errors)


def _encode(
    model: LoadedModel, decoder: Decoder, texts: Sequence[Any], options: AskOptions
) -> tuple[list[Encoding | InputError], list[list[Window]]]:
    """Return the tokens of each text, or its error, and its windows."""
    encodings = model.tokenizer.try_encode(
        texts,
        truncation=options.truncation or decoder.truncation,
        sequence_id=decoder.sequence_id,
        is_split_into_words=options.is_split_into_words,
    )
    results: list[list[Window] | InputError] = []
    rows = options.max_rows
    for encoding in encodings:
        results.append(result := _split(encoding, model, decoder, options, rows))
        if rows is not None and not isinstance(result, InputError):
            rows -= len(result)
    for result in results:
        if isinstance(result, InputError) and not options.keep_errors:
            raise result
    checked = [
        result if isinstance(result, InputError) else encoding
        for result, encoding in zip(results, encodings, strict=True)
    ]
    return checked, [[] if isinstance(result, InputError) else result for result in results]


def _split(
    encoding: Encoding | InputError, model: LoadedModel, decoder: Decoder, options: AskOptions, max_windows: int | None
) -> list[Window] | InputError:
    if isinstance(encoding, InputError):
        return encoding
    size = len(encoding.ids)
    if size <= model.tokenizer.max_length:
        return [Window(0, size, 0, encoding)]
    try:
        return split_into_windows(
            encoding,
            model.tokenizer.max_length,
            stride=options.stride,
            sequence_id=decoder.sequence_id,
            max_windows=max_windows,
        )
    except InputError as error:
        return error


def requested_outputs(decoder: Decoder, model: LoadedModel) -> tuple[str, ...]:
    """Return the outputs that are requested for a decoder, without the model's prefix.

    They are the decoder's; if the model does not have them, the output of a fallback. Of several heads, those of all.
    """
    if model.heads:
        heads = [(head, requested_outputs(DECODERS[head.manifest.task], head)) for head in model.heads.values()]
        return tuple(head.prefix + name for head, names in heads for name in names)
    available = {spec.name for spec in model.manifest.outputs}
    if available.issuperset(decoder.outputs):
        return decoder.outputs
    found = (fallback.output for fallback in decoder.fallbacks if fallback.output in available)
    return next(((output,) for output in found), decoder.outputs)


def _groups(rows: Iterable[_Row], manifest: Manifest, max_rows: int) -> Iterable[tuple[str, list[_Row]]]:
    """Group rows by the shortest signature that fits them, and limit the size of each group."""
    groups: dict[str, list[_Row]] = {}
    for row in rows:
        signature = choose_signature(len(row.window.encoding.ids), manifest.signatures)
        groups.setdefault(signature, []).append(row)
    for signature, group in groups.items():
        row_bytes = sum(manifest.signatures[signature] * np.dtype(spec.dtype).itemsize for spec in manifest.inputs)
        size = max(1, min(max_rows, _MAX_MESSAGE_BYTES // row_bytes))
        for start in range(0, len(group), size):
            yield signature, group[start : start + size]


def _inputs(rows: Sequence[_Row], signature: str, manifest: Manifest) -> Arrays:
    encodings = [row.window.encoding for row in rows]
    return pad_encodings(encodings, signature, length=manifest.signatures[signature], inputs=manifest.inputs).inputs


# ---- predictions to results


def decode_predictions(
    settings: CallSettings, model: LoadedModel, decoder: Decoder, batches: Batches, predictions: Sequence[Prediction]
) -> list[Any]:
    """Return the result of each text, or its error.

    Raises:
        InputError: a text has no result, unless `batches.keep_errors`.
        ServerError: an output is missing, or does not have as many rows as the request.
    """
    outputs = {name: settings.rename(model.prefix + name) for name in requested_outputs(decoder, model)}
    rows = _rows_by_text(outputs, batches, predictions)
    return [_result(model, decoder, batches, index, rows.get(index, ())) for index in range(len(batches.texts))]


def _result(model: LoadedModel, decoder: Decoder, batches: Batches, index: int, rows: Sequence[Arrays]) -> Any:
    """Return the result of the text at an index, or its error."""
    encoding = batches.encodings[index]
    if isinstance(encoding, InputError):
        return encoding
    try:
        return _decode(model, decoder, (batches.texts[index], encoding), batches.windows[index], rows)
    except InputError as error:
        if batches.keep_errors:
            return error
        raise


def _rows_by_text(
    outputs: Mapping[str, str], batches: Batches, predictions: Sequence[Prediction]
) -> Mapping[int, list[Arrays]]:
    """Return the output rows of each text, one for each of its windows, in order.

    Args:
        outputs: the model's own name of each output, by its name in a bundle.
        batches: the calls.
        predictions: the prediction of each call.
    """
    rows: dict[int, dict[int, Arrays]] = {}
    for group, prediction in zip(batches.rows, predictions, strict=True):
        check_outputs(prediction, tuple(outputs.values()), len(group))
        for index, row in enumerate(group):
            values = {name: prediction.outputs[served_name][index] for name, served_name in outputs.items()}
            rows.setdefault(row.text, {})[row.window.start] = values
    return {text: [windows[start] for start in sorted(windows)] for text, windows in rows.items()}


def check_outputs(prediction: Prediction, outputs: Sequence[str], rows: int) -> None:
    """Check that a prediction has the requested outputs with one row for each row of the request.

    Raises:
        ServerError: an output is missing or has a different number of rows.
    """
    for name in outputs:
        array = prediction.outputs.get(name)
        if array is None or array.ndim < 1 or len(array) != rows:
            shape = "nothing" if array is None else f"shape {list(array.shape)}"
            raise ServerError(f"the server returned {shape} for output {name!r}, expected {rows} rows.")


def _decode(
    model: LoadedModel,
    decoder: Decoder,
    text_and_encoding: tuple[Any, Encoding],
    windows: Sequence[Window],
    rows: Sequence[Arrays],
) -> Any:
    text, encoding = text_and_encoding
    if any(fallback.output in rows[0] for fallback in decoder.fallbacks):
        rows = [convert_row(decoder, model, row) for row in rows]
    outputs = rows[0] if len(rows) == 1 else decoder.merge(WindowOutputs(model, windows, rows))
    return decoder.decode(DecodeInput(model, " ".join(text) if isinstance(text, list) else text, encoding, outputs))
