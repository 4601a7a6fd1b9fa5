"""`bertbundle-serve` whose engine takes a fixed time for each batch, one batch at a time.

Usage: python fixed_cost_server.py SECONDS FLAGS...

The time is slept, not computed: several such servers on one machine do not share its cores.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from bertbundle_serving.cli import main
from bertbundle_serving.runtimes.onnx import OnnxServable

_run, _engine = OnnxServable.run, threading.Lock()


def _sleep_and_run(seconds: float, *arguments: Any) -> Any:
    with _engine:
        time.sleep(seconds)
        return _run(*arguments)


if __name__ == "__main__":
    cost = float(sys.argv.pop(1))
    OnnxServable.run = lambda *arguments: _sleep_and_run(cost, *arguments)  # type: ignore[method-assign]
    sys.exit(main())
