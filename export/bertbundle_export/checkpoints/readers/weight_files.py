"""Read the weight files of Hugging Face directories into numpy arrays."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle_export.checkpoints.base import StateDict
from bertbundle_export.errors import CheckpointError

__all__ = [
    "WeightFiles",
    "all_weights",
    "find_weights",
    "h5_weights",
    "is_tensorflow",
    "keras_to_pytorch",
    "read_keras_h5",
    "read_pytorch",
    "read_safetensors",
    "safetensors_header",
    "without_wrappers",
]


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The weight files of a Hugging Face directory.

    Attributes:
        kind: "safetensors", "tf_h5" or "pytorch".
        files: one file, or the shards of one index.
    """

    kind: str
    files: tuple[Path, ...]


# Parts that PyTorch's wrappers add to names: DataParallel, torch.compile, FSDP, activation checkpointing.
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# The attribute that training code, such as a Lightning module, usually has the model in.
_ATTRIBUTE = "model."
# In order of preference: safetensors need neither torch nor pickle, and cannot contain code.
_KINDS = (
    ("safetensors", "model.safetensors"),
    ("tf_h5", "tf_model.h5"),
    ("pytorch", "pytorch_model.bin"),
)


def find_weights(directory: Path) -> WeightFiles | None:
    """Return the weight files of a directory, or None if it has none.

    Raises:
        CheckpointError: an index names shards that do not exist.
    """
    return next(all_weights(directory), None)


def all_weights(directory: Path) -> Iterator[WeightFiles]:
    """Yield the weight files of a directory of every kind, in order of preference.

    Raises:
        CheckpointError: an index names shards that do not exist.
    """
    for kind, name in _KINDS:
        index = directory / f"{name}.index.json"
        if (directory / name).is_file():
            yield WeightFiles(kind, (directory / name,))
        elif index.is_file():
            yield WeightFiles(kind, _shards(index))


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is not an index of weight files: {error!r}. Download it again.") from error
    missing = [name for name in names if not (index.parent / name).is_file() or Path(name).name != name]
    if missing:
        raise CheckpointError(f"{index.name} names {', '.join(missing)}, not in {index.parent}. Download all shards.")
    return tuple(index.parent / name for name in names)


def safetensors_header(path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file: dtype and shape by tensor name, and ``__metadata__``.

    Source: https://huggingface.co/docs/safetensors (8 bytes of length, little endian, then JSON).

    Raises:
        CheckpointError: the file is not a safetensors file, or its size differs from what its header says.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise CheckpointError(
                f"{path} is not a safetensors file, or is truncated ({size} bytes). Download it again."
            )
        try:
            header: dict[str, Any] = json.loads(file.read(length))
        except ValueError as error:
            raise CheckpointError(f"{path} has a malformed header: {error}. Download it again.") from error
    try:
        ends = [int(item["data_offsets"][1]) for name, item in header.items() if name != "__metadata__"]
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} has a malformed header, expected data_offsets for each tensor: {error!r}. Download it again."
        ) from error
    if max(ends, default=0) + 8 + length != size:
        raise CheckpointError(
            f"{path} has {size} bytes, its header says {max(ends, default=0) + 8 + length}. Download it again."
        )
    return header


def is_tensorflow(header: Mapping[str, Any]) -> bool:
    """Return whether the tensors of a safetensors file have the names of transformers' TensorFlow classes."""
    return bool((header.get("__metadata__") or {}).get("format") == "tf")


def _merge(path: Path, tensors: Iterator[tuple[str, npt.NDArray[Any]]], merged: StateDict) -> None:
    for name, value in tensors:
        if name in merged:
            raise CheckpointError(f"{path} has {name}, which another shard has too. Download the shards again.")
        merged[name] = value.astype(np.float32) if value.dtype.kind in "fV" else value


def read_safetensors(files: tuple[Path, ...]) -> StateDict:
    """Read safetensors files, in PyTorch's naming or TensorFlow's; floats become float32.

    Raises:
        CheckpointError: a file is truncated or malformed.
    """
    import ml_dtypes  # registers bfloat16 with numpy; comes with TensorFlow
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    del ml_dtypes
    merged: StateDict = {}
    for path in files:
        convert = is_tensorflow(safetensors_header(path))
        try:
            tensors = load_file(path).items()
            _merge(
                path,
                (_unscoped_keras_to_pytorch(*item) for item in tensors) if convert else iter(tensors),
                merged,
            )
        except (SafetensorError, TypeError, KeyError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}. Download it again.") from error
    return merged


def without_wrappers(weights: StateDict) -> StateDict:
    """Return weights without the parts of names that wrappers added in training; unchanged if two would be the same."""
    names = {name: _WRAPPERS.sub("", name) for name in weights}
    if all(name.startswith(_ATTRIBUTE) for name in names.values()):
        names = {name: short.removeprefix(_ATTRIBUTE) for name, short in names.items()}
    return {names[name]: value for name, value in weights.items()} if len({*names.values()}) == len(names) else weights


def read_pytorch(files: tuple[Path, ...]) -> StateDict:
    """Read PyTorch pickles with PyTorch's restricted unpickler; floats become float32.

    Raises:
        CheckpointError: torch is not installed, or a file is malformed or contains more than tensors.
    """
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(
            f"{files[0].name} is a PyTorch pickle and needs torch: pip install 'bertbundle-toolkit[pytorch]', or "
            "convert it to model.safetensors."
        ) from error
    load: Callable[..., Any] = torch.load
    merged: StateDict = {}
    for path in files:
        try:
            tensors = load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # of pickle, zipfile or torch, whose message advises running the code
            raise CheckpointError(
                f"{path} cannot be read as PyTorch weights: it is damaged, or contains more than tensors, and code is "
                "never run. Download it again, or convert it to model.safetensors."
            ) from error
        _check_state_dict(path, tensors)
        _merge(path, ((name, tensor.float().numpy()) for name, tensor in tensors.items()), merged)
    return merged


def _check_state_dict(path: Path, found: Any) -> None:
    wrong = "" if isinstance(found, dict) else f"a {type(found).__name__}"
    if not wrong:
        wrong = ", ".join(f"{key!r}: {type(item).__name__}" for key, item in found.items() if not _is_tensor(key, item))
    if wrong:
        raise CheckpointError(
            f"{path} is not a state dict of tensors by name: found {wrong[:200]}. Save only the state dict: "
            "torch.save(model.state_dict(), ...)."
        )


def _is_tensor(name: Any, item: Any) -> bool:
    return isinstance(name, str) and hasattr(item, "float") and hasattr(item, "numpy")


@contextmanager
def h5_weights(path: Path) -> Iterator[dict[str, Any]]:
    """Open a Keras h5 file and yield its datasets by variable name; each is read on access.

    Raises:
        CheckpointError: the file is not h5 or is truncated, or one of its datasets cannot be read.
    """
    import h5py

    found: dict[str, Any] = {}
    try:
        with h5py.File(path) as file:

            def visit(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset):
                    layer, _, variable = name.removesuffix(":0").partition("/")
                    # Keras stores a variable's full name in a group per layer; transformers' shards have neither the
                    # group nor the model's name, the first part of every full name.
                    found[variable if "weight_names" in file[layer].attrs else f"model/{layer}/{variable}"] = item

            file.visititems(visit)
            yield found
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read as h5: {error}. Download it again.") from error


def read_keras_h5(files: tuple[Path, ...]) -> StateDict:
    """Read the TensorFlow variables of transformers' classes from h5 files, with PyTorch's names and layout.

    Raises:
        CheckpointError: a file is truncated or malformed.
    """
    merged: StateDict = {}
    for path in files:
        with h5_weights(path) as found:
            _merge(path, (keras_to_pytorch(name, np.asarray(item)) for name, item in found.items()), merged)
    return merged


def keras_to_pytorch(name: str, value: npt.NDArray[Any]) -> tuple[str, npt.NDArray[Any]]:
    """Convert the name and layout of a variable of a transformers class to PyTorch's."""
    from transformers.modeling_tf_pytorch_utils import apply_transpose, convert_tf_weight_name_to_pt_weight_name

    renamed, transpose = convert_tf_weight_name_to_pt_weight_name(name, tf_weight_shape=value.shape)
    return renamed, apply_transpose(transpose, value, pt_to_tf=False)


def _unscoped_keras_to_pytorch(name: str, value: npt.NDArray[Any]) -> tuple[str, npt.NDArray[Any]]:
    """Do the same for a safetensors file of a TensorFlow class, whose names lack the model's name."""
    return keras_to_pytorch(f"model/{name}", value)
