"""A queue forms batches of the waiting calls."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from bertbundle_serving.config.batching_parameters import BatchingParameters
from bertbundle_serving.engine.batch import RowSlice
from bertbundle_serving.engine.engine import Engine
from bertbundle_serving.engine.queue import PendingCall, max_batch_rows, padded_batch_rows
from bertbundle_serving.errors import RequestError
from bertbundle_serving.requests.call import SignatureCall
from engine_rig import EngineRig, Turnstile, first_columns, run


def test_batch_size_is_limited() -> None:
    """A batch has at most max_execution_batch_size rows; a later small call may fill up a batch."""

    async def work() -> None:
        rig = EngineRig(max_execution_batch_size=4, max_batch_size=4, split=False)
        calls = [rig.submit(0), rig.submit(1, 2, 3), rig.submit(4, 5), rig.submit(6)]
        rig.servable.gate.set()
        assert first_columns(*await asyncio.gather(*calls)) == [[0], [2, 4, 6], [8, 10], [12]]
        assert rig.servable.rows() == [1, 4, 2]

    run(work())


def test_large_call_is_split() -> None:
    """A call with more rows than a batch is computed in parts, and a small call does not wait for all of them."""

    async def work() -> None:
        rig = EngineRig(max_execution_batch_size=2)
        rig.servable.gate = turnstile = Turnstile()
        large = rig.submit(*range(6))
        small = rig.submit(10)
        turnstile.let_through(3)
        assert first_columns(await small) == [[20]]
        assert not large.done()
        turnstile.let_through(1)
        assert first_columns(await large) == [[0, 2, 4, 6, 8, 10]]
        assert rig.servable.rows() == [2, 2, 2, 1]

    run(work())


def test_cancelled_call_is_not_continued() -> None:
    """The remaining parts of a cancelled call are not computed."""

    async def work() -> None:
        rig = EngineRig(max_execution_batch_size=1)
        large = rig.submit(*range(100))
        large.cancel()
        rig.servable.gate.set()
        assert first_columns(await rig.submit(1)) == [[2]]
        assert len(rig.servable.batches) == 2

    run(work())


@pytest.mark.parametrize("dtype", [pytest.param(np.float32, id="numbers"), pytest.param(object, id="strings")])
def test_outputs_that_are_too_large(dtype: Any) -> None:
    """A call fails as soon as its outputs exceed the limit: its remaining rows are not computed."""

    async def work() -> None:
        rig = EngineRig(max_execution_batch_size=2)
        rig.engine = Engine(1, max_output_bytes=16)
        rig.servable.convert = lambda array: np.full(array.shape, b"four", object) if dtype is object else array
        rig.servable.gate.set()
        assert len((await rig.submit(*range(4)))["y"]) == 4
        with pytest.raises(RequestError, match=r"the outputs are larger than max \(16 bytes\)"):
            await rig.submit(*range(10))
        await rig.submit(1)
        assert rig.servable.rows() == [2, 2, 2, 2, 2, 1]

    run(work())


def test_other_shapes_are_batched_separately() -> None:
    """Calls with different row shapes or signatures are never batched together."""

    async def work() -> None:
        rig = EngineRig()
        calls = [rig.submit(0), rig.submit(1), rig.submit(2, width=3), rig.submit(3), rig.submit(4, signature="t")]
        rig.servable.gate.set()
        assert first_columns(*await asyncio.gather(*calls)) == [[0], [2], [4], [6], [8]]
        assert sorted(batch.shape for batch in rig.servable.batches) == [(1, 1), (1, 1), (1, 3), (2, 1)]

    run(work())


def test_full_queue() -> None:
    """If the queue is full, a call is refused with TensorFlow Serving's message; cancelled calls do not count."""

    async def work() -> None:
        rig = EngineRig(max_execution_batch_size=1, max_enqueued_batches=4)
        running, *waiting = [rig.submit(index) for index in range(5)]
        text = "submitted is full; currently 4 batches enqueued and max_enqueued_batches is 4"
        with pytest.raises(RequestError, match=text) as caught:
            rig.submit(5)
        assert caught.value.code == "UNAVAILABLE"
        waiting[0].cancel()
        waiting.append(rig.submit(6))
        rig.servable.gate.set()
        await asyncio.gather(running, *waiting[1:])

    run(work())


def test_oldest_call_is_first() -> None:
    """The signature whose call has waited longest is computed first; the rest of a large call goes to the end."""

    async def work() -> None:
        rig = EngineRig(max_execution_batch_size=2)
        calls = [
            rig.submit(0),
            rig.submit(1, 2, 3),
            rig.submit(4, signature="t"),
            rig.submit(5),
            rig.submit(6, signature="u"),
        ]
        rig.servable.gate.set()
        await asyncio.gather(*calls)
        assert [batch[:, 0].tolist() for batch in rig.servable.batches] == [[0], [1, 2], [4], [5, 3], [6]]

    run(work())


def test_batches_of_long_rows_are_small() -> None:
    """Without a parameters file the number of tokens in a batch is limited, too."""

    async def work() -> None:
        rig = EngineRig()
        calls = [rig.submit(0, width=512), *(rig.submit(index, width=512) for index in range(5))]
        rig.servable.gate.set()
        await asyncio.gather(*calls)
        assert rig.servable.rows() == [1, 2, 2, 1]

    run(work())


@pytest.mark.parametrize(
    ("parameters", "row_size", "expected"),
    [
        pytest.param(BatchingParameters(), 16, 32, id="short-rows"),
        pytest.param(BatchingParameters(), 128, 8, id="tokens"),
        pytest.param(BatchingParameters(), 4096, 1, id="long-row"),
        pytest.param(BatchingParameters(max_execution_tokens=None), 4096, 32, id="no-token-limit"),
        pytest.param(BatchingParameters(split=False), 4096, 32, id="no-splitting"),
    ],
)
def test_max_batch_rows(parameters: BatchingParameters, row_size: int, expected: int) -> None:
    """The number of rows in a batch is limited by max_execution_batch_size and, if calls are split, by tokens."""
    assert max_batch_rows(parameters, row_size) == expected


def test_padded_batch_rows() -> None:
    """A batch is padded to the next allowed size; without allowed sizes it is not padded."""
    parameters = BatchingParameters(max_execution_batch_size=8, allowed_batch_sizes=(4, 8))
    assert [padded_batch_rows(parameters, rows) for rows in (1, 4, 5)] == [4, 4, 8]
    assert padded_batch_rows(BatchingParameters(), 5) == 5


@pytest.mark.parametrize(
    "result", [{"y": np.full((1,) * 32, b"a", object)[..., None]}, {"y": None}], ids=["deep", "odd"]
)
def test_every_result_is_recorded(result: Any) -> None:
    """Strings of 33 dimensions have a size; a result that cannot be recorded is the call's error, not silence."""

    async def work() -> None:
        call = SignatureCall("s", {}, ("y",))
        pending = PendingCall(call, asyncio.get_running_loop().create_future(), 100)
        pending.add_result(RowSlice(call, 0, 1), result)
        assert isinstance(pending.outcome, dict if result["y"] is not None else AttributeError)

    run(work())
