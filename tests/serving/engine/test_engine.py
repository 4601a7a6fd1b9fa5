"""The engine computes calls in threads, in the order of their arrival."""

from __future__ import annotations

import asyncio

import pytest

from bertbundle_serving.engine.engine import Engine
from bertbundle_serving.errors import RequestError
from engine_rig import EngineRig, first_columns, run
from waiting import SECONDS, wait_until


def test_single_call_runs_at_once() -> None:
    """A call is computed at once and alone if the engine is idle."""

    async def work() -> None:
        rig = EngineRig()
        rig.servable.gate.set()
        assert first_columns(await rig.submit(1), await rig.submit(2)) == [[2], [4]]
        assert rig.servable.rows() == [1, 1]

    run(work())


def test_waiting_calls_run_together() -> None:
    """Calls that arrive while the engine is busy are computed in one batch, and each caller gets its own rows."""

    async def work() -> None:
        rig = EngineRig()
        first, *others = [rig.submit(1), rig.submit(2, 3), rig.submit(4)]
        rig.servable.gate.set()
        assert first_columns(await first, *[await other for other in others]) == [[2], [4, 6], [8]]
        assert rig.servable.rows() == [1, 3]

    run(work())


def test_cancelled_call_is_not_computed() -> None:
    """A call that is cancelled while it waits is never computed."""

    async def work() -> None:
        rig = EngineRig()
        first, cancelled, last = rig.submit(1), rig.submit(2), rig.submit(3)
        cancelled.cancel()
        rig.servable.gate.set()
        assert first_columns(await first, await last) == [[2], [6]]
        assert [batch[:, 0].tolist() for batch in rig.servable.batches] == [[1], [3]]

    run(work())


def test_call_with_too_many_rows() -> None:
    """A call with more rows than max_batch_size is refused with TensorFlow Serving's message."""

    async def work() -> None:
        rig = EngineRig(max_batch_size=8, max_execution_batch_size=8)
        with pytest.raises(RequestError, match="Task size 9 is larger than maximum input batch size 8") as caught:
            rig.submit(*range(9))
        assert caught.value.code == "INVALID_ARGUMENT"

    run(work())


def test_version_stays_loaded_during_a_computation() -> None:
    """A version that is released during a computation is closed after it, even if the caller cancelled the call."""

    async def work() -> None:
        rig = EngineRig()
        rig.submit(1).cancel()
        rig.version.release()
        await asyncio.sleep(0.05)
        assert not rig.servable.closed
        rig.servable.gate.set()
        await asyncio.get_running_loop().run_in_executor(None, rig.closed.wait, SECONDS)
        assert rig.servable.closed

    run(work())


@pytest.mark.parametrize(("concurrency", "started"), [(1, 1), (2, 2), (4, 4)], ids=["one", "two", "four"])
def test_concurrent_batches(monkeypatch: pytest.MonkeyPatch, concurrency: int, started: int) -> None:
    """Without a number of slots, the engine computes `Servable.concurrency` batches at the same time."""
    monkeypatch.setattr("bertbundle_serving.engine.engine.available_cores", lambda: 4)

    async def work() -> None:
        rig = EngineRig()
        rig.engine, rig.servable.concurrency = Engine(), concurrency
        calls = [rig.submit(index, signature=f"s{index}") for index in range(4)]
        await asyncio.to_thread(wait_until, lambda: len(rig.servable.batches) >= started)
        await asyncio.sleep(0.05)
        assert len(rig.servable.batches) == started
        rig.servable.gate.set()
        assert first_columns(*await asyncio.gather(*calls)) == [[0], [2], [4], [6]]

    run(work())


def test_batch_that_needs_all_cores_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that needs all cores waits for the running ones. A later batch that needs fewer does not overtake it."""
    monkeypatch.setattr("bertbundle_serving.engine.engine.available_cores", lambda: 2)

    async def work() -> None:
        few, all_cores = EngineRig(), EngineRig()
        few.engine = all_cores.engine = Engine()
        few.servable.concurrency = 2
        calls = [few.submit(0), all_cores.submit(1), few.submit(2, signature="other")]
        await asyncio.to_thread(wait_until, lambda: len(few.servable.batches) == 1)
        await asyncio.sleep(0.05)
        assert not all_cores.servable.batches
        few.servable.gate.set()
        await asyncio.to_thread(wait_until, lambda: len(all_cores.servable.batches) == 1)
        assert len(few.servable.batches) == 1
        all_cores.servable.gate.set()
        assert first_columns(*await asyncio.gather(*calls)) == [[0], [2], [4]]

    run(work())


def test_batching_disabled() -> None:
    """If batching is disabled, each call is computed alone."""

    async def work() -> None:
        rig = EngineRig()
        rig.engine = Engine(1, batching=False)
        calls = [rig.submit(0), rig.submit(1), rig.submit(2)]
        rig.servable.gate.set()
        assert first_columns(*await asyncio.gather(*calls)) == [[0], [2], [4]]
        assert rig.servable.rows() == [1, 1, 1]

    run(work())


@pytest.mark.parametrize(
    ("threads", "expected"), [(1, [2, 2, 2, 2]), (2, [4, 4]), (4, [8])], ids=["one core", "two cores", "all cores"]
)
def test_rows_are_divided_among_idle_cores(monkeypatch: pytest.MonkeyPatch, threads: int, expected: list[int]) -> None:
    """If no other call waits, the rows of a call are divided among the cores that its first batch would leave idle."""
    monkeypatch.setattr("bertbundle_serving.engine.engine.available_cores", lambda: 4)

    async def work() -> None:
        rig = EngineRig()
        rig.engine, rig.servable.threads, rig.servable.concurrency = Engine(), threads, 4 // threads
        rig.servable.gate.set()
        assert first_columns(await rig.submit(*range(8))) == [[0, 2, 4, 6, 8, 10, 12, 14]]
        assert rig.servable.rows() == expected

    run(work())


def test_rows_are_not_divided_with_allowed_batch_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With allowed batch sizes the rows of a call stay together: each part would be padded to one of the sizes."""
    monkeypatch.setattr("bertbundle_serving.engine.engine.available_cores", lambda: 4)

    async def work() -> None:
        rig = EngineRig(max_execution_batch_size=8, allowed_batch_sizes=(8,))
        rig.engine, rig.servable.concurrency = Engine(), 4
        rig.servable.gate.set()
        assert first_columns(await rig.submit(*range(8))) == [[0, 2, 4, 6, 8, 10, 12, 14]]
        assert rig.servable.rows() == [8]

    run(work())


def test_rows_are_not_divided_if_other_calls_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of a call stay together if the other cores have work: larger batches take less time per row."""
    monkeypatch.setattr("bertbundle_serving.engine.engine.available_cores", lambda: 2)

    async def work() -> None:
        rig = EngineRig()
        rig.engine, rig.servable.concurrency = Engine(), 2
        calls = [rig.submit(index, signature=f"s{index}") for index in range(2)]
        calls += [rig.submit(*range(4), signature="first"), rig.submit(*range(4), signature="second")]
        rig.servable.gate.set()
        await asyncio.gather(*calls)
        assert rig.servable.rows()[:3] == [1, 1, 4]

    run(work())


@pytest.mark.parametrize("waits", [True, False], ids=["calls wait", "no call waits"])
def test_servable_prepares_for_load(monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    """A servable prepares for load once calls have been waiting for a while, and not if each call runs at once."""
    monkeypatch.setattr("bertbundle_serving.engine.engine._BUSY_SECONDS", 0.0)

    async def work() -> None:
        rig = EngineRig()
        rig.servable.gate.set()
        for _ in range(3):
            calls = [rig.submit(1, width=width) for width in ((1, 2, 3, 4) if waits else (1,))]
            await asyncio.gather(*calls)
        await asyncio.sleep(0.05)
        assert rig.servable.prepared.is_set() is waits

    run(work())
