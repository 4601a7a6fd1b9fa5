"""A loaded version of a model. It stays in memory as long as it has users."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass

from bertbundle_serving.config.batching_parameters import BatchingParameters
from bertbundle_serving.memory import free_memory
from bertbundle_serving.runtimes.base import Servable

__all__ = ["ModelVersionStatus", "Version", "VersionState"]


class VersionState(enum.IntEnum):
    """Life cycle of a version. Names and numbers are those of tensorflow_serving/apis/get_model_status.proto."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, slots=True)
class ModelVersionStatus:
    """Status of one version, as GetModelStatus reports it.

    Attributes:
        version: version number.
        state: state in the version's life cycle.
        code: name of a gRPC status code; ``"OK"`` unless loading failed.
        message: why loading failed; otherwise empty.
    """

    version: int
    state: VersionState
    code: str = "OK"
    message: str = ""


class Version:
    """A loaded version of a model, with a count of its users.

    The users are the model while it serves the version, every request while it needs the version, and the engine while
    it computes with it. When the last user releases the version, its servable is closed.

    Args:
        model: name of the model.
        number: version number.
        servable: computes the outputs.
        on_close: called after the servable has been closed.
        batching: the version's batching parameters.
    """

    def __init__(
        self,
        model: str,
        number: int,
        servable: Servable,
        *,
        on_close: Callable[[], None],
        batching: BatchingParameters | None = None,
    ) -> None:
        self.model = model
        self.number = number
        self.servable = servable
        self.signatures = servable.signatures
        self.batching = batching or BatchingParameters()
        self._on_close = on_close
        self._users = 1  # the model
        self._lock = threading.Lock()

    def acquire(self) -> bool:
        """Add a user, who must call `release`. Return False if the servable is closed already."""
        with self._lock:
            if self._users:
                self._users += 1
            return self._users > 0

    def release(self) -> None:
        """Remove a user. If it was the last one, close the servable, in the calling thread."""
        with self._lock:
            self._users -= 1
            is_last = self._users == 0
        if is_last:
            self.servable.close()
            free_memory()
            self._on_close()
