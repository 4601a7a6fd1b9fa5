"""TFRecord files that TensorFlow wrote are read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bertbundle_serving.repository.tfrecord import TFRecordError, crc32c, read_records

# A file with the records b"abc" and b"", written by tf.io.TFRecordWriter of TensorFlow 2.21.
FROM_TENSORFLOW = bytes.fromhex("0300000000000000b099490e6162636e57f121000000000000000029039807d8ea82a2")


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        pytest.param(b"123456789", 0xE3069283, id="check-value"),
        pytest.param(bytes(32), 0x8A9136AA, id="rfc3720-zeros"),
        pytest.param(b"\xff" * 32, 0x62A8AB43, id="rfc3720-ones"),
    ],
)
def test_crc32c(data: bytes, crc: int) -> None:
    """The checksums are those of RFC 3720, appendix B.4."""
    assert crc32c(data) == crc


def test_read_records(tmp_path: Path) -> None:
    """The records of a file written by TensorFlow are read."""
    path = tmp_path / "records"
    path.write_bytes(FROM_TENSORFLOW)
    assert list(read_records(path)) == [b"abc", b""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(FROM_TENSORFLOW[:5], "truncated record in records at byte 0", id="in-length"),
        pytest.param(FROM_TENSORFLOW[:13], "truncated record in records at byte 0", id="in-data"),
        pytest.param(FROM_TENSORFLOW[:-2], "truncated record in records at byte 19", id="in-last-checksum"),
        pytest.param(FROM_TENSORFLOW[:12] + b"x" + FROM_TENSORFLOW[13:], "corrupted record", id="data"),
        pytest.param(b"\xff" + FROM_TENSORFLOW[1:], "corrupted record", id="length"),
    ],
)
def test_damaged_file(tmp_path: Path, content: bytes, message: str) -> None:
    """A truncated or damaged file raises an error with the position."""
    path = tmp_path / "records"
    path.write_bytes(content)
    with pytest.raises(TFRecordError, match=re.escape(message)):
        list(read_records(path))
