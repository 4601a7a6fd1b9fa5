"""Warmup files: their format, and what becomes of a bad one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_serving.errors import RequestError
from bertbundle_serving.repository.tfrecord import TFRecordError, crc32c, read_records
from bertbundle_serving.repository.warmup import MAX_RECORDS, warm_up
from bertbundle_serving.runtimes import RuntimeOptions, loader

if TYPE_CHECKING:
    from tests.serving.conftest import Bundles

# What TensorFlow 2.21's tf.io.TFRecordWriter wrote for the records b"abc" and b"".
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
    """The checksum agrees with the values of RFC 3720, appendix B.4."""
    assert crc32c(data) == crc


def test_reads_what_tensorflow_wrote(tmp_path: Path) -> None:
    """A file written by TensorFlow reads back."""
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
def test_damage_is_found(tmp_path: Path, content: bytes, message: str) -> None:
    """A file that is cut off or damaged is told from a good one, and the place is named."""
    path = tmp_path / "records"
    path.write_bytes(content)
    with pytest.raises(TFRecordError, match=re.escape(message)):
        list(read_records(path))


def load(directory: Path) -> Any:
    """Load a bundle with onnxruntime."""
    return loader("onnx", RuntimeOptions(threads=1))(directory)


def test_warmup_runs_every_record(bundles: Bundles) -> None:
    """Every record is run on the loaded model."""
    path = bundles.write(1, warmup=bundles.record(bundles.warmup_record()) * 3)
    assert warm_up(load(path), path) == 3


def test_warmup_is_optional(bundles: Bundles) -> None:
    """An empty warmup file is as good as none."""
    path = bundles.write(1, warmup=b"")
    assert warm_up(load(path), path) == 0


def test_bad_warmup_breaks_the_load(bundles: Bundles) -> None:
    """A record that is damaged, of another kind, refused or one too many makes the load fail and says which."""
    short = bundles.warmup_record({name: array[:, :4] for name, array in bundles.features().items()})
    good = bundles.record(bundles.warmup_record())
    cases = {
        "truncated record": good[:-1],
        "record 2 is not a PredictionLog": good + bundles.record(b"\xff\xff"),
        "record 1 failed: it has no predict_log": bundles.record(wire.PredictionLog().SerializeToString()),
        "record 1 failed: input_ids has shape [2, 4], expected [batch, 8]": bundles.record(short),
        "exceeds the maximum (1000)": good * (MAX_RECORDS + 1),
    }
    for number, (message, content) in enumerate(cases.items(), start=1):
        path = bundles.write(number, warmup=content)
        with pytest.raises(RequestError, match=re.escape(message)):
            warm_up(load(path), path)
