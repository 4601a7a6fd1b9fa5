"""Read TFRecord files, the format of warmup requests, without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["TFRecordError", "crc32c", "masked_crc32c", "read_records"]

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")


class TFRecordError(ValueError):
    """The file is not a TFRecord file, or it is truncated or damaged."""


def _crc_row(byte: int) -> int:
    for _ in range(8):
        # 0x82F63B78: the Castagnoli polynomial, bits reversed (RFC 3720, appendix B.4).
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = tuple(_crc_row(byte) for byte in range(256))


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) checksum.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C as TFRecord stores it: rotated, plus a constant.

    Source: `Mask` in tensorflow/core/lib/hash/crc32c.h.
    """
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file.

    A record is the length (u64), the CRC of the length (u32), the data, and the CRC of the data (u32), little-endian.

    Raises:
        TFRecordError: the file is truncated, or a checksum does not match.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        while header := file.read(_LENGTH.size):
            location = f"{path.name} at byte {file.tell() - len(header)}"
            _check(file, header, _LENGTH.size, location)
            (length,) = _LENGTH.unpack(header)
            # Never read more than the size of the file: read() allocates the whole length first.
            data = file.read(min(length, size))
            _check(file, data, length, location)
            yield data


def _check(file: BinaryIO, data: bytes, length: int, location: str) -> None:
    """Check that data is complete and matches the checksum that follows it in the file."""
    stored = file.read(_CRC.size)
    if len(data) < length or len(stored) < _CRC.size:
        raise TFRecordError(f"truncated record in {location}")
    if _CRC.unpack(stored) != (masked_crc32c(data),):
        raise TFRecordError(f"corrupted record in {location}")
