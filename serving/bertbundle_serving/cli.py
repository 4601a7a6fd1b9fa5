"""The `bertbundle-serve` command."""

from __future__ import annotations

import asyncio
import os

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the server until it is told to stop; return the exit code: 0, or 2 if it cannot start."""
    # gRPC logs a failed bind by itself; ours says it once. It reads this when it is imported, so all that follows is.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from bertbundle.command import run_command
    from bertbundle_serving.flags import options_of, read_arguments
    from bertbundle_serving.logs import configure_logging
    from bertbundle_serving.server import run

    flags = read_arguments(arguments)
    configure_logging(flags.log_format)
    return run_command("bertbundle-serve", lambda: asyncio.run(run(options_of(flags), _announce)))


def _announce(line: str) -> None:
    print(f"bertbundle-serve: {line}", flush=True)
