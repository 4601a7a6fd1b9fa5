"""The Dense modules of sentence-transformers, which map a sentence embedding to another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bertbundle_export.checkpoints.base import DenseModule, LoadOptions, StateDict
from bertbundle_export.checkpoints.readers.weight_files import find_weights, read_pytorch, read_safetensors
from bertbundle_export.errors import CheckpointError

__all__ = ["load_dense"]


def load_dense(modules: Sequence[DenseModule], *, size: int, options: LoadOptions) -> dict[str, Any]:
    """Return the weights of Dense modules as TensorFlow variables, by the names of `DENSE_WEIGHT`.

    Args:
        modules: the modules, in order.
        size: size of the encoder's vectors.
        options: the number of layers whose vectors are concatenated, and whether pickles may be read.

    Raises:
        CheckpointError: there are no weights, they have other sizes, or they are a pickle that may not be read.
    """
    from bertbundle_export.tensorflow_import import tf

    variables: dict[str, Any] = {}
    size *= options.last_layers
    for index, module in enumerate(modules):
        weights = _read(module, options)
        expected: dict[str, tuple[int, ...]] = {"linear.weight": (module.outputs, size)}
        expected |= {"linear.bias": (module.outputs,)} if module.has_bias else {}
        found = {name: value.shape for name, value in weights.items()}
        if module.inputs != size or found != expected:
            raise CheckpointError(
                f"{module.directory} has a Dense module from {module.inputs} with the weights {found}, expected "
                f"{expected}: an embedding has the size {size}."
            )
        if not all(np.isfinite(value).all() for value in weights.values()):
            raise CheckpointError(f"{module.directory} has weights that are not finite. Download it again.")
        bias = weights.get("linear.bias", np.zeros(module.outputs, np.float32))
        variables[f"dense_{index}_kernel"] = tf.Variable(weights["linear.weight"].T, name=f"dense_{index}_kernel")
        variables[f"dense_{index}_bias"] = tf.Variable(bias, name=f"dense_{index}_bias")
        size = module.outputs
    return variables


def _read(module: DenseModule, options: LoadOptions) -> StateDict:
    files = find_weights(module.directory)
    if files is None or files.kind == "tf_h5":
        raise CheckpointError(
            f"{module.directory} has no weights: expected model.safetensors or pytorch_model.bin. Download it again."
        )
    if files.kind == "safetensors":
        return read_safetensors(files.files)
    if not options.allow_pickle:
        raise CheckpointError(
            f"{files.files[0]} is a PyTorch pickle, which may run code when it is read. Convert it to "
            "model.safetensors, or pass --allow-pickle if you trust it."
        )
    return read_pytorch(files.files)
