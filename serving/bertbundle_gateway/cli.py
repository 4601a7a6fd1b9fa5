"""The `bertbundle-gateway` command."""

from __future__ import annotations

import asyncio
import os
import signal

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the gateway until it is stopped. Return the exit code: 0, or 2 if it cannot start."""
    # gRPC would log a failed bind, which the gateway reports itself. gRPC reads this variable when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Until the gateway listens, Ctrl-C ends the process at once, as SIGTERM does, instead of raising KeyboardInterrupt
    # in the middle of an import. If SIGINT is ignored, as in background jobs of a shell, it stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from bertbundle._shared.commands import discard_stdout, run_command
    from bertbundle._shared.logs import configure_logging
    from bertbundle_gateway.flags import parse_arguments, to_options
    from bertbundle_gateway.server import run

    flags = parse_arguments(arguments)
    configure_logging(flags.log_format)

    def announce(line: str) -> None:
        try:
            print(f"bertbundle-gateway: {line}", flush=True)
        except BrokenPipeError:  # the reader of stdout is gone, but the gateway can still answer
            discard_stdout()

    return run_command("bertbundle-gateway", lambda: asyncio.run(run(to_options(flags), announce)))
