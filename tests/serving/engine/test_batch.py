"""A batch computes rows of several calls together and returns the results of each call."""

from __future__ import annotations

import asyncio

from bertbundle_serving.errors import RequestError
from engine_rig import EngineRig, first_columns, run


def test_allowed_batch_sizes_pad() -> None:
    """A batch is padded with its first row to an allowed size; the padding is not part of the results."""

    async def work() -> None:
        rig = EngineRig(max_execution_batch_size=4, allowed_batch_sizes=(2, 4))
        rig.servable.gate.set()
        assert first_columns(await rig.submit(7), await rig.submit(1, 2, 3)) == [[14], [2, 4, 6]]
        assert [batch[:, 0].tolist() for batch in rig.servable.batches] == [[7, 7], [1, 2, 3, 1]]

    run(work())


def test_each_call_gets_its_outputs() -> None:
    """A batch computes the outputs of all its calls, and each call gets its own outputs."""

    async def work() -> None:
        rig = EngineRig()
        calls = [rig.submit(0), rig.submit(1, outputs=("y",)), rig.submit(2, outputs=("z", "y"))]
        rig.servable.gate.set()
        _, narrow, wide = await asyncio.gather(*calls)
        assert (list(narrow), list(wide)) == (["y"], ["z", "y"])
        assert rig.servable.outputs == [("y",), ("y", "z")]

    run(work())


def test_failed_batch_is_computed_call_by_call() -> None:
    """If a batch fails, each call is computed alone, and only the call that causes the error fails."""

    async def work() -> None:
        rig = EngineRig()
        calls = [rig.submit(0), rig.submit(1), rig.submit(-1), rig.submit(2)]
        rig.servable.gate.set()
        _, good, bad, other = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(bad, RequestError)
        assert isinstance(good, dict)
        assert isinstance(other, dict)
        assert first_columns(good, other) == [[2], [4]]

    run(work())
