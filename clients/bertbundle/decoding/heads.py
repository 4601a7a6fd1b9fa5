"""Decode all heads of a model that has several, from one pass."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bertbundle.contract.heads import MULTI_TASK
from bertbundle.contract.types import Arrays
from bertbundle.decoding.base import DecodeInput, Decoder, WindowOutputs, convert_row
from bertbundle.decoding.loaded_model import LoadedModel

__all__ = ["fit_heads", "heads_decoder"]

Decoders = Mapping[str, Decoder]
_STRICTEST_FIRST = ("error", "truncate", "window")


def heads_decoder(decoders: Decoders) -> Decoder:
    """Return the decoder of a model with several heads; its result has the result of each head by name.

    Args:
        decoders: the decoder of each task that a head may have.
    """
    decode, merge = functools.partial(_decode, decoders=decoders), functools.partial(_merge, decoders=decoders)
    return Decoder(MULTI_TASK, "heads", (), decode, merge, takes="text or pair")


def fit_heads(decoder: Decoder, model: LoadedModel, decoders: Decoders) -> Decoder:
    """Return the decoder for the heads of one model: it takes what all of them take, and truncates as the strictest.

    Args:
        decoder: the result of `heads_decoder`.
        model: a model with several heads.
        decoders: the decoder of each task.
    """
    of_heads = [decoders[head.manifest.task] for head in model.heads.values()]
    takes_pairs = all("pair" in item.takes for item in of_heads)
    truncation = min((item.truncation for item in of_heads), key=_STRICTEST_FIRST.index)
    return replace(decoder, takes=decoder.takes if takes_pairs else "text", truncation=truncation)


def _decode(item: DecodeInput, *, decoders: Decoders) -> dict[str, Any]:
    results = {}
    for name, head in item.model.heads.items():
        decoder = decoders[head.manifest.task]
        outputs = convert_row(decoder, head, _of_head(head, item.outputs))
        results[name] = decoder.decode(replace(item, model=head, outputs=outputs))
    return results


def _merge(outputs: WindowOutputs, *, decoders: Decoders) -> Arrays:
    merged: dict[str, Any] = {}
    for head in outputs.model.heads.values():
        decoder = decoders[head.manifest.task]
        rows = [convert_row(decoder, head, _of_head(head, row)) for row in outputs.rows]
        row = decoder.merge(WindowOutputs(head, outputs.windows, rows))
        merged |= {head.prefix + name: value for name, value in row.items()}
    return merged


def _of_head(head: LoadedModel, row: Arrays) -> Arrays:
    """Return the outputs of a head, by their names in its task."""
    return {name.removeprefix(head.prefix): value for name, value in row.items() if name.startswith(head.prefix)}
