"""BERT's encoder as ONNX nodes: with onnxruntime's fused operators, or with standard operators only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from bertbundle_export.encoder.int8 import Quantized
from bertbundle_export.encoder.weights import MASKED_SCORE, EncoderWeights

__all__ = ["FUSED_DOMAIN", "OnnxEncoder", "fused_encoder", "standard_encoder"]

FUSED_DOMAIN = "com.microsoft"
"""Domain of onnxruntime's own operators:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md"""


class OnnxEncoder:
    """Collects the nodes of one call of an encoder.

    Args:
        encoder: the weights, for their shapes.
        quantized: its int8 kernels; empty for none.
        weight_prefix: prefix of the weights' names.
        call_prefix: prefix of all other names, unique for each call.

    Attributes:
        dtype: numpy dtype of weights, constants and hidden states.
        nodes: the nodes.
    """

    dtype: Any = np.float32

    def __init__(self, encoder: EncoderWeights, quantized: Quantized, weight_prefix: str, call_prefix: str) -> None:
        self.encoder = encoder
        self.quantized = quantized
        self.nodes: list[Any] = []
        self._weight_prefix, self._call_prefix = weight_prefix, call_prefix

    def weight(self, name: str) -> str:
        """Return the name of a weight."""
        return f"{self._weight_prefix}/{name}"

    def add(self, kind: str, *inputs: str, domain: str = "", results: int = 1, **attributes: Any) -> Any:
        """Add a node; return the name of its output, or a list of names if `results` is more than 1."""
        from onnx import helper

        name = f"{self._call_prefix}/{kind}_{len(self.nodes)}"
        outputs = [f"{name}:{index}" for index in range(results)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs if results > 1 else outputs[0]

    def constant(self, value: Any, dtype: Any) -> str:
        """Add a constant; return its name."""
        from onnx import numpy_helper

        name: str = self.add("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))
        return name

    def number(self, value: float) -> str:
        """Add a constant of the encoder's dtype; return its name."""
        return self.constant(value, self.dtype)

    def result(self, state: str) -> str:
        """Return the name of a hidden state in float32."""
        return state

    def dense(self, x: str, name: str) -> str:
        """Add a dense layer, the product with a kernel plus a bias; return the name of the sum."""
        product = self.add("MatMul", x, self.weight(name))
        result: str = self.add("Add", product, self.weight(f"{name}_bias"))
        return result


def _projected(graph: OnnxEncoder, embedded: str) -> str:
    return embedded if graph.encoder.project is None else graph.dense(embedded, "project")


InputNames: TypeAlias = tuple[str, str, str]
"""Names of the tensors with ids, mask and type ids."""
BuildEncoder: TypeAlias = Callable[[OnnxEncoder, InputNames], list[str]]


# ---- onnxruntime's operators


def fused_encoder(graph: OnnxEncoder, inputs: InputNames) -> list[str]:
    """Add an encoder in onnxruntime's operators; return the names of all hidden states, [batch, length, H]."""
    ids, mask, types = inputs
    weight, epsilon = graph.weight, graph.encoder.epsilon
    tables = [weight(name) for name in ("words", "positions", "types", "gamma", "beta")]
    x = graph.add("EmbedLayerNormalization", ids, types, *tables, domain=FUSED_DOMAIN, results=2, epsilon=epsilon)[0]
    x = _projected(graph, x)
    states = [x]
    for index in range(len(graph.encoder.layers)):
        x = _fused_layer(graph, x, mask, f"layer_{index}")
        states.append(x)
    return states


def _fused_layer(graph: OnnxEncoder, x: str, mask: str, layer: str) -> str:
    def weight(name: str) -> str:
        return graph.weight(f"{layer}/{name}")

    def add_and_normalize(value: str, skip: str, bias: str, prefix: str) -> str:
        norm = [weight(f"{prefix}gamma"), weight(f"{prefix}beta"), weight(bias)]
        epsilon = graph.encoder.epsilon
        name: str = graph.add("SkipLayerNormalization", value, skip, *norm, domain=FUSED_DOMAIN, epsilon=epsilon)
        return name

    attention: dict[str, Any] = {"num_heads": graph.encoder.heads, "mask_filter_value": MASKED_SCORE}
    context = graph.add("Attention", x, weight("qkv"), weight("qkv_bias"), mask, domain=FUSED_DOMAIN, **attention)
    attended = add_and_normalize(graph.add("MatMul", context, weight("out")), x, "out_bias", "attention_")
    inner = _fused_activation(graph, graph.add("MatMul", attended, weight("up")), weight("up_bias"))
    return add_and_normalize(graph.add("MatMul", inner, weight("down")), attended, "down_bias", "")


def _fused_activation(graph: OnnxEncoder, x: str, bias: str) -> str:
    fused = {"gelu": "BiasGelu", "gelu_new": "FastGelu"}.get(graph.encoder.activation)
    if fused is None:
        return _activation(graph, graph.add("Add", x, bias))
    name: str = graph.add(fused, x, bias, domain=FUSED_DOMAIN)
    return name


# ---- standard operators


def standard_encoder(graph: OnnxEncoder, inputs: InputNames) -> list[str]:
    """Add an encoder in operators of opset 17; return the names of all hidden states, [batch, length, H]."""
    ids, mask, types = inputs
    weight = graph.weight
    length = graph.add("Gather", graph.add("Shape", ids), graph.constant(1, np.int64))
    steps = graph.add("Range", graph.constant(0, np.int64), length, graph.constant(1, np.int64))
    tables = {"words": ids, "types": types, "positions": steps}
    words, types_, positions = (graph.add("Gather", weight(name), index) for name, index in tables.items())
    x = _normalize(graph, graph.add("Add", graph.add("Add", words, types_), positions), graph.weight(""))
    x = _projected(graph, x)
    states = [x]
    mask_bias = _mask_bias(graph, mask)
    shapes = _Shapes(graph)
    for index in range(len(graph.encoder.layers)):
        x = _standard_layer(graph, x, mask_bias, f"layer_{index}", shapes)
        states.append(x)
    return states


class _Shapes:
    """The constants that every layer uses."""

    def __init__(self, graph: OnnxEncoder) -> None:
        encoder = graph.encoder
        heads, size = encoder.heads, encoder.hidden_size
        self.by_head = graph.constant([0, 0, heads, size // heads], np.int64)
        self.joined = graph.constant([0, 0, size], np.int64)
        self.scale = graph.number(encoder.scale)


def _mask_bias(graph: OnnxEncoder, mask: str) -> str:
    from onnx import helper

    tokens = graph.add("Unsqueeze", mask, graph.constant([1, 2], np.int64))
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(graph.dtype))
    padding = graph.add("Sub", graph.number(1), graph.add("Cast", tokens, to=dtype))
    name: str = graph.add("Mul", padding, graph.number(MASKED_SCORE))
    return name


def _standard_layer(graph: OnnxEncoder, x: str, mask_bias: str, layer: str, shapes: _Shapes) -> str:
    prefix = graph.weight(f"{layer}/")
    context = _attend(graph, graph.dense(x, f"{layer}/qkv"), mask_bias, shapes)
    sum_ = graph.add("Add", graph.dense(context, f"{layer}/out"), x)
    attended = _normalize(graph, sum_, f"{prefix}attention_")
    inner = _activation(graph, graph.dense(attended, f"{layer}/up"))
    return _normalize(graph, graph.add("Add", graph.dense(inner, f"{layer}/down"), attended), prefix)


def _attend(graph: OnnxEncoder, qkv: str, mask_bias: str, shapes: _Shapes) -> str:
    parts = graph.add("Split", qkv, axis=2, results=3)
    heads = (graph.add("Reshape", part, shapes.by_head) for part in parts)
    query, key, value = (graph.add("Transpose", item, perm=[0, 2, 1, 3]) for item in heads)
    # A second, separate transposition of the key: runtimes fuse it with the product instead of copying.
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 1, 3, 2]))
    scores = graph.add("Add", graph.add("Mul", scores, shapes.scale), mask_bias)
    context = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
    name: str = graph.add("Reshape", graph.add("Transpose", context, perm=[0, 2, 1, 3]), shapes.joined)
    return name


def _normalize(graph: OnnxEncoder, x: str, prefix: str) -> str:
    norm = (f"{prefix}gamma", f"{prefix}beta")
    name: str = graph.add("LayerNormalization", x, *norm, axis=-1, epsilon=graph.encoder.epsilon)
    return name


def _activation(graph: OnnxEncoder, x: str) -> str:
    return _ACTIVATIONS[graph.encoder.activation](graph, x)


def _gelu(graph: OnnxEncoder, x: str) -> str:
    """Add x / 2 (1 + erf(x / sqrt 2)), as Hendrycks and Gimpel define gelu."""
    erf = graph.add("Erf", graph.add("Div", x, graph.number(np.sqrt(2))))
    return _half_product(graph, x, erf)


def _gelu_new(graph: OnnxEncoder, x: str) -> str:
    """Add x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), their approximation."""
    cube = graph.add("Mul", graph.add("Mul", x, x), x)
    sum_ = graph.add("Add", x, graph.add("Mul", cube, graph.number(0.044715)))
    tanh = graph.add("Tanh", graph.add("Mul", sum_, graph.number(np.sqrt(2 / np.pi))))
    return _half_product(graph, x, tanh)


def _half_product(graph: OnnxEncoder, x: str, step: str) -> str:
    """Add x / 2 (1 + step)."""
    product = graph.add("Mul", x, graph.add("Add", step, graph.number(1)))
    name: str = graph.add("Mul", product, graph.number(0.5))
    return name


def _relu(graph: OnnxEncoder, x: str) -> str:
    name: str = graph.add("Relu", x)
    return name


_ACTIVATIONS: Mapping[str, Callable[[OnnxEncoder, str], str]] = {"gelu": _gelu, "gelu_new": _gelu_new, "relu": _relu}
