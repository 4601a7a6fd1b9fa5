"""The encoder's products in int8: kernels by column, what they are multiplied with by tensor.

Two forms over one set of int8 kernels: `DynamicEncoder` scales each tensor by the values it has, in an operator of
onnxruntime's; `StaticEncoder` by the values seen on texts, in the standard's operators, of which OpenVINO makes int8
products. Embeddings, attention scores, softmax, normalisation and the head stay in float32.

Some of a BERT's channels are ten times as large as most, and would leave few steps for the others: they are divided by
what their rows of the kernel are multiplied with (SmoothQuant, Xiao et al., https://arxiv.org/abs/2211.10438, 4.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays, InputFeatures
from bertbundle_export.encoder.onnx_nodes import FUSED_DOMAIN, OnnxEncoder
from bertbundle_export.encoder.weights import Encoder, Weight, as_array
from bertbundle_export.parity.compare import Runner

__all__ = ["DynamicEncoder", "ObservedEncoder", "Ranges", "Seen", "StaticEncoder", "observe", "quantize"]

Floats = npt.NDArray[np.float32]
Seen = Mapping[str, tuple[Floats, Floats]]
"""Least and largest value of each channel that a kernel ``[in, out]`` was multiplied with, ``[in]``, by its name."""
Ranges = Mapping[str, tuple[float, float]]
"""Least and largest value of all channels, divided, 0 included."""

_STEPS = 127
"""Kernels are symmetric: their zero is 0, so that products need no correction by their column's sums."""
_SHARE = 0.6
"""SmoothQuant's alpha, how much of the difference between channels the kernel takes: the best of 0.3 to 0.8."""
_TINY = 1e-6


class ObservedEncoder(OnnxEncoder):
    """An encoder in float32 that also gives the range of each channel that a kernel is multiplied with."""

    def dense(self, x: str, name: str) -> str:
        """Add the product in float32."""
        low, high = (self.add(reduction, x, axes=[0, 1], keepdims=0) for reduction in ("ReduceMin", "ReduceMax"))
        self.observed.append((self.weight(name), low, high))
        return super().dense(x, name)


class DynamicEncoder(OnnxEncoder):
    """An encoder that scales what a kernel is multiplied with by the values it has."""

    def dense(self, x: str, name: str) -> str:
        """Add the product in int8, in onnxruntime's operator, which makes uint8 of `x` by itself."""
        kernel = self.weight(name)
        smooth = self.add("Mul", x, f"{kernel}_factors")
        operands = (smooth, kernel, f"{kernel}_scale", "", f"{kernel}_bias")
        result: str = self.add("DynamicQuantizeMatMul", *operands, domain=FUSED_DOMAIN)
        return result


class StaticEncoder(OnnxEncoder):
    """An encoder that scales what a kernel is multiplied with by what was seen; what is beyond is cut off.

    Args:
        encoder, weights, call: as for `OnnxEncoder`.
        ranges: what was seen.
    """

    def __init__(self, encoder: Encoder, weights: str, call: str, *, ranges: Ranges) -> None:
        super().__init__(encoder, weights, call)
        self._ranges = ranges

    def dense(self, x: str, name: str) -> str:
        """Add the product between QuantizeLinear and DequantizeLinear, of which runtimes make one in int8."""
        kernel = self.weight(name)
        scale, zero = _affine(*self._ranges[kernel])
        grid = (self.constant(scale, np.float32), self.constant(zero, np.uint8))
        smooth = self.add("Mul", x, f"{kernel}_factors")
        rounded = self.add("DequantizeLinear", self.add("QuantizeLinear", smooth, *grid), *grid)
        product = self.add("MatMul", rounded, self.add("DequantizeLinear", kernel, f"{kernel}_scale", axis=1))
        result: str = self.add("Add", product, f"{kernel}_bias")
        return result


def _affine(low: float, high: float) -> tuple[float, int]:
    """Return the scale and zero point of uint8 that hold a range with 0 in it, which is exact."""
    scale = max(high - low, _TINY) / 255
    return scale, round(-low / scale)


def quantize(weights: Mapping[str, Weight], seen: Seen) -> tuple[dict[str, npt.NDArray[Any]], Ranges]:
    """Make kernels int8.

    Args:
        weights: all weights.
        seen: what the kernels among them were multiplied with.

    Returns:
        The weights, with int8 kernels ``[in, out]``, their float32 scales ``[out]`` as ``NAME_scale`` and what the
        channels are to be multiplied with, ``[in]``, as ``NAME_factors``; and the ranges of the products.
    """
    made = {name: value for name, value in weights.items() if name not in seen}
    ranges = {}
    for name, (low, high) in seen.items():
        kernel = as_array(weights[name])
        divisors = _divisors(np.maximum(-low, high), np.abs(kernel).max(axis=1))
        kernel = kernel * divisors[:, None]
        scale = np.maximum(np.abs(kernel).max(axis=0), _TINY) / _STEPS
        made |= {name: np.rint(kernel / scale).astype(np.int8), f"{name}_scale": scale, f"{name}_factors": 1 / divisors}
        ranges[name] = (float((low / divisors).min()), float((high / divisors).max()))
    return made, ranges


def _divisors(channels: Floats, rows: Floats) -> Floats:
    """Return what to divide each channel by, from its largest value and its row's in the kernel.

    Half of the channels stay as they are and none is made larger: one that was hardly used on the texts seen may be
    large on others.
    """
    quotients = np.maximum(channels, _TINY) ** _SHARE / np.maximum(rows, _TINY) ** (1 - _SHARE)
    divisors: Floats = np.maximum(quotients / np.median(quotients), 1).astype(np.float32)
    return divisors


def observe(run: Runner, observed: Sequence[tuple[str, str, str]], features: Sequence[InputFeatures]) -> Seen:
    """Return what each kernel is multiplied with on texts.

    Args:
        run: runs a graph of `ObservedEncoder`s.
        observed: theirs.
        features: the texts; padding is left out.
    """
    answers = [run(InputFeatures("", row)) for row in _rows(features)]
    seen: dict[str, tuple[Floats, Floats]] = {}
    for kernel, low, high in observed:
        least, most = seen.get(kernel, (np.float32(0), np.float32(0)))
        lows, highs = (np.stack([answer[name] for answer in answers]) for name in (low, high))
        seen[kernel] = (np.minimum(least, lows.min(axis=0)), np.maximum(most, highs.max(axis=0)))
    return seen


def _rows(features: Sequence[InputFeatures]) -> Iterable[Arrays]:
    """Return every row once, without its padding, as a batch of one."""
    rows: dict[bytes, Arrays] = {}
    for batch in features:
        for index, tokens in enumerate(batch.inputs["attention_mask"].sum(axis=1)):
            row = {name: values[index : index + 1, :tokens] for name, values in batch.inputs.items()}
            rows[row["input_ids"].tobytes()] = row
    return rows.values()
