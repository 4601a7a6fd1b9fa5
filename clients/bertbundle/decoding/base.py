"""The type of a decoder, and its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bertbundle.contract.types import Arrays, Encoding
from bertbundle.decoding.loaded_model import LoadedModel
from bertbundle.text.windows import Window

__all__ = ["DecodeInput", "Decoder", "Fallback", "WindowOutputs", "convert_row"]


@dataclass(frozen=True, slots=True)
class DecodeInput:
    """One text and the model's outputs for it.

    Attributes:
        model: the model that computed the outputs.
        text: the text or pair of texts as the caller passed it; a list of words is joined by spaces.
        encoding: its tokens.
        outputs: one row of each output, without the batch axis.
    """

    model: LoadedModel
    text: Any
    encoding: Encoding
    outputs: Arrays


@dataclass(frozen=True, slots=True)
class WindowOutputs:
    """The model's outputs for each window of one long text.

    Attributes:
        model: the model that computed the outputs.
        windows: the windows, in order.
        rows: one row of each output for each window, without the batch axis.
    """

    model: LoadedModel
    windows: Sequence[Window]
    rows: Sequence[Arrays]


@dataclass(frozen=True, slots=True)
class Fallback:
    """How to compute a decoder's outputs from another output, for models that are not bundles.

    Attributes:
        output: the output to request instead.
        convert: computes the decoder's outputs from one row of that output.
    """

    output: str
    convert: Callable[[LoadedModel, Arrays], Arrays]


@dataclass(frozen=True, slots=True)
class Decoder:
    """How to request and decode the outputs of one task.

    Attributes:
        task: the task's name in the manifest.
        method: the client's method for the task.
        outputs: the outputs to request.
        decode: converts the outputs for one text to its result.
        merge: merges the outputs for the windows of a long text into one row.
        takes: "text", "pair", or "text or pair".
        truncation: the default of `AskOptions.truncation`.
        sequence_id: which text of a pair to split into windows or truncate: 0, 1, or None for the longer one.
        fallbacks: for models that do not have `outputs`; the first whose output the model has is used.
        gather: combines the results of a list of texts.
    """

    task: str
    method: str
    outputs: tuple[str, ...]
    decode: Callable[[DecodeInput], Any]
    merge: Callable[[WindowOutputs], Arrays]
    takes: str = "text"
    truncation: str = "error"
    sequence_id: int | None = None
    fallbacks: tuple[Fallback, ...] = ()
    gather: Callable[[list[Any]], Any] = list


def convert_row(decoder: Decoder, model: LoadedModel, row: Arrays) -> Arrays:
    """Return a row with the decoder's outputs, computed from that of a fallback if the row has that instead."""
    fallback = next((item for item in decoder.fallbacks if item.output in row), None)
    return row if fallback is None else fallback.convert(model, row)
