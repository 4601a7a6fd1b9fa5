"""A server process under load gives correct results and documented errors, and its memory is bounded.

BERTBUNDLE_LOAD_SECONDS is the duration of the load. benchmarks/served.py measures the speed of the server under load.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle.wire.tensors import decode_tensor, encode_tensors
from embedded_server import Launch
from tiny_bundles import TinyBundles

pytestmark = pytest.mark.slow
LOAD_SECONDS = float(os.environ.get("BERTBUNDLE_LOAD_SECONDS") or 5)
PREDICT = "/tensorflow.serving.PredictionService/Predict"
LENGTHS = {"serving_default": 8, "length_4": 4}


def request_for(bundles: TinyBundles, signature: str, rows: int, shift: int = 0) -> wire.PredictRequest:
    """Return a request of `rows` rows; `shift` is added to the ids, so that those of different callers differ."""
    features = bundles.features(rows, LENGTHS[signature])
    features["input_ids"] = (features["input_ids"] + np.int32(shift)) % np.int32(100)
    spec = wire.ModelSpec(name="tiny", signature_name=signature)
    return wire.PredictRequest(model_spec=spec, inputs=encode_tensors(features), output_filter=["logits"])


def run_callers(callers: list[Callable[[], None]]) -> None:
    """Run the callers at the same time until they end."""
    threads = [threading.Thread(target=caller) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def memory(process: Any) -> int:
    """Return the resident memory of a process in bytes (proc(5): statm counts pages)."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096


def test_sixteen_callers(bundles: TinyBundles, launch: Launch) -> None:
    """Callers with different lengths and numbers of rows get correct results and no errors, and the memory of the
    server does not grow.
    """
    bundles.write(1, loops=1)
    server = launch("--model_name=tiny", f"--model_base_path={bundles.base}")
    address = server.address()
    end, wrong, served = time.monotonic() + LOAD_SECONDS, list[str](), Counter[int]()
    halfway: list[int] = []

    def caller(number: int) -> None:
        rng = random.Random(number)  # noqa: S311  # not for secrets
        while time.monotonic() < end and not wrong:
            signature, rows = rng.choice(list(LENGTHS)), rng.choice((1, 1, 2, 5, 16, 70))
            request = request_for(bundles, signature, rows, number)
            expected = decode_tensor(request.inputs["input_ids"]).astype(np.float32)
            try:
                answer = decode_tensor(address.predict(request, timeout=60).outputs["logits"])
            except grpc.RpcError as error:
                wrong.append(f"{error.code()}: {error.details()}")
                return
            if not np.array_equal(answer, expected):
                wrong.append(f"{signature}, {rows} rows: {answer} instead of {expected}")
            served[number] += 1
            if number == 0 and not halfway and time.monotonic() > end - LOAD_SECONDS / 2:
                halfway.append(memory(server.process))

    run_callers([lambda number=number: caller(number) for number in range(16)])  # type: ignore[misc]
    assert wrong == []
    assert min(served.values()) > 0
    assert len(served) == 16
    assert memory(server.process) - halfway[0] < 100 << 20


def test_flood(bundles: TinyBundles, launch: Launch, tmp_path: Path) -> None:
    """If there are too many callers, each gets a result or a documented error, the memory is bounded, and afterwards
    the server answers as before.
    """
    bundles.write(1, loops=5, warmup=b"")
    (tmp_path / "batching.config").write_text("max_batch_size { value: 4 } max_enqueued_batches { value: 4 }")
    flags = (f"--batching_parameters_file={tmp_path / 'batching.config'}", "--grpc_max_threads=100")
    server = launch("--model_name=tiny", f"--model_base_path={bundles.base}", *flags)
    address = server.address()
    address.predict_tiny()
    before = memory(server.process)
    data = request_for(bundles, "serving_default", 4).SerializeToString()
    seen: Counter[tuple[str, str]] = Counter()

    def caller() -> None:
        call = address.channel.unary_unary(PREDICT)
        for _ in range(10):
            future = call.future(data, timeout=60)
            seen[future.code().name, future.details()] += 1

    run_callers([caller] * 200)
    full = (
        "The batch scheduling queue to which this task was submitted is full; "
        "currently 4 batches enqueued and max_enqueued_batches is 4"
    )
    documented = {("OK", ""), ("UNAVAILABLE", full), ("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted")}
    assert seen["OK", ""] > 0
    assert seen["UNAVAILABLE", full] > 0
    assert set(seen) <= documented
    assert memory(server.process) - before < 150 << 20
    assert address.predict_tiny().model_spec.version.value == 1
