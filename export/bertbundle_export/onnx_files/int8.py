"""Quantize the encoder's products to int8: kernels with one scale per column, their inputs with one scale per tensor.

Two forms share one set of int8 kernels. `DynamicEncoder` scales each input by its actual values, in an operator of
onnxruntime. `StaticEncoder` scales it by the range measured on calibration texts, in standard operators, which OpenVINO
runs as int8 products. Embeddings, attention scores, softmax, normalization and the head stay in float32.

Some channels of a BERT are ten times as large as most others, and would leave those few int8 steps. So each channel is
divided by a factor, and its row of the kernel is multiplied by the same factor (SmoothQuant, Xiao et al.,
https://arxiv.org/abs/2211.10438, section 4.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays, InputFeatures
from bertbundle_export.encoder.onnx_nodes import FUSED_DOMAIN, OnnxEncoder
from bertbundle_export.encoder.weights import EncoderWeights, Weight, as_array
from bertbundle_export.runners import Runner

__all__ = [
    "ChannelRanges",
    "DynamicEncoder",
    "ObservedEncoder",
    "StaticEncoder",
    "TensorRanges",
    "observe_ranges",
    "quantize",
]

Floats = npt.NDArray[np.float32]
ChannelRanges = Mapping[str, tuple[Floats, Floats]]
"""Smallest and largest value of each input channel, ``[in]``, by the name of the kernel ``[in, out]``."""
TensorRanges = Mapping[str, tuple[float, float]]
"""Smallest and largest value over all divided channels and 0, by the name of the kernel."""

_STEPS = 127
"""Kernels are quantized symmetrically, with zero point 0: products need no correction by column sums."""
_ALPHA = 0.6
"""SmoothQuant's alpha, the share of the channels' differences that moves to the kernel: the best from 0.3 to 0.8."""
_TINY = 1e-6


class ObservedEncoder(OnnxEncoder):
    """An encoder in float32 that also outputs the range of each input channel of a kernel."""

    def dense(self, x: str, name: str) -> str:
        """Add the product in float32."""
        low, high = (self.add(reduction, x, axes=[0, 1], keepdims=0) for reduction in ("ReduceMin", "ReduceMax"))
        self.observed.append((self.weight(name), low, high))
        return super().dense(x, name)


class DynamicEncoder(OnnxEncoder):
    """An encoder that scales the input of each kernel by its actual values."""

    def dense(self, x: str, name: str) -> str:
        """Add the product in int8 with onnxruntime's operator, which quantizes `x` to uint8."""
        kernel = self.weight(name)
        smooth = self.add("Mul", x, f"{kernel}_factors")
        operands = (smooth, kernel, f"{kernel}_scale", "", f"{kernel}_bias")
        result: str = self.add("DynamicQuantizeMatMul", *operands, domain=FUSED_DOMAIN)
        return result


class StaticEncoder(OnnxEncoder):
    """An encoder that scales the input of each kernel by its measured range; values beyond it are clipped.

    Args:
        encoder, weight_prefix, call_prefix: as for `OnnxEncoder`.
        ranges: the measured ranges.
    """

    def __init__(self, encoder: EncoderWeights, weight_prefix: str, call_prefix: str, *, ranges: TensorRanges) -> None:
        super().__init__(encoder, weight_prefix, call_prefix)
        self._ranges = ranges

    def dense(self, x: str, name: str) -> str:
        """Add the product after QuantizeLinear and DequantizeLinear, which runtimes fuse into a product in int8."""
        kernel = self.weight(name)
        scale, zero = _affine(*self._ranges[kernel])
        grid = (self.constant(scale, np.float32), self.constant(zero, np.uint8))
        smooth = self.add("Mul", x, f"{kernel}_factors")
        rounded = self.add("DequantizeLinear", self.add("QuantizeLinear", smooth, *grid), *grid)
        product = self.add("MatMul", rounded, self.add("DequantizeLinear", kernel, f"{kernel}_scale", axis=1))
        result: str = self.add("Add", product, f"{kernel}_bias")
        return result


def _affine(low: float, high: float) -> tuple[float, int]:
    """Return the scale and zero point of uint8 for a range that includes 0; 0 is represented exactly."""
    scale = max(high - low, _TINY) / 255
    return scale, round(-low / scale)


def quantize(
    weights: Mapping[str, Weight], channels: ChannelRanges
) -> tuple[dict[str, npt.NDArray[Any]], TensorRanges]:
    """Quantize kernels to int8.

    Args:
        weights: all weights.
        channels: the ranges of the input channels of the kernels among them.

    Returns:
        The weights, with int8 kernels ``[in, out]``, their float32 scales ``[out]`` as ``NAME_scale`` and the factors
        of the input channels, ``[in]``, as ``NAME_factors``; and the ranges of the scaled inputs.
    """
    quantized = {name: value for name, value in weights.items() if name not in channels}
    ranges = {}
    for name, (low, high) in channels.items():
        kernel = as_array(weights[name])
        divisors = _divisors(np.maximum(-low, high), np.abs(kernel).max(axis=1))
        kernel = kernel * divisors[:, None]
        scale = np.maximum(np.abs(kernel).max(axis=0), _TINY) / _STEPS
        quantized[name] = np.rint(kernel / scale).astype(np.int8)
        quantized |= {f"{name}_scale": scale, f"{name}_factors": 1 / divisors}
        ranges[name] = (float((low / divisors).min()), float((high / divisors).max()))
    return quantized, ranges


def _divisors(channels: Floats, rows: Floats) -> Floats:
    """Return the divisor of each channel, given the largest absolute values of the channels and of the kernel's rows.

    Half of the channels are not changed and none is made larger: a channel that is small on the calibration texts may
    be large on other texts.
    """
    quotients = np.maximum(channels, _TINY) ** _ALPHA / np.maximum(rows, _TINY) ** (1 - _ALPHA)
    divisors: Floats = np.maximum(quotients / np.median(quotients), 1).astype(np.float32)
    return divisors


def observe_ranges(
    run: Runner, observed: Sequence[tuple[str, str, str]], features: Sequence[InputFeatures]
) -> ChannelRanges:
    """Return the ranges of the kernels' input channels on texts.

    Args:
        run: runs a graph of `ObservedEncoder`s.
        observed: `OnnxEncoder.observed` of all of them.
        features: the texts; padding is left out.
    """
    outputs = [run(InputFeatures("", row)) for row in _rows(features)]
    channels: dict[str, tuple[Floats, Floats]] = {}
    for kernel, low, high in observed:
        smallest, largest = channels.get(kernel, (np.float32(0), np.float32(0)))
        lows, highs = (np.stack([output[name] for output in outputs]) for name in (low, high))
        channels[kernel] = (np.minimum(smallest, lows.min(axis=0)), np.maximum(largest, highs.max(axis=0)))
    return channels


def _rows(features: Sequence[InputFeatures]) -> Iterable[Arrays]:
    """Return every distinct row without its padding, as a batch of one."""
    rows: dict[bytes, Arrays] = {}
    for batch in features:
        for index, tokens in enumerate(batch.inputs["attention_mask"].sum(axis=1)):
            row = {name: values[index : index + 1, :tokens] for name, values in batch.inputs.items()}
            rows[row["input_ids"].tobytes()] = row
    return rows.values()
