"""Detaching the weights from a graph, however the graph reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bertbundle_export.onnx_files.weight_detachment import detach_weights, freeze_and_detach

pytestmark = pytest.mark.slow


@pytest.fixture
def weights(tensorflow: Any) -> dict[str, Any]:
    """Return an embedding and a dense layer's kernel as variables."""
    random = np.random.default_rng(0)
    shapes = {"embedding": (300, 40), "kernel": (40, 50)}
    return {name: tensorflow.Variable(random.normal(size=shape).astype(np.float32)) for name, shape in shapes.items()}


def trace(tensorflow: Any, body: Callable[[Any], Any]) -> Any:
    """Trace a function of ids."""
    spec = tensorflow.TensorSpec([None], tensorflow.int32, name="ids")
    return tensorflow.function(body, input_signature=[spec], autograph=False).get_concrete_function()


def run(tensorflow: Any, graph_def: Any, weights: dict[str, Any], output: str, ids: Any) -> Any:
    """Run a graph, with its weights fed."""
    with tensorflow.Graph().as_default() as graph:
        tensorflow.import_graph_def(graph_def, name="")
        with tensorflow.compat.v1.Session(graph=graph) as session:
            return session.run(output, {"ids:0": ids, **weights})


@pytest.mark.parametrize("kind", ["direct", "nested"])
def test_detached_graph_equals_the_function(tensorflow: Any, weights: dict[str, Any], kind: str) -> None:
    """The detached graph contains no weights; with the weights fed, it computes the function's result."""
    constant = tensorflow.constant(np.full((50, 40), 0.5, np.float32))
    small = tensorflow.constant(np.array([2.0, 3.0], np.float32))  # TensorFlow copies it into the graph

    def body(ids: Any) -> Any:
        values = tensorflow.gather(weights["embedding"], ids) @ weights["kernel"] @ constant
        return values[:, :2] * small

    # detach_weights does not support a variable that only an inner function reads.
    inner = tensorflow.function(body, autograph=False)
    function = trace(tensorflow, body if kind == "direct" else lambda ids: inner(ids) + 0.0)
    assert (detach_weights(function) is None) == (kind == "nested")
    detached = detach_weights(function) or freeze_and_detach(function)
    shapes = sorted(value.shape for value in detached.weights.values() if value.ndim == 2)
    assert shapes == [(40, 50), (50, 40), (300, 40)]
    assert detached.graph_def.ByteSize() < 20_000
    ids = np.array([3, 299, 0], np.int32)
    found = run(tensorflow, detached.graph_def, detached.weights, function.outputs[0].name, ids)
    np.testing.assert_allclose(found, function(tensorflow.constant(ids)).numpy(), rtol=1e-5)
