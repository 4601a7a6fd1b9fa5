"""Check that the weight files of a Hugging Face directory that hold the same weights agree."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from bertbundle_export.checkpoints.readers.weight_files import (
    WeightFiles,
    all_weights,
    h5_weights,
    safetensors_header,
)
from bertbundle_export.errors import CheckpointError

__all__ = ["check_agreement"]

_REQUIRED_AGREEMENT = 0.5
_MAX_BYTES = 1 << 17  # of a bias or a layer normalization


def check_agreement(directory: Path, chosen: WeightFiles) -> None:
    """Refuse other weight files of a directory with other values: one of them is from before the last training.

    Biases and layer normalizations in float32 are compared, which every training changes, whatever their names: the
    files may belong to classes with different heads. Files without any cannot be compared. A PyTorch pickle is not
    unpickled: the values are files of its archive.

    Raises:
        CheckpointError: fewer than half of the compared values of the chosen files are in the others.
    """
    own = _vectors(chosen)
    for other in all_weights(directory):
        theirs = _vectors(other)
        compared = _comparable(own, theirs)
        if len(compared & theirs) < _REQUIRED_AGREEMENT * len(compared):
            raise CheckpointError(
                f"{directory} has {chosen.files[0].name} and {other.files[0].name} with different weights: one of them "
                "is older. Remove it."
            )


def _comparable(own: set[bytes], theirs: set[bytes]) -> set[bytes]:
    """Return the vectors of every layer, if the others have such sizes: otherwise they are of another precision."""
    counts = Counter(map(len, own))
    sizes = {size for size, count in counts.items() if count > 1}
    return {vector for vector in own if len(vector) in sizes} if sizes <= {*map(len, theirs)} else set()


def _vectors(weights: WeightFiles) -> set[bytes]:
    """Return the values of all one-dimensional float32 tensors, except constants, which training may not change."""
    found = {value for file in weights.files for value in _READERS[weights.kind](file)}
    return {value for value in found if value != value[:4] * (len(value) // 4)}


def _read_safetensors(path: Path) -> Iterator[bytes]:
    header = safetensors_header(path)
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        for name, item in header.items():
            if name != "__metadata__" and item.get("dtype") == "F32" and len(item.get("shape", ())) == 1:
                begin, end = item["data_offsets"]
                file.seek(start + begin)
                yield file.read(end - begin)


def _read_h5(path: Path) -> Iterator[bytes]:
    with h5_weights(path) as found:
        for item in found.values():
            if len(item.shape) == 1 and item.dtype == np.float32:
                yield np.asarray(item).tobytes()


def _read_pytorch(path: Path) -> Iterator[bytes]:
    """Yield small values of any dtype and shape; nothing for the format of PyTorch before 1.6."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for item in archive.infolist():
            if "/data/" in item.filename and 4 <= item.file_size <= _MAX_BYTES:
                yield archive.read(item)


_READERS: Mapping[str, Callable[[Path], Iterator[bytes]]] = {
    "safetensors": _read_safetensors,
    "tf_h5": _read_h5,
    "pytorch": _read_pytorch,
}
