"""`bertbundle promote`: move a version label on running servers and in their configuration file."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bertbundle.cli.connection_flags import channel_settings, positive_seconds
from bertbundle.client.sync_client import Client
from bertbundle.errors import InputError
from bertbundle.rollout.config_file import ConfigFile, Move
from bertbundle.rollout.promotion import Promotion
from bertbundle.transports.model_service import ModelService, open_services

__all__ = ["add_promote_flags", "run_promote"]


def add_promote_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser."""
    parser.add_argument(
        "--config",
        required=True,
        type=Path,
        metavar="FILE",
        help="the --model_config_file of the servers; it is changed",
    )
    parser.add_argument("--label", required=True, metavar="LABEL", help="the version label to move, such as stable")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--to", metavar="VERSION", help="the version that LABEL shall stand for, or another label of it"
    )
    parser.add_argument("--no-compare", action="store_true", help="do not compare the versions first")
    target.add_argument("--rollback", action="store_true", help="undo the last promotion of LABEL")
    parser.add_argument(
        "--wait",
        type=positive_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait until the version is available (default: %(default)s)",
    )


def run_promote(client: Client, options: argparse.Namespace, to_json: Callable[[Any], str]) -> Iterable[str]:
    """Move the label and return the lines to print."""
    del client  # it would ask one of several servers; a promotion is for each of them
    file = ConfigFile(options.config)
    undone = file.last_move(options.model, options.label) if options.rollback else None
    before = file.label(options.model, options.label)
    after = undone.before if undone else _version(file, options.model, options.to)
    move = Move(options.model, options.label, before, after)
    if before != after:
        with _services(options) as services:
            promotion = Promotion(file, services, max(options.timeout, options.wait), options.wait)
            promotion.run(move, undone=undone)
    if options.json:
        return [to_json({**asdict(move), "servers": options.server.split(","), "config": str(file.path)})]
    return [_describe(move)]


@contextlib.contextmanager
def _services(options: argparse.Namespace) -> Iterator[Sequence[ModelService]]:
    services = open_services(options.server, **channel_settings(options))
    try:
        yield services
    finally:
        for service in services:
            service.close()


def _version(file: ConfigFile, model: str, target: str) -> int:
    """Return the version that --to names: a number, or a label of the file."""
    if target.isascii() and target.isdigit():
        return int(target)
    version = file.label(model, target)
    if version is None:
        labels = ", ".join(file.configs.labels(model)) or "none"
        raise InputError(f"--to {target} is neither a version number nor a label of model {model!r}: it has {labels}.")
    return version


def _describe(move: Move) -> str:
    names = ["no version" if version is None else f"version {version}" for version in (move.before, move.after)]
    if move.before == move.after:
        return f"label {move.label} of model {move.model} is {names[0]} already."
    return f"label {move.label} of model {move.model} moved from {names[0]} to {names[1]}."
