"""Quantize the encoder's products to int8: kernels with one scale per column, their inputs with one scale per tensor.

The SavedModel and both ONNX files share one set of int8 kernels and of ranges. In the SavedModel and in
``model_standard.onnx`` the input of a kernel is scaled by the range measured on calibration texts, and values beyond it
are clipped; in ``model.onnx`` by its actual values. Embeddings, attention scores, softmax, normalization and the head
are not quantized.

Some channels of a BERT are ten times as large as most others, and would leave those few int8 steps. So each channel is
divided by a factor, and its row of the kernel is multiplied by the same factor (SmoothQuant, Xiao et al.,
https://arxiv.org/abs/2211.10438, section 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bertbundle_export.encoder.weights import Weight, as_array

__all__ = ["ChannelRanges", "Quantized", "QuantizedKernel", "quantize"]

Floats: TypeAlias = npt.NDArray[np.float32]
ChannelRanges: TypeAlias = Mapping[str, tuple[Floats, Floats]]
"""Smallest and largest value of each input channel, ``[in]``, by the name of the kernel ``[in, out]``."""

_STEPS = 127
"""Kernels are quantized symmetrically, with zero point 0: products need no correction by column sums."""
_ALPHA = 0.6
"""SmoothQuant's alpha, the share of the channels' differences that moves to the kernel: the best from 0.3 to 0.8."""
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class QuantizedKernel:
    """A kernel in int8, and how its input is quantized.

    Attributes:
        values: the kernel, int8 ``[in, out]``.
        scale: value of one step of each column, float32 ``[out]``.
        factors: what the channels of the input are multiplied by, float32 ``[in]``.
        step: value of one step of the input.
        zero: the step of uint8 that stands for 0.
    """

    values: npt.NDArray[np.int8]
    scale: Floats
    factors: Floats
    step: float
    zero: int

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value of the quantized input."""
        return -self.zero * self.step, (255 - self.zero) * self.step


Quantized: TypeAlias = Mapping[str, QuantizedKernel]
"""The kernels of an encoder by name, as in `EncoderWeights.named`."""


def quantize(weights: Mapping[str, Weight], channels: ChannelRanges) -> Quantized:
    """Quantize kernels to int8.

    Args:
        weights: all weights of an encoder by name.
        channels: the ranges of the input channels of the kernels among them.
    """
    return {name: _quantize(as_array(weights[name]), low, high) for name, (low, high) in channels.items()}


def _quantize(kernel: Floats, low: Floats, high: Floats) -> QuantizedKernel:
    divisors = _divisors(np.maximum(-low, high), np.abs(kernel).max(axis=1))
    kernel = kernel * divisors[:, None]
    scale: Floats = (np.maximum(np.abs(kernel).max(axis=0), _TINY) / _STEPS).astype(np.float32)
    step, zero = _affine(float((low / divisors).min()), float((high / divisors).max()))
    return QuantizedKernel(np.rint(kernel / scale).astype(np.int8), scale, np.reciprocal(divisors), step, zero)


def _affine(low: float, high: float) -> tuple[float, int]:
    """Return step and zero point of uint8 for a range that includes 0; 0 is represented exactly."""
    step = max(high - low, _TINY) / 255
    return step, round(-low / step)


def _divisors(channels: Floats, rows: Floats) -> Floats:
    """Return the divisor of each channel, given the largest absolute values of the channels and of the kernel's rows.

    Half of the channels are not changed and none is made larger: a channel that is small on the calibration texts may
    be large on other texts.
    """
    quotients = np.maximum(channels, _TINY) ** _ALPHA / np.maximum(rows, _TINY) ** (1 - _ALPHA)
    divisors: Floats = np.maximum(quotients / np.median(quotients), 1).astype(np.float32)
    return divisors
