"""A version of a model: its state, and who is using it."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass

from bertbundle_serving.config.batching_parameters import BatchingParameters
from bertbundle_serving.memory import free_memory
from bertbundle_serving.runtimes.base import Servable

__all__ = ["State", "Version", "VersionStatus"]


class State(enum.IntEnum):
    """Life of a version; names and numbers are those of tensorflow_serving/apis/get_model_status.proto."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """State of one version.

    Attributes:
        version: version number.
        state: where it is in its life.
        code: name of a gRPC status code, ``"OK"`` unless it broke.
        message: why it broke.
    """

    version: int
    state: State
    code: str = "OK"
    message: str = ""


class Version:
    """A loaded version. It is closed when the last holder lets go; the model itself is the first holder."""

    def __init__(
        self,
        model: str,
        number: int,
        servable: Servable,
        *,
        ended: Callable[[], None],
        batching: BatchingParameters | None = None,
    ) -> None:
        self.model = model
        self.number = number
        self.servable = servable
        self.batching = batching or BatchingParameters()
        self._ended = ended
        self._holders = 1
        self._lock = threading.Lock()

    def hold(self) -> None:
        """Keep the version loaded until `release`. Only who gets the version from a holder may call this."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """Let go; the last one closes the servable, in its own thread."""
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self.servable.close()
            free_memory()
            self._ended()
