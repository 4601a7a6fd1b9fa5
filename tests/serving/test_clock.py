"""The server does not depend on the wall clock."""

from __future__ import annotations

import time

import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import encode_tensors
from embedded_server import Serve
from tiny_bundles import TinyBundles
from waiting import SECONDS


def test_clock_jump(bundles: TinyBundles, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the clock jumps by years, new versions are still found and served."""
    bundles.write(1)
    address = serve(bundles.base).address
    real = time.time
    request = wire.PredictRequest(model_spec=wire.ModelSpec(name="tiny"), inputs=encode_tensors(bundles.features()))
    # Without a deadline, which gRPC would compute from the changed clock and its core compare with the real one.
    call = address.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    versions = set()
    for number, years in ((2, 30), (3, -30)):
        monkeypatch.setattr(time, "time", lambda offset=years * 31_536_000: real() + offset)
        bundles.write(number)
        deadline = time.monotonic() + SECONDS
        while number not in versions:
            assert time.monotonic() < deadline
            versions.add(wire.PredictResponse.FromString(call(request.SerializeToString())).model_spec.version.value)
