"""Read the index of a TensorFlow checkpoint without TensorFlow, and its tensors with TensorFlow.

The index is a sorted table, tensorflow/core/lib/io/table_format.txt: blocks of prefix-compressed keys and values, then
a footer of 48 bytes. The values are messages of tensorflow/core/protobuf/tensor_bundle.proto. TensorFlow verifies the
checksums, of the index and of each tensor, when the tensors are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from bertbundle_export.checkpoints.readers._tensorflow_pb2 import BundleEntry, BundleHeader, TrackableObjectGraph
from bertbundle_export.errors import CheckpointError

__all__ = ["OBJECT_GRAPH", "Entry", "TensorBundle", "checkpoint_keys", "read_index", "read_raw", "read_tensors"]

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""Name of the entry that object-based checkpoints have: those of Keras and of SavedModels of TensorFlow 2."""

_FOOTER = 48  # bytes: two block handles of at most 20, and the magic number
_MAGIC = bytes.fromhex("57fb808b247547db")
# tensorflow/core/framework/types.proto: DT_FLOAT, DT_DOUBLE, DT_BFLOAT16, DT_HALF.
_FLOATS = frozenset({1, 2, 14, 19})


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor of a checkpoint: its shape and the location of its bytes.

    Attributes:
        is_float: whether its dtype is a floating point type.
        shape: empty for a scalar.
        shard: number of the data file.
        offset, size: in bytes.
    """

    is_float: bool
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class TensorBundle:
    """The index of a checkpoint.

    Attributes:
        prefix: common prefix of its files.
        shards: the data files.
        entries: the tensors by name.
    """

    prefix: Path
    shards: tuple[Path, ...]
    entries: Mapping[str, Entry]

    @property
    def files(self) -> tuple[Path, ...]:
        """The index and the data files."""
        return (Path(f"{self.prefix}.index"), *self.shards)


def read_index(prefix: Path) -> TensorBundle:
    """Read the index of a checkpoint, and check that its data files exist and are complete.

    Raises:
        CheckpointError: the index or a data file is missing, truncated or malformed.
    """
    path = Path(f"{prefix}.index")
    if not path.is_file():
        raise CheckpointError(f"no file {path}: a TensorFlow checkpoint needs its .index beside its .data files.")
    try:
        items = dict(_items(path.read_bytes()))
        header = BundleHeader.FromString(items.pop(b""))
        # Keys that begin with a zero byte are slices of partitioned variables, which are also listed as a whole.
        entries = {key.decode(): _entry(value) for key, value in items.items() if not key.startswith(b"\0")}
    except (IndexError, KeyError, ValueError, struct.error, DecodeError) as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is not the index of a TensorFlow checkpoint, or is truncated "
            f"or damaged: {error}. Download it again."
        ) from error
    if header.endianness:
        raise CheckpointError(f"{path} was written on a big-endian machine, which is not supported.")
    shards = tuple(Path(f"{prefix}.data-{i:05}-of-{header.num_shards:05}") for i in range(header.num_shards))
    _check_shards(path, shards, entries.values())
    return TensorBundle(prefix, shards, entries)


def _check_shards(path: Path, shards: tuple[Path, ...], entries: Iterable[Entry]) -> None:
    ends = dict.fromkeys(range(len(shards)), 0)
    for entry in entries:
        ends[entry.shard] = max(ends.get(entry.shard, 0), entry.offset + entry.size)
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise CheckpointError(f"{path} has no {', '.join(missing)} beside it, expected {len(shards)} data files.")
    for number, end in ends.items():
        if number >= len(shards):
            raise CheckpointError(
                f"{path} is damaged: it refers to data file {number} of {len(shards)}. Download it again."
            )
        found = shards[number].stat().st_size
        if found < end:
            raise CheckpointError(f"{shards[number]} has {found} bytes, its index says {end}. Download it again.")


def read_raw(bundle: TensorBundle, name: str) -> bytes:
    """Return the stored bytes of a tensor without verifying its checksum: for the few that a description needs."""
    entry = bundle.entries[name]
    with bundle.shards[entry.shard].open("rb") as file:
        file.seek(entry.offset)
        return file.read(entry.size)


def checkpoint_keys(bundle: TensorBundle) -> dict[str, str]:
    """Return the key of each variable of an object-based checkpoint, by the variable's name.

    Raises:
        CheckpointError: the object graph is damaged.
    """
    raw = read_raw(bundle, OBJECT_GRAPH)
    try:
        # A string tensor is stored as its length, a checksum of four bytes, and the text (tensor_bundle.cc,
        # WriteStringTensor).
        _, start = _varint(raw, 0)
        graph = TrackableObjectGraph.FromString(raw[start + 4 :])
    except (IndexError, DecodeError) as error:
        raise CheckpointError(
            f"{bundle.shards[0]} is damaged in {OBJECT_GRAPH}: {error}. Download it again."
        ) from error
    attributes = (attribute for node in graph.nodes for attribute in node.attributes)
    return {item.full_name: item.checkpoint_key for item in attributes if item.checkpoint_key in bundle.entries}


def read_tensors(bundle: TensorBundle, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    """Read tensors and verify their checksums; floats become float32.

    Raises:
        CheckpointError: a tensor, or the index, does not match its checksum.
    """
    from bertbundle_export.tensorflow_import import tf

    name, found = f"{bundle.prefix}.index", {}
    try:
        reader = tf.train.load_checkpoint(str(bundle.prefix))
        for name in names:
            value = reader.get_tensor(name)
            found[name] = value.astype(np.float32) if bundle.entries[name].is_float else value
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{bundle.prefix} is damaged at {name}: {error}. Download it again.") from error
    return found


# ---- the sorted table


def _items(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(data) < _FOOTER or not data.endswith(_MAGIC):
        raise ValueError("no magic number at its end")
    _, position = _handle(data, len(data) - _FOOTER)
    index, _ = _handle(data, position)
    for _, value in _block(data, *index):
        handle, _ = _handle(value, 0)
        yield from _block(data, *handle)


def _block(data: bytes, position: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block."""
    if data[position + size]:
        raise ValueError("its blocks are compressed, which TensorFlow never does")
    (restarts,) = struct.unpack_from("<I", data, position + size - 4)
    end = position + size - 4 - 4 * restarts
    key = b""
    while position < end:
        shared, position = _varint(data, position)
        added, position = _varint(data, position)
        length, position = _varint(data, position)
        key = key[:shared] + data[position : position + added]
        position += added + length
        yield key, data[position - length : position]


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Return a block handle, offset and size, and the position after it."""
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return a varint and the position after it."""
    value = shift = 0
    while data[position] & 0x80:
        value |= (data[position] & 0x7F) << shift
        position, shift = position + 1, shift + 7
    return value | data[position] << shift, position + 1


def _entry(value: bytes) -> Entry:
    found = BundleEntry.FromString(value)
    shape = tuple(dim.size for dim in found.shape.dim)
    return Entry(found.dtype in _FLOATS, shape, found.shard_id, found.offset, found.size)
