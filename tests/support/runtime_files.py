"""Tiny bundles with the model files of all ONNX runtimes, loaded without a server."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from bertbundle.contract.manifest import Manifest
from bertbundle_serving.runtimes import RuntimeOptions, Servable, loader
from tiny_bundles import TinyBundles

__all__ = ["GRAPHS", "load", "write_graphs"]

GRAPHS = {"onnx": "model.onnx", "openvino": "model_standard.onnx"}
"""The model file of each runtime."""


def load(directory: Path, name: str = "onnx") -> Servable:
    """Load a version with one thread."""
    return loader(name, RuntimeOptions(threads=1))(directory)


def write_graphs(bundles: TinyBundles, precision: str = "float32") -> Path:
    """Write version 1 of the tiny bundle with the model files of both runtimes, and return its directory."""
    path = bundles.write(1, scale=2.0)
    shutil.copyfile(path / GRAPHS["onnx"], path / GRAPHS["openvino"])
    manifest = Manifest.read(path)
    (path / "bundle.json").write_text(dataclasses.replace(manifest, precision=precision).to_json(), encoding="utf-8")
    return path
