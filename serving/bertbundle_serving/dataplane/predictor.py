"""Compute a call on the model it names. What gRPC, REST and the page have in common."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bertbundle_serving.dataplane.metrics import Metrics
from bertbundle_serving.engine.batch import Outputs
from bertbundle_serving.engine.engine import Engine
from bertbundle_serving.repository.repository import ModelRef, Repository
from bertbundle_serving.requests.call import Call
from bertbundle_serving.runtimes.base import SignatureSpec

__all__ = ["Answer", "Do", "Predictor", "here"]

Do = Callable[..., Awaitable[Any]]
"""What calls a function with its arguments: `here`, or `asyncio.to_thread`."""


async def here(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function at once."""
    return function(*arguments)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was computed.

    Attributes:
        model: model name.
        version: the version that computed it.
        signature: the resolved signature.
        outputs: those the call wanted, by name.
    """

    model: str
    version: int
    signature: str
    outputs: Outputs


class Predictor:
    """Runs calls on the repository's models.

    Args:
        repository: the models.
        engine: where computations run.
        metrics: told of every computation.
    """

    def __init__(self, repository: Repository, engine: Engine, metrics: Metrics) -> None:
        self.repository = repository
        self._engine = engine
        self._metrics = metrics

    async def run(self, ref: ModelRef, make: Callable[[Mapping[str, SignatureSpec]], Call], do: Do = here) -> Answer:
        """Compute the call that `make` makes for the signatures of the model; `do` calls it.

        Raises:
            RequestError: no such model, the call does not fit, or the engine refuses it.
        """
        started = time.perf_counter()
        with self.repository.use(ref) as version:
            call = await do(make, version.servable.signatures)
            running = self._engine.start(version, call)
        outputs = await running
        self._metrics.answered(ref.name, call, time.perf_counter() - started)
        return Answer(ref.name, version.number, call.signature, outputs)
