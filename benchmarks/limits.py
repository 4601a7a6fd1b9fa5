"""The limit of a processor: the fastest matrix products that TensorFlow and OpenVINO compute on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from bertbundle._shared.cores import available_cores
from bertbundle_export.tensorflow_import import tf
from harness import seconds

__all__ = ["fastest_product"]

# Shapes (rows, inner, columns) of the products in a BERT-base, and square ones. Each is small enough that a whole
# number of products comes close to the operations of an encoder.
SHAPES = ((4096, 768, 768), (4096, 768, 3072), (4096, 3072, 768), (1024, 1024, 1024), (2048, 2048, 2048))
# A chain of products, back and forth between two shapes, so that OpenVINO keeps its own memory layout.
CHAINS = ((2048, 768, 3072, 2), (4096, 768, 3072, 1), (2048, 2048, 2048, 1))
HINTS = {"float32": "f32", "bfloat16": "bf16"}

Product = Callable[[], object]
Candidate = tuple[Product, int]


def fastest_product(dtype: str) -> Candidate:
    """Return the fastest matrix product on this processor, and its number of operations."""
    return max(_candidates(dtype), key=_speed)


def _candidates(dtype: str) -> Iterator[Candidate]:
    for shape in SHAPES:
        yield _product(*shape, dtype)
    if find_spec("openvino"):
        for rows, inner, columns, times in CHAINS:
            yield _chain(rows, inner, columns, times, dtype)


def _product(rows: int, inner: int, columns: int, dtype: str) -> Candidate:
    left, right = tf.ones([rows, inner], dtype), tf.ones([inner, columns], dtype)
    return lambda: tf.matmul(left, right)[0, 0].numpy(), 2 * rows * inner * columns


def _chain(rows: int, inner: int, columns: int, times: int, dtype: str) -> Candidate:
    import openvino
    from openvino import opset13 as operators

    def constant(*shape: int) -> Any:
        return operators.constant(np.full(shape, 0.01, np.float32))

    parameter = result = operators.parameter([rows, inner], np.float32)
    for _ in range(times):
        result = operators.matmul(result, constant(inner, columns), False, False)
        result = operators.matmul(result, constant(columns, inner), False, False)
    model = openvino.Model([operators.reduce_max(result, np.array([0, 1]))], [parameter])
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[dtype],
        "INFERENCE_NUM_THREADS": available_cores(),
        "NUM_STREAMS": 1,
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    left = np.ones((rows, inner), np.float32)
    return partial(request.infer, [left]), 4 * times * rows * inner * columns


def _speed(candidate: Candidate) -> float:
    call, operations = candidate
    return operations / min(seconds(call) for _ in range(5))
