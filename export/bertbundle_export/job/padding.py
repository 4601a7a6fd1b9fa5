"""Detect a model whose outputs depend on padding: each signature length would give different results."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import InputFeatures
from bertbundle_export.source.model import SourceModel, run_source
from bertbundle_export.tolerance import TOLERANCES

__all__ = ["depends_on_padding"]

_ROWS = 4


def depends_on_padding(model: SourceModel, features: InputFeatures, length: int) -> bool:
    """Return whether a model's outputs change when texts are padded to a greater length.

    The reason is layers after BERT that ignore the mask: a convolution with a maximum over all positions, or a backward
    LSTM.

    Args:
        model: the source model.
        features: texts at a short length.
        length: the greater length.
    """
    short = {name: values[:_ROWS] for name, values in features.inputs.items()}
    padded = {spec.name: _pad(short[spec.name], length, spec.pad_value) for spec in model.inputs}
    tokens = short["attention_mask"] == 1
    actual, expected = run_source(model, padded), run_source(model, short)
    return any(_differs(actual[name], value, tokens) for name, value in expected.items())


def _pad(values: npt.NDArray[Any], length: int, pad_value: int) -> npt.NDArray[Any]:
    return np.pad(values, ((0, 0), (0, length - values.shape[1])), constant_values=pad_value)


def _differs(padded: npt.NDArray[Any], short: npt.NDArray[Any], tokens: npt.NDArray[np.bool_]) -> bool:
    padded = padded[tuple(slice(size) for size in short.shape)]
    length = tokens.shape[1]
    if short.ndim == 4 and short.shape[2:] == (length, length):  # one value per label and pair of tokens
        pairs = np.broadcast_to((tokens[:, :, None] & tokens[:, None, :])[:, None], short.shape)
        padded, short = padded[pairs], short[pairs]
    elif short.shape[:2] == tokens.shape:  # one value per token
        padded, short = padded[tokens], short[tokens]
    tolerance = TOLERANCES["float32"]
    return not np.allclose(padded, short, rtol=tolerance.rtol, atol=tolerance.atol)
