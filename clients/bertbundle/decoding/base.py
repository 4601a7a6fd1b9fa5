"""What a decoder is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bertbundle.contract.types import Arrays, Encoding
from bertbundle.decoding.loaded_model import LoadedModel
from bertbundle.text.windows import Window

__all__ = ["DecodeInput", "Decoder", "Fallback", "WindowOutputs"]


@dataclass(frozen=True, slots=True)
class DecodeInput:
    """One text and the model's outputs for it.

    Attributes:
        model: the model that answered.
        text: the text or pair of texts as the caller gave it; words that were given as a list are joined by spaces.
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
        model: the model that answered.
        windows: the windows, in order.
        rows: for each window one row of each output, without the batch axis.
    """

    model: LoadedModel
    windows: Sequence[Window]
    rows: Sequence[Arrays]


@dataclass(frozen=True, slots=True)
class Fallback:
    """How to compute a decoder's outputs from another one, for models that are not bundles.

    Attributes:
        output: the output to request instead.
        convert: computes the decoder's outputs from one row of it.
    """

    output: str
    convert: Callable[[LoadedModel, Arrays], Arrays]


@dataclass(frozen=True, slots=True)
class Decoder:
    """How the outputs of one task become results.

    Attributes:
        task: the task's name in the manifest.
        method: the client's method for it.
        outputs: the outputs to request.
        decode: turns one text's outputs into its result.
        merge: merges the outputs of a long text's windows into one row.
        takes: what a text may be: "text", "pair", or "text or pair".
        truncation: what to do with a text that is too long unless the caller says: "window" where that loses nothing.
        sequence_id: the text of a pair to split into windows or truncate: 0, 1, or None for the longer one.
        fallback: what to request from a model that does not have `outputs`.
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
    fallback: Fallback | None = None
    gather: Callable[[list[Any]], Any] = list
