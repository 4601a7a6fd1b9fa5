"""Run an exported format from disk: the SavedModel with TensorFlow, an ONNX file with onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from bertbundle._shared.onnxruntime_loader import import_onnxruntime, session_options
from bertbundle.contract.types import Arrays, InputFeatures
from bertbundle_export.errors import ExportError

__all__ = ["Runner", "onnx_runner", "saved_model_runner"]

Runner: TypeAlias = Callable[[InputFeatures], Arrays]
"""Compute the outputs of one batch."""


def saved_model_runner(path: Path) -> Runner:
    """Load a SavedModel from disk and return a function that runs its signatures."""
    from bertbundle_export.tensorflow_import import tf

    loaded = tf.saved_model.load(str(path))

    def run(features: InputFeatures) -> Arrays:
        inputs = {name: tf.constant(value) for name, value in features.inputs.items()}
        return {name: value.numpy() for name, value in loaded.signatures[features.signature](**inputs).items()}

    return run


def onnx_runner(path: Path) -> Runner:
    """Load an ONNX file from disk and return a function that runs it at any signature's length.

    Raises:
        ExportError: onnxruntime cannot load the file.
    """
    onnxruntime = import_onnxruntime()
    options = session_options(onnxruntime)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ExportError(
            f"onnxruntime cannot load the exported ONNX model: {error}. A model that computes in a dtype other than "
            "float32 (mixed precision) must be rebuilt under set_global_policy('float32'), with its weights."
        ) from error
    names = [output.name for output in session.get_outputs()]

    def run(features: InputFeatures) -> Arrays:
        return dict(zip(names, session.run(names, dict(features.inputs)), strict=True))

    return run
