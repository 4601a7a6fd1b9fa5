"""What is computed together, and that nobody suffers for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from bertbundle_serving.config.batching_parameters import BatchingParameters
from bertbundle_serving.engine.engine import Engine
from bertbundle_serving.errors import RequestError
from bertbundle_serving.repository.version import Version
from bertbundle_serving.requests.call import Call
from waiting import wait_until

SECONDS = 20


class Gated:
    """A servable that doubles its input once its gate is open, and remembers the batches it was given.

    A row that holds -1 makes the whole batch fail.
    """

    description = "runtime gated threads 1"
    parallel = 1
    signatures: Mapping[str, Any] = {}  # the protocol wants it, nobody asks

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.batches: list[np.ndarray[Any, Any]] = []
        self.outputs: list[tuple[str, ...]] = []
        self.closed = False
        self.convert: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] = lambda array: array

    def run(self, signature: str, inputs: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
        """Double."""
        del signature
        self.batches.append(inputs["x"])
        self.outputs.append(tuple(outputs))
        assert self.gate.wait(SECONDS)
        if (inputs["x"] < 0).any():
            raise RequestError("INVALID_ARGUMENT", "negative")
        return dict.fromkeys(outputs, self.convert(inputs["x"] * 2))

    def close(self) -> None:
        """Remember."""
        self.closed = True

    def rows(self) -> list[int]:
        """Return the rows of each batch."""
        return [len(batch) for batch in self.batches]


class Turnstile(threading.Event):
    """A gate that lets so many batches pass."""

    def __init__(self) -> None:
        super().__init__()
        self._turns = threading.Semaphore(0)

    def let_pass(self, batches: int) -> None:
        """Let so many more pass."""
        self._turns.release(batches)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a turn."""
        return self._turns.acquire(timeout=timeout)


def call(*values: float, width: int = 1, outputs: tuple[str, ...] = ("y",), signature: str = "s") -> Call:
    """Return a call with a row per value."""
    x = np.repeat(np.array(values, np.float32)[:, None], width, axis=1)
    return Call(signature, {"x": x}, outputs, ((width,),))


class Rig:
    """An engine with one slot and one version."""

    def __init__(self, **parameters: Any) -> None:
        self.servable = Gated()
        self.ended = threading.Event()
        batching = BatchingParameters(**parameters)
        self.version = Version("m", 1, self.servable, ended=self.ended.set, batching=batching)
        self.engine = Engine(1)

    def start(self, *values: float, **fields: Any) -> asyncio.Future[dict[str, Any]]:
        """Start a call."""
        return self.engine.start(self.version, call(*values, **fields))


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine, not forever."""
    asyncio.run(asyncio.wait_for(work, SECONDS))


def answers(*results: dict[str, Any]) -> list[list[float]]:
    """Return the first column of each result."""
    return [result["y"][:, 0].tolist() for result in results]


def test_lone_call_runs_at_once() -> None:
    """A call that meets an idle engine is computed at once and alone."""

    async def work() -> None:
        rig = Rig()
        rig.servable.gate.set()
        assert answers(await rig.start(1), await rig.start(2)) == [[2], [4]]
        assert rig.servable.rows() == [1, 1]

    run(work())


def test_waiting_calls_run_together() -> None:
    """What arrives while the engine is busy is computed in one batch, and each caller gets its own rows."""

    async def work() -> None:
        rig = Rig()
        first, *others = [rig.start(1), rig.start(2, 3), rig.start(4)]
        rig.servable.gate.set()
        assert answers(await first, *[await other for other in others]) == [[2], [4, 6], [8]]
        assert rig.servable.rows() == [1, 3]

    run(work())


def test_batch_is_limited() -> None:
    """A batch has at most max_execution_batch_size rows; a small call may fill what a larger one leaves."""

    async def work() -> None:
        rig = Rig(max_execution_batch_size=4, max_batch_size=4, split=False)
        calls = [rig.start(0), rig.start(1, 2, 3), rig.start(4, 5), rig.start(6)]
        rig.servable.gate.set()
        assert answers(*await asyncio.gather(*calls)) == [[0], [2, 4, 6], [8, 10], [12]]
        assert rig.servable.rows() == [1, 4, 2]

    run(work())


def test_large_call_is_split() -> None:
    """A call of more rows than a batch holds is computed in parts, and small ones need not wait for all of them."""

    async def work() -> None:
        rig = Rig(max_execution_batch_size=2)
        rig.servable.gate = turnstile = Turnstile()
        large = rig.start(*range(6))
        small = rig.start(10)
        turnstile.let_pass(3)
        assert answers(await small) == [[20]]
        assert not large.done()
        turnstile.let_pass(1)
        assert answers(await large) == [[0, 2, 4, 6, 8, 10]]
        assert rig.servable.rows() == [2, 2, 2, 1]

    run(work())


@pytest.mark.parametrize("dtype", [pytest.param(np.float32, id="numbers"), pytest.param(object, id="strings")])
def test_too_large_answer_stops(dtype: Any) -> None:
    """A call whose outputs pass the limit fails when they do: what is left of it is not computed."""

    async def work() -> None:
        rig = Rig(max_execution_batch_size=2)
        rig.engine = Engine(1, answer_bytes=16)
        rig.servable.convert = lambda array: np.full(array.shape, b"four", object) if dtype is object else array
        rig.servable.gate.set()
        assert len((await rig.start(*range(4)))["y"]) == 4
        with pytest.raises(RequestError, match=r"the answer is larger than max \(16 bytes\)"):
            await rig.start(*range(10))
        await rig.start(1)
        assert rig.servable.rows() == [2, 2, 2, 2, 2, 1]

    run(work())


def test_allowed_batch_sizes_pad() -> None:
    """A batch is padded with its first row up to an allowed size, and nobody sees the padding."""

    async def work() -> None:
        rig = Rig(max_execution_batch_size=4, allowed_batch_sizes=(2, 4))
        rig.servable.gate.set()
        assert answers(await rig.start(7), await rig.start(1, 2, 3)) == [[14], [2, 4, 6]]
        assert [batch[:, 0].tolist() for batch in rig.servable.batches] == [[7, 7], [1, 2, 3, 1]]

    run(work())


def test_other_shapes_wait_for_their_own_batch() -> None:
    """Calls whose rows have another shape, or another signature, are never put together."""

    async def work() -> None:
        rig = Rig()
        calls = [rig.start(0), rig.start(1), rig.start(2, width=3), rig.start(3), rig.start(4, signature="t")]
        rig.servable.gate.set()
        assert answers(*await asyncio.gather(*calls)) == [[0], [2], [4], [6], [8]]
        assert sorted(batch.shape for batch in rig.servable.batches) == [(1, 1), (1, 1), (1, 3), (2, 1)]

    run(work())


def test_outputs_are_those_asked_for() -> None:
    """A batch computes what any of its callers wants, and each gets what it wants."""

    async def work() -> None:
        rig = Rig()
        calls = [rig.start(0), rig.start(1, outputs=("y",)), rig.start(2, outputs=("z", "y"))]
        rig.servable.gate.set()
        _, narrow, wide = await asyncio.gather(*calls)
        assert (list(narrow), list(wide)) == (["y"], ["z", "y"])
        assert rig.servable.outputs == [("y",), ("y", "z")]

    run(work())


def test_bad_call_hurts_only_its_caller() -> None:
    """If a batch fails each call is computed alone, and only the one to blame fails."""

    async def work() -> None:
        rig = Rig()
        calls = [rig.start(0), rig.start(1), rig.start(-1), rig.start(2)]
        rig.servable.gate.set()
        _, good, bad, other = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(bad, RequestError)
        assert isinstance(good, dict)
        assert isinstance(other, dict)
        assert answers(good, other) == [[2], [4]]

    run(work())


def test_nobody_computes_for_a_caller_who_left() -> None:
    """A call that is cancelled while it waits never reaches the servable."""

    async def work() -> None:
        rig = Rig()
        first, left, stays = rig.start(1), rig.start(2), rig.start(3)
        left.cancel()
        rig.servable.gate.set()
        assert answers(await first, await stays) == [[2], [6]]
        assert [batch[:, 0].tolist() for batch in rig.servable.batches] == [[1], [3]]

    run(work())


def test_split_call_stops_when_its_caller_leaves() -> None:
    """The parts of a call that nobody waits for are dropped."""

    async def work() -> None:
        rig = Rig(max_execution_batch_size=1)
        large = rig.start(*range(100))
        large.cancel()
        rig.servable.gate.set()
        assert answers(await rig.start(1)) == [[2]]
        assert len(rig.servable.batches) == 2

    run(work())


def test_task_larger_than_the_limit() -> None:
    """A call of more rows than max_batch_size is refused with TensorFlow Serving's text."""

    async def work() -> None:
        rig = Rig(max_batch_size=8, max_execution_batch_size=8)
        with pytest.raises(RequestError, match="Task size 9 is larger than maximum input batch size 8") as caught:
            rig.start(*range(9))
        assert caught.value.code == "INVALID_ARGUMENT"

    run(work())


def test_full_queue() -> None:
    """A call that meets a full queue is refused with TensorFlow Serving's text; those who left make room."""

    async def work() -> None:
        rig = Rig(max_execution_batch_size=1, max_enqueued_batches=4)
        running, *waiting = [rig.start(index) for index in range(5)]
        text = "submitted is full; currently 4 batches enqueued and max_enqueued_batches is 4"
        with pytest.raises(RequestError, match=text) as caught:
            rig.start(5)
        assert caught.value.code == "UNAVAILABLE"
        waiting[0].cancel()
        waiting.append(rig.start(6))
        rig.servable.gate.set()
        await asyncio.gather(running, *waiting[1:])

    run(work())


def test_oldest_call_is_next() -> None:
    """The signature whose call has waited longest is next, and what is left of a large call is at the end."""

    async def work() -> None:
        rig = Rig(max_execution_batch_size=2)
        calls = [
            rig.start(0),
            rig.start(1, 2, 3),
            rig.start(4, signature="t"),
            rig.start(5),
            rig.start(6, signature="u"),
        ]
        rig.servable.gate.set()
        await asyncio.gather(*calls)
        assert [batch[:, 0].tolist() for batch in rig.servable.batches] == [[0], [1, 2], [4], [5, 3], [6]]

    run(work())


def test_long_rows_make_small_batches() -> None:
    """Without a parameters file a batch is limited by its tokens, too."""

    async def work() -> None:
        rig = Rig()
        calls = [rig.start(0, width=512), *(rig.start(index, width=512) for index in range(5))]
        rig.servable.gate.set()
        await asyncio.gather(*calls)
        assert rig.servable.rows() == [1, 2, 2, 1]

    run(work())


def test_version_stays_for_what_runs() -> None:
    """A version that is let go while it computes is closed when that is done, also if the caller has left."""

    async def work() -> None:
        rig = Rig()
        abandoned = rig.start(1)
        abandoned.cancel()
        rig.version.release()
        await asyncio.sleep(0.05)
        assert not rig.servable.closed
        rig.servable.gate.set()
        await asyncio.get_running_loop().run_in_executor(None, rig.ended.wait, SECONDS)
        assert rig.servable.closed

    run(work())


@pytest.mark.parametrize(("parallel", "begun"), [(1, 1), (2, 2), (4, 4)], ids=["one", "two", "four"])
def test_as_many_at_a_time_as_a_servable_gains_from(monkeypatch: pytest.MonkeyPatch, parallel: int, begun: int) -> None:
    """Left to itself the engine computes as many batches at a time as the servable is the fastest with."""
    monkeypatch.setattr("bertbundle_serving.engine.engine.available_cores", lambda: 4)

    async def work() -> None:
        rig = Rig()
        rig.engine, rig.servable.parallel = Engine(), parallel
        calls = [rig.start(index, signature=f"s{index}") for index in range(4)]
        await asyncio.to_thread(wait_until, lambda: len(rig.servable.batches) >= begun)
        await asyncio.sleep(0.05)
        assert len(rig.servable.batches) == begun
        rig.servable.gate.set()
        assert answers(*await asyncio.gather(*calls)) == [[0], [2], [4], [6]]

    run(work())


def test_who_needs_all_cores_gets_them_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that needs every core waits for those that run, and later ones that need few do not pass it."""
    monkeypatch.setattr("bertbundle_serving.engine.engine.available_cores", lambda: 2)

    async def work() -> None:
        few, all_of_them = Rig(), Rig()
        few.engine = all_of_them.engine = Engine()
        few.servable.parallel = 2
        calls = [few.start(0), all_of_them.start(1), few.start(2, signature="other")]
        await asyncio.to_thread(wait_until, lambda: len(few.servable.batches) == 1)
        await asyncio.sleep(0.05)
        assert not all_of_them.servable.batches
        few.servable.gate.set()
        await asyncio.to_thread(wait_until, lambda: len(all_of_them.servable.batches) == 1)
        assert len(few.servable.batches) == 1
        all_of_them.servable.gate.set()
        assert answers(*await asyncio.gather(*calls)) == [[0], [2], [4]]

    run(work())


def test_without_batching_nothing_is_put_together() -> None:
    """With batching off each call is computed alone."""

    async def work() -> None:
        rig = Rig()
        rig.engine = Engine(1, batching=False)
        calls = [rig.start(0), rig.start(1), rig.start(2)]
        rig.servable.gate.set()
        assert answers(*await asyncio.gather(*calls)) == [[0], [2], [4]]
        assert rig.servable.rows() == [1, 1, 1]

    run(work())
