"""Convert logits to scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["sigmoid", "softmax"]


def softmax(logits: npt.NDArray[Any], dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
    """Return the softmax over the last axis, computed in `dtype`.

    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    values = logits.astype(dtype)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sigmoid(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the logistic function of each value, in float64.

    >>> sigmoid(np.array([0.0])).tolist()
    [0.5]
    """
    values: npt.NDArray[np.float64] = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return values
