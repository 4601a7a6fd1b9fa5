"""The `bertbundle-serve` command."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the server until it is told to stop; return the exit code: 0, or 2 if it cannot start."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # gRPC logs a failed bind by itself; ours says it once. It reads this when it is imported, so all that follows is.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from bertbundle.command import run_command
    from bertbundle_serving.flags import parse_flags
    from bertbundle_serving.server import run

    return run_command("bertbundle-serve", lambda: asyncio.run(run(parse_flags(arguments), _announce)))


def _announce(line: str) -> None:
    print(f"bertbundle-serve: {line}", flush=True)
