"""Write an encoder's int8 kernels as ONNX nodes; see `encoder.int8` for the quantization.

`DynamicEncoder` scales the input of a kernel by its actual values, in an operator of onnxruntime. `StaticEncoder`
scales it by the measured range, in standard operators, which OpenVINO runs as int8 products.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.encoder.int8 import Quantized
from bertbundle_export.encoder.onnx_nodes import FUSED_DOMAIN, OnnxEncoder
from bertbundle_export.encoder.weights import Weight

__all__ = ["DynamicEncoder", "StaticEncoder", "quantized_weights"]


def quantized_weights(weights: Mapping[str, Weight], quantized: Quantized) -> dict[str, npt.NDArray[Any]]:
    """Return an encoder's weights with its int8 kernels, and with their ``NAME_scale`` and ``NAME_factors``."""
    kernels: dict[str, Any] = {}
    for name, kernel in quantized.items():
        kernels |= {name: kernel.values, f"{name}_scale": kernel.scale, f"{name}_factors": kernel.factors}
    return {**weights, **kernels}


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
    """An encoder that scales the input of each kernel by its measured range; values beyond it are clipped."""

    def dense(self, x: str, name: str) -> str:
        """Add the product after QuantizeLinear and DequantizeLinear, which runtimes fuse into a product in int8."""
        kernel, quantized = self.weight(name), self.quantized[name]
        grid = (self.constant(quantized.step, np.float32), self.constant(quantized.zero, np.uint8))
        smooth = self.add("Mul", x, f"{kernel}_factors")
        rounded = self.add("DequantizeLinear", self.add("QuantizeLinear", smooth, *grid), *grid)
        product = self.add("MatMul", rounded, self.add("DequantizeLinear", kernel, f"{kernel}_scale", axis=1))
        result: str = self.add("Add", product, f"{kernel}_bias")
        return result
