"""The ONNX files of a bundle: `FILE` for onnxruntime, `STANDARD_FILE` for any runtime, and one file of weights.

They differ in the encoder only. In float32 the first has onnxruntime's fused operators and the second standard
operators; for int8 see `onnx_files.int8`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bertbundle.contract.types import InputFeatures
from bertbundle_export.encoder.extraction import ExtractedCall
from bertbundle_export.encoder.onnx_nodes import (
    FUSED_DOMAIN,
    BuildEncoder,
    OnnxEncoder,
    encoder_weights,
    fused_encoder,
    standard_encoder,
)
from bertbundle_export.encoder.weights import EncoderWeights, Weight
from bertbundle_export.errors import ExportError
from bertbundle_export.onnx_files.graph import insert_nodes, keep_only, write_weights
from bertbundle_export.onnx_files.int8 import DynamicEncoder, ObservedEncoder, StaticEncoder, observe_ranges, quantize
from bertbundle_export.runners import onnx_runner

__all__ = ["ONNX_FILES", "ModelParts", "write_float32", "write_int8"]

FILE, STANDARD_FILE, WEIGHTS_FILE = "model.onnx", "model_standard.onnx", "model.onnx.data"

ONNX_FILES: Mapping[str, str] = {FILE: "onnx", STANDARD_FILE: "onnx_standard"}
"""The ONNX files, with the name of each one's format in the manifest's parity rows."""


@dataclass(frozen=True, slots=True)
class _Variant:
    """How the encoder of a file is written.

    Attributes:
        build: adds an encoder to a graph.
        encoder: makes the object that collects the encoder's nodes.
        domains: operator domains that the file may use in addition to the standard ones.
    """

    build: BuildEncoder
    encoder: Callable[[EncoderWeights, str, str], OnnxEncoder] = OnnxEncoder
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

    def all_weights(self) -> dict[str, Weight]:
        """Return the weights of the head and the encoders, float32."""
        weights = dict(self.weights)
        for call in self.calls:
            weights |= encoder_weights(call.graph.weights, self.weight_prefix(call))
        return weights


_FLOAT32: Mapping[str, _Variant] = {
    FILE: _Variant(fused_encoder, domains=(FUSED_DOMAIN,)),
    STANDARD_FILE: _Variant(standard_encoder),
}


def write_float32(directory: Path, parts: ModelParts) -> None:
    """Write and check the files in float32.

    Raises:
        ExportError: the result is not valid ONNX.
    """
    _write(directory, parts, parts.all_weights(), _FLOAT32)


def write_int8(directory: Path, parts: ModelParts, features: Sequence[InputFeatures]) -> None:
    """Write and check the files with int8 kernels. A float32 file is temporarily written beside `directory`.

    Args:
        directory: directory of the files.
        parts: the model.
        features: texts for calibration: the ranges of the kernels' inputs are measured on them.

    Raises:
        ExportError: no encoder call was extracted from the model, or the result is not valid ONNX.
    """
    if not parts.calls:
        raise ExportError(
            "precision int8 is not possible: the model's encoder could not be extracted from its graph. Export with "
            "--precision float32."
        )
    weights = parts.all_weights()
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        observed = _write_observed(Path(scratch), parts, weights)
        channels = observe_ranges(onnx_runner(Path(scratch) / FILE), observed, features)
    quantized, ranges = quantize(weights, channels)
    variants = {
        FILE: _Variant(standard_encoder, DynamicEncoder, (FUSED_DOMAIN,)),
        STANDARD_FILE: _Variant(standard_encoder, partial(StaticEncoder, ranges=ranges)),
    }
    _write(directory, parts, quantized, variants)


def _write_observed(directory: Path, parts: ModelParts, weights: Mapping[str, Weight]) -> list[tuple[str, str, str]]:
    tensors = write_weights(directory / WEIGHTS_FILE, weights)
    proto, encoders = _build_model(parts, tensors, _Variant(standard_encoder, ObservedEncoder))
    observed = [item for encoder in encoders for item in encoder.observed]
    keep_only(proto.graph, [name for _, *names in observed for name in names])
    _save(directory / FILE, proto)
    return observed


def _write(directory: Path, parts: ModelParts, weights: Mapping[str, Weight], variants: Mapping[str, _Variant]) -> None:
    tensors = write_weights(directory / WEIGHTS_FILE, weights)
    for name, variant in variants.items():
        proto, _ = _build_model(parts, tensors, variant)
        _check_operators(proto, variant.domains)
        _save(directory / name, proto)


def _build_model(parts: ModelParts, tensors: Sequence[Any], variant: _Variant) -> tuple[Any, list[OnnxEncoder]]:
    """Return a ModelProto of the head and the encoders, and the encoders."""
    proto = type(parts.head).FromString(parts.head.SerializeToString())
    proto.graph.initializer.extend(tensors)
    encoders = []
    for index, call in enumerate(parts.calls):
        encoder = variant.encoder(call.graph.weights, parts.weight_prefix(call), f"call_{index}")
        _insert_encoder(proto, call, variant.build, encoder)
        encoders.append(encoder)
    return proto, encoders


def _insert_encoder(proto: Any, call: ExtractedCall, build: BuildEncoder, encoder: OnnxEncoder) -> None:
    from onnx import helper

    declared = {f"{item.name}:0": item.name for item in proto.graph.input}
    ids, mask, types = (declared.get(name, name) for name in call.inputs)
    states = build(encoder, (ids, mask, types))
    outputs = states if len(call.outputs) > 1 else states[-1:]
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
