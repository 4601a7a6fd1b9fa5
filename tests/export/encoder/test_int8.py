"""Quantized kernels."""

from __future__ import annotations

import numpy as np

from bertbundle_export.encoder.int8 import quantize


def test_kernels_keep_the_product() -> None:
    """The product of scaled channels with their int8 kernel is close to the product in float32."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(64, 8)).astype(np.float32)
    channels = random.normal(size=(200, 64)).astype(np.float32)
    channels[:, 3] *= 40  # like some channels of a trained BERT
    observed = {"kernel": (channels.min(axis=0), channels.max(axis=0))}
    (kernel,) = quantize({"kernel": weights, "bias": weights[0]}, observed).values()
    assert [array.dtype.name for array in (kernel.values, kernel.scale, kernel.factors)] == ["int8", *["float32"] * 2]
    # No channel is made larger, half of them are unchanged, and the large one is made smaller.
    assert kernel.factors.max() == 1
    assert (kernel.factors == 1).sum() >= 32
    assert kernel.factors[3] < 0.3
    rounded = np.clip(np.rint(channels * kernel.factors / kernel.step) + kernel.zero, 0, 255) - kernel.zero
    restored = rounded * kernel.step @ (kernel.values * kernel.scale)
    error = np.abs(restored - channels @ weights).max() / np.abs(channels @ weights).max()
    assert error < 0.01
    low, high = kernel.range
    assert low <= (channels * kernel.factors).min() + kernel.step
    assert high >= (channels * kernel.factors).max() - kernel.step
