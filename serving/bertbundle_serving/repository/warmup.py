"""Run the warmup requests of a version before it is served."""

from __future__ import annotations

import logging
from pathlib import Path

from google.protobuf.message import DecodeError

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_serving.errors import RequestError
from bertbundle_serving.repository.tfrecord import TFRecordError, read_records
from bertbundle_serving.requests.call import read_call
from bertbundle_serving.runtimes.base import Servable

__all__ = ["MAX_RECORDS", "WARMUP_FILE", "warm_up"]

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
# Source: tensorflow_serving/servables/tensorflow/saved_model_warmup_util.h, kMaxNumRecords.
MAX_RECORDS = 1000

_logger = logging.getLogger(__name__)


def warm_up(servable: Servable, directory: Path) -> int:
    """Run the warmup requests of a version directory and return their number: 0 if there is no warmup file.

    Raises:
        RequestError: a record is damaged, is not a Predict request, or fails; or there are too many records.
    """
    path = directory / WARMUP_FILE
    if not path.is_file():
        return 0
    count = 0
    try:
        for count, record in enumerate(read_records(path), start=1):
            _replay(servable, record, count)
    except TFRecordError as error:
        raise RequestError("DATA_LOSS", f"warmup: {error}") from error
    _logger.info("ran %d warmup requests of %s", count, directory)
    return count


def _replay(servable: Servable, record: bytes, number: int) -> None:
    if number > MAX_RECORDS:
        raise RequestError("INVALID_ARGUMENT", f"Number of warmup records exceeds the maximum ({MAX_RECORDS})")
    try:
        log = wire.PredictionLog.FromString(record)
        if not log.HasField("predict_log"):
            raise RequestError("UNIMPLEMENTED", "it has no predict_log, the only supported kind")
        call = read_call(log.predict_log.request, servable.signatures)
        servable.run(call.signature, call.inputs, call.outputs)
    except DecodeError as error:
        raise RequestError("DATA_LOSS", f"warmup record {number} is not a PredictionLog") from error
    except RequestError as error:
        raise RequestError(error.code, f"warmup record {number} failed: {error.message}") from error
