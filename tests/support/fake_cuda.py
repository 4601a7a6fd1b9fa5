"""An onnxruntime that seems to have a GPU: its sessions compute on the CPU and report the requested provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime
import pytest

from bertbundle_serving.runtimes import cuda

__all__ = ["FakeCuda", "has_gpu"]


def has_gpu() -> bool:
    """Return whether the real onnxruntime can compute on a GPU."""
    return not cuda.onnxruntime_cuda_problem()


class FakeCuda:
    """Replaces onnxruntime's sessions and list of providers.

    Args:
        monkeypatch: undoes the replacement.

    Attributes:
        requests: the arguments of each session after the model and the session options.
        falls_back: whether sessions report that they are on the CPU, as onnxruntime's do if a library is missing.
        error: raised instead of starting a session.
        prints: what looking for CUDA's libraries prints.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[dict[str, Any]] = []
        self.falls_back = False
        self.error: Exception | None = None
        self.prints = ""
        real = onnxruntime.InferenceSession

        def session(model: Any, sess_options: Any = None, providers: Sequence[Any] = (), **options: Any) -> Any:
            self.requests.append({"providers": list(providers), **options})
            names = [item if isinstance(item, str) else item[0] for item in providers]
            if self.error is not None and cuda.CUDA_PROVIDER in names:
                raise self.error
            started = real(model, sess_options, providers=["CPUExecutionProvider"])
            reported = ["CPUExecutionProvider"] if self.falls_back else names
            monkeypatch.setattr(started, "get_providers", lambda: reported)
            return started

        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        monkeypatch.setattr(
            onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print(self.prints))
