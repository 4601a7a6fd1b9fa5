"""Whether a model's answers depend on how far a text is padded: then each length would answer something else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import InputFeatures
from bertbundle_export.source.model import SourceModel, run_source
from bertbundle_export.tolerance import TOLERANCES

__all__ = ["depends_on_padding"]

Arrays = Mapping[str, npt.NDArray[Any]]
_ROWS = 4


def depends_on_padding(model: SourceModel, features: InputFeatures, length: int) -> bool:
    """Return whether texts get other answers when they are padded to a greater length.

    Layers after BERT that ignore the mask do that: a convolution with a maximum over all places, a backward LSTM.

    Args:
        model: the source model.
        features: texts at a short length.
        length: the greater length.
    """
    short = {name: values[:_ROWS] for name, values in features.inputs.items()}
    padded = {spec.name: _pad(short[spec.name], length, spec.pad_value) for spec in model.inputs}
    tokens = short["attention_mask"] == 1
    answers, expected = run_source(model, padded), run_source(model, short)
    return any(_differ(answers[name], value, tokens) for name, value in expected.items())


def _pad(values: npt.NDArray[Any], length: int, pad_value: int) -> npt.NDArray[Any]:
    return np.pad(values, ((0, 0), (0, length - values.shape[1])), constant_values=pad_value)


def _differ(padded: npt.NDArray[Any], short: npt.NDArray[Any], tokens: npt.NDArray[np.bool_]) -> bool:
    if short.shape[:2] == tokens.shape:  # one value per token
        padded, short = padded[:, : tokens.shape[1]][tokens], short[tokens]
    bound = TOLERANCES["float32"]
    return not np.allclose(padded, short, rtol=bound.rtol, atol=bound.atol)
