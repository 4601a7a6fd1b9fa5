"""Tiny bundles: their ONNX graph computes outputs that are easy to check, and they need no export."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bertbundle.contract.manifest import FileInfo, InputSpec, Manifest, OutputSpec, Source
from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import encode_tensors
from bertbundle_serving.repository.tfrecord import masked_crc32c
from bertbundle_serving.repository.warmup import WARMUP_FILE

__all__ = [
    "INPUTS",
    "LENGTHS",
    "TOKENIZER",
    "VOCABULARY",
    "TinyBundles",
    "features",
    "manifest",
    "onnx_model",
    "predict_request",
    "record",
    "rest_columns",
    "rest_instances",
    "warmup_record",
]

VOCABULARY = 100
LENGTHS = {"serving_default": 8, "length_4": 4}
INPUTS = ("attention_mask", "input_ids", "token_type_ids")
TOKENIZER = '{"fake": "tokenizer"}'


def manifest() -> Manifest:
    """Return the manifest of the tiny bundle."""
    return Manifest(
        name="tiny",
        task="token-classification",
        max_length=8,
        signatures=LENGTHS,
        inputs=(
            InputSpec("input_ids", "int32", 0, VOCABULARY),
            InputSpec("attention_mask", "int32", 0, 2),
            InputSpec("token_type_ids", "int32", 0, 2),
        ),
        outputs=(
            OutputSpec("logits", "float32", ("batch", "length")),
            OutputSpec("label_ids", "int32", ("batch", "length")),
        ),
        source=Source("fake", "tiny", "Tiny", 0, 1, VOCABULARY, 0),
    )


def features(rows: int = 2, length: int = 8) -> dict[str, np.ndarray[Any, Any]]:
    """Return valid inputs of the tiny bundle."""
    ids = np.arange(rows * length, dtype=np.int32).reshape(rows, length) % VOCABULARY
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def rest_columns(rows: int = 2) -> dict[str, Any]:
    """Return valid inputs of the tiny bundle in the column format of REST."""
    return {name: array.tolist() for name, array in features(rows).items()}


def rest_instances(rows: int = 2) -> list[dict[str, Any]]:
    """Return valid inputs of the tiny bundle in the row format of REST."""
    columns = rest_columns(rows)
    return [{name: columns[name][row] for name in columns} for row in range(rows)]


def onnx_model(scale: float, loops: int, ballast: int = 0) -> onnx.ModelProto:
    """Build ``logits = input_ids * scale`` and ``label_ids = input_ids * attention_mask + token_type_ids``.

    Args:
        scale: the factor.
        loops: number of matrices to multiply first, so that a call takes time.
        ballast: bytes of further weights, which do not change the outputs.
    """
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        # Unused ballast would be optimized away, so its value at index 0, which is 0, is added to the outputs.
        helper.make_node("Mul", ["ids", "scale"], ["product"]),
        helper.make_node("Gather", ["ballast", "first"], ["zero"]),
        helper.make_node("Add", ["product", "zero"], ["scaled"]),
        # OpenVINO does not support loops of 0 iterations.
        *(_slow_nodes() if loops else [helper.make_node("Identity", ["scaled"], ["logits"])]),
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["masked"]),
        helper.make_node("Add", ["masked", "token_type_ids"], ["label_ids"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "length"]) for name in INPUTS],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length"]),
            helper.make_tensor_value_info("label_ids", TensorProto.INT32, ["batch", "length"]),
        ],
        _constants(scale, loops, ballast),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model


def _constants(scale: float, loops: int, ballast: int) -> list[Any]:
    values = {
        "ballast": np.arange(max(1, ballast // 4), dtype=np.float32),
        "scale": np.float32(scale),
        "first": np.int64(0),
        "loops": np.int64(loops),
        "zeros": np.zeros((400, 400), np.float32),
        "always": np.array(True),
    }
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def _slow_nodes() -> list[onnx.NodeProto]:
    square = [400, 400]
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "zeros"], ["next"]),
            helper.make_node("Identity", ["condition"], ["next_condition"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, square),
        ],
        [
            helper.make_tensor_value_info("next_condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, square),
        ],
    )
    return [
        helper.make_node("Loop", ["loops", "always", "zeros"], ["looped"], body=body),
        helper.make_node("ReduceSum", ["looped"], ["corner"], keepdims=0),
        helper.make_node("Add", ["scaled", "corner"], ["logits"]),
    ]


def record(data: bytes) -> bytes:
    """Return one TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


def predict_request(
    inputs: Mapping[str, np.ndarray[Any, Any]] | None = None, *, model: str = "tiny", signature: str = ""
) -> wire.PredictRequest:
    """Return a PredictRequest, valid for the tiny bundle unless other inputs are given."""
    return wire.PredictRequest(
        model_spec=wire.ModelSpec(name=model, signature_name=signature),
        inputs=encode_tensors(features() if inputs is None else inputs),
    )


def warmup_record(inputs: Mapping[str, np.ndarray[Any, Any]] | None = None) -> bytes:
    """Return a PredictionLog, valid for the tiny bundle unless other inputs are given."""
    request = predict_request(inputs, signature="serving_default")
    return wire.PredictionLog(predict_log=wire.PredictLog(request=request)).SerializeToString()


@dataclass(frozen=True)
class TinyBundles:
    """Writes tiny bundles to a base path.

    Attributes:
        base: the base path of the model ``tiny``.
    """

    base: Path
    features = staticmethod(features)
    record = staticmethod(record)
    warmup_record = staticmethod(warmup_record)

    def write(
        self,
        version: int | str,
        *,
        scale: float | None = None,
        loops: int = 0,
        warmup: bytes | None = None,
        digests: bool = False,
        ballast: int = 0,
    ) -> Path:
        """Write a version, move it into place when it is complete, and return its directory.

        Args:
            version: name of the version directory.
            scale: see `onnx_model`; the version number by default.
            loops: see `onnx_model`.
            warmup: content of the warmup file; one valid record by default.
            digests: whether the manifest lists the other files, as that of an export does.
            ballast: see `onnx_model`.
        """
        scale = float(version) if scale is None else scale
        hidden = self.base / f".{version}"
        (hidden / WARMUP_FILE).parent.mkdir(parents=True)
        onnx.save(onnx_model(scale, loops, ballast), hidden / "model.onnx")
        (hidden / "bundle.json").write_text(manifest().to_json(), encoding="utf-8")
        (hidden / "tokenizer.json").write_text(TOKENIZER, encoding="utf-8")
        (hidden / WARMUP_FILE).write_bytes(record(warmup_record()) if warmup is None else warmup)
        if digests:
            listed = dataclasses.replace(manifest(), files=_digests(hidden))
            (hidden / "bundle.json").write_text(listed.to_json(), encoding="utf-8")
        return hidden.rename(self.base / str(version))

    def break_file(self, version: int) -> None:
        """Write a version whose model.onnx is truncated."""
        path = self.write(f"{version}.tmp", scale=1.0)
        (path / "model.onnx").write_bytes((path / "model.onnx").read_bytes()[:50])
        path.rename(self.base / str(version))


def _digests(directory: Path) -> dict[str, FileInfo]:
    contents = {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "bundle.json"
    }
    return {name: FileInfo(len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()}
