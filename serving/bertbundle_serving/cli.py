"""The `bertbundle-serve` command."""

from __future__ import annotations

import asyncio
import os
import signal

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the server until it is told to stop; return the exit code: 0, or 2 if it cannot start."""
    # gRPC logs a failed bind by itself; ours says it once. It reads this when it is imported, so all that follows is.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Ctrl-C ends the start at once, as SIGTERM does, without a traceback from the middle of an import.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from bertbundle._shared.commands import discard_stdout, run_command
    from bertbundle_serving.flags import options_of, read_arguments
    from bertbundle_serving.logs import configure_logging
    from bertbundle_serving.server import run

    flags = read_arguments(arguments)
    configure_logging(flags.log_format)

    def announce(line: str) -> None:
        try:
            print(f"bertbundle-serve: {line}", flush=True)
        except BrokenPipeError:  # who read it has gone, and requests come all the same
            discard_stdout()

    return run_command("bertbundle-serve", lambda: asyncio.run(run(options_of(flags), announce)))
