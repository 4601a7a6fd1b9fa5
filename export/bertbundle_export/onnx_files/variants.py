"""The ONNX files of a bundle: `FILE` for onnxruntime, `STANDARD_FILE` for any runtime, and one file of weights.

They differ in the encoder only. In float32 and float16 the first has onnxruntime's fused operators and the second
standard operators; for int8 see `onnx_files.int8`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertbundle_export.encoder.extraction import ExtractedCall
from bertbundle_export.encoder.onnx_nodes import (
    FUSED_DOMAIN,
    BuildEncoder,
    OnnxEncoder,
    fused_encoder,
    standard_encoder,
)
from bertbundle_export.encoder.weights import Weight
from bertbundle_export.errors import ExportError
from bertbundle_export.onnx_files.float16 import HalfEncoder, half_weights
from bertbundle_export.onnx_files.graph import insert_nodes, write_weights
from bertbundle_export.onnx_files.int8 import DynamicEncoder, StaticEncoder, quantized_weights

__all__ = ["ONNX_FILES", "ModelParts", "write_files"]

FILE, STANDARD_FILE, WEIGHTS_FILE = "model.onnx", "model_standard.onnx", "model.onnx.data"

ONNX_FILES: Mapping[str, str] = {FILE: "onnx", STANDARD_FILE: "onnx_standard"}
"""The ONNX files, with the name of each one's format in the manifest's parity rows."""


@dataclass(frozen=True, slots=True)
class _Variant:
    """How the encoder of a file is written.

    Attributes:
        build: adds an encoder to a graph.
        encoder: collects the encoder's nodes.
        domains: operator domains that the file may use in addition to the standard ones.
    """

    build: BuildEncoder
    encoder: type[OnnxEncoder] = OnnxEncoder
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelParts:
    """A model in parts, from which each file is assembled.

    Attributes:
        head: a ModelProto of everything but the encoders, without weights.
        weights: the head's weights by name.
        calls: the encoder calls that were extracted.
    """

    head: Any
    weights: Mapping[str, Weight]
    calls: Sequence[ExtractedCall] = ()

    def weight_prefix(self, call: ExtractedCall) -> str:
        """Return the prefix of an encoder's weights, the same for each call of the encoder."""
        return f"encoder_{next(index for index, other in enumerate(self.calls) if other.graph is call.graph)}"

    def all_weights(self, precision: str) -> dict[str, Weight]:
        """Return the weights of the head, float32, and of the encoders; of int8, only the kernels are int8."""
        weights = dict(self.weights)
        for call in self.calls:
            named = call.graph.weights.named
            named = half_weights(named) if precision == "float16" else quantized_weights(named, call.graph.quantized)
            weights |= {f"{self.weight_prefix(call)}/{name}": value for name, value in named.items()}
        return weights


_VARIANTS: Mapping[str, Mapping[str, _Variant]] = {
    "float32": {
        FILE: _Variant(fused_encoder, domains=(FUSED_DOMAIN,)),
        STANDARD_FILE: _Variant(standard_encoder),
    },
    "float16": {
        FILE: _Variant(fused_encoder, HalfEncoder, (FUSED_DOMAIN,)),
        STANDARD_FILE: _Variant(standard_encoder, HalfEncoder),
    },
    "int8": {
        FILE: _Variant(standard_encoder, DynamicEncoder, (FUSED_DOMAIN,)),
        STANDARD_FILE: _Variant(standard_encoder, StaticEncoder),
    },
}
"""How each file is written, by precision."""


def write_files(directory: Path, parts: ModelParts, precision: str = "float32") -> None:
    """Write and check the files.

    Raises:
        ExportError: a weight is too large for float16, or the result is not valid ONNX.
    """
    tensors = write_weights(directory / WEIGHTS_FILE, parts.all_weights(precision))
    for name, variant in _VARIANTS[precision].items():
        proto = _build_model(parts, tensors, variant)
        _check_operators(proto, variant.domains)
        _save(directory / name, proto)


def _build_model(parts: ModelParts, tensors: Sequence[Any], variant: _Variant) -> Any:
    """Return a ModelProto of the head and the encoders."""
    proto = type(parts.head).FromString(parts.head.SerializeToString())
    proto.graph.initializer.extend(tensors)
    for index, call in enumerate(parts.calls):
        graph = call.graph
        encoder = variant.encoder(graph.weights, graph.quantized, parts.weight_prefix(call), f"call_{index}")
        _insert_encoder(proto, call, variant.build, encoder)
    return proto


def _insert_encoder(proto: Any, call: ExtractedCall, build: BuildEncoder, encoder: OnnxEncoder) -> None:
    from onnx import helper

    declared = {f"{item.name}:0": item.name for item in proto.graph.input}
    ids, mask, types = (declared.get(name, name) for name in call.inputs)
    states = build(encoder, (ids, mask, types))
    outputs = [encoder.result(state) for state in (states if len(call.outputs) > 1 else states[-1:])]
    insert_nodes(proto.graph, encoder.nodes, dict(zip(outputs, call.outputs, strict=True)))
    domains = {node.domain for node in encoder.nodes} - {item.domain for item in proto.opset_import}
    proto.opset_import.extend(helper.make_opsetid(domain, 1) for domain in sorted(domains))


def _check_operators(proto: Any, domains: Sequence[str]) -> None:
    """Reject operators outside the ONNX standard and the given domains: no runtime would load the file."""
    allowed = ("", "ai.onnx", *domains)
    custom = {f"{node.domain}.{node.op_type}" for node in proto.graph.node if node.domain not in allowed}
    if custom:
        raise ExportError(f"the ONNX model has non-standard operators: {', '.join(sorted(custom))}.")


def _save(path: Path, proto: Any) -> None:
    import onnx

    path.write_bytes(proto.SerializeToString())
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ExportError(f"the converted ONNX model is not valid: {error}. Please report it.") from error
