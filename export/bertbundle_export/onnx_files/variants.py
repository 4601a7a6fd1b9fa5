"""The ONNX files of a bundle: `FILE` for onnxruntime and `STANDARD_FILE` for any runtime, over one file of weights.

They share what is around the encoder. In float32 the first has the encoder in onnxruntime's fused operators and the
second in the standard's; in int8 see `encoder_int8`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bertbundle.contract.types import InputFeatures
from bertbundle_export.encoder import onnx_nodes as encoder_onnx
from bertbundle_export.encoder.extraction import Cut
from bertbundle_export.encoder.onnx_nodes import FUSED_DOMAIN, OnnxEncoder, encoder_weights
from bertbundle_export.encoder.weights import Encoder, Weight
from bertbundle_export.errors import ExportError
from bertbundle_export.onnx_files.graph import insert_nodes, keep_only, write_weights
from bertbundle_export.onnx_files.int8 import DynamicEncoder, ObservedEncoder, StaticEncoder, observe, quantize
from bertbundle_export.parity.compare import onnx_runner

__all__ = ["FORMATS", "Parts", "write_float32", "write_int8"]

FILE, STANDARD_FILE, WEIGHTS_FILE = "model.onnx", "model_standard.onnx", "model.onnx.data"

FORMATS: Mapping[str, str] = {FILE: "onnx", STANDARD_FILE: "onnx_standard"}
"""Name of each file's format in the manifest's parity rows."""


@dataclass(frozen=True, slots=True)
class _Variant:
    """How an encoder is written.

    Attributes:
        build: adds it to a graph.
        encoder: makes what collects its nodes.
        domains: of operators that the file may have beside the standard's.
    """

    build: encoder_onnx.Build
    encoder: Callable[[Encoder, str, str], OnnxEncoder] = OnnxEncoder
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parts:
    """What all files of a bundle share.

    Attributes:
        head: a ModelProto of what is around the encoders, without weights.
        weights: the head's weights by their names in it.
        cuts: the encoders' calls, and where they belong.
    """

    head: Any
    weights: Mapping[str, Weight]
    cuts: Sequence[Cut] = ()

    def prefix(self, cut: Cut) -> str:
        """Return the prefix of the names of an encoder's weights: those of one that is called twice are there once."""
        return f"encoder_{next(index for index, other in enumerate(self.cuts) if other.graph is cut.graph)}"

    def all_weights(self) -> dict[str, Weight]:
        """Return the head's weights and the encoders', float32."""
        weights = dict(self.weights)
        for cut in self.cuts:
            weights |= encoder_weights(cut.graph.encoder, self.prefix(cut))
        return weights


_FLOAT32: Mapping[str, _Variant] = {
    FILE: _Variant(encoder_onnx.fused_encoder, domains=(FUSED_DOMAIN,)),
    STANDARD_FILE: _Variant(encoder_onnx.standard_encoder),
}


def write_float32(directory: Path, parts: Parts) -> None:
    """Write the files in float32, checked.

    Raises:
        ExportError: the result is not valid ONNX.
    """
    _write(directory, parts, parts.all_weights(), _FLOAT32)


def write_int8(directory: Path, parts: Parts, features: Sequence[InputFeatures]) -> None:
    """Write the files with int8 kernels, checked. The float32 ones are written beside `directory` for a while.

    Args:
        directory: gets the files.
        parts: of the model.
        features: texts to see on what the kernels are multiplied with.

    Raises:
        ExportError: the model has no encoder that was cut out, or the result is not valid ONNX.
    """
    if not parts.cuts:
        raise ExportError(
            "precision int8 cannot be: the model's layers are used in a way that only its own graph has. Export with "
            "--precision float32."
        )
    weights = parts.all_weights()
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        observed = _write_observed(Path(scratch), parts, weights)
        seen = observe(onnx_runner(Path(scratch) / FILE), observed, features)
    quantized, ranges = quantize(weights, seen)
    variants = {
        FILE: _Variant(encoder_onnx.standard_encoder, DynamicEncoder, (FUSED_DOMAIN,)),
        STANDARD_FILE: _Variant(encoder_onnx.standard_encoder, partial(StaticEncoder, ranges=ranges)),
    }
    _write(directory, parts, quantized, variants)


def _write_observed(directory: Path, parts: Parts, weights: Mapping[str, Weight]) -> list[tuple[str, str, str]]:
    tensors = write_weights(directory / WEIGHTS_FILE, weights)
    proto, encoders = _assemble(parts, tensors, _Variant(encoder_onnx.standard_encoder, ObservedEncoder))
    observed = [item for encoder in encoders for item in encoder.observed]
    keep_only(proto.graph, [name for _, *names in observed for name in names])
    _save(directory / FILE, proto)
    return observed


def _write(directory: Path, parts: Parts, weights: Mapping[str, Weight], variants: Mapping[str, _Variant]) -> None:
    tensors = write_weights(directory / WEIGHTS_FILE, weights)
    for name, variant in variants.items():
        proto, _ = _assemble(parts, tensors, variant)
        _check_operators(proto, variant.domains)
        _save(directory / name, proto)


def _assemble(parts: Parts, tensors: Sequence[Any], variant: _Variant) -> tuple[Any, list[OnnxEncoder]]:
    """Return a ModelProto with the encoders in their places, and the encoders."""
    proto = type(parts.head).FromString(parts.head.SerializeToString())
    proto.graph.initializer.extend(tensors)
    encoders = []
    for index, cut in enumerate(parts.cuts):
        encoder = variant.encoder(cut.graph.encoder, parts.prefix(cut), f"call_{index}")
        _insert_encoder(proto, cut, variant.build, encoder)
        encoders.append(encoder)
    return proto, encoders


def _insert_encoder(proto: Any, cut: Cut, build: encoder_onnx.Build, encoder: OnnxEncoder) -> None:
    from onnx import helper

    declared = {f"{item.name}:0": item.name for item in proto.graph.input}
    ids, mask, types = (declared.get(name, name) for name in cut.inputs)
    states = build(encoder, (ids, mask, types))
    wanted = states if len(cut.outputs) > 1 else states[-1:]
    insert_nodes(proto.graph, encoder.nodes, dict(zip(wanted, cut.outputs, strict=True)))
    domains = {node.domain for node in encoder.nodes} - {item.domain for item in proto.opset_import}
    proto.opset_import.extend(helper.make_opsetid(domain, 1) for domain in sorted(domains))


def _check_operators(proto: Any, domains: Sequence[str]) -> None:
    """Refuse operators outside the ONNX standard and the domains given: no runtime would load the file."""
    known = ("", "ai.onnx", *domains)
    foreign = {f"{node.domain}.{node.op_type}" for node in proto.graph.node if node.domain not in known}
    if foreign:
        raise ExportError(f"the ONNX model has operators outside the standard: {', '.join(sorted(foreign))}.")


def _save(path: Path, proto: Any) -> None:
    import onnx

    path.write_bytes(proto.SerializeToString())
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ExportError(f"the converted ONNX model is not valid: {error}. Please report it.") from error
