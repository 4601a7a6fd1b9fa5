"""`bertbundle promote`: move a version label on running servers and in their configuration file."""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bertbundle._shared.commands import CommandExit, ended_by_signals
from bertbundle.cli.compare import COMPARISON_FAILED, add_comparison_flags, comparison_of, open_target
from bertbundle.cli.comparison_tables import comparison_lines
from bertbundle.cli.connection_flags import channel_settings, positive_seconds, version_or_label
from bertbundle.cli.data_flags import add_data_flags
from bertbundle.errors import InputError
from bertbundle.evaluation.comparison.compare import compare
from bertbundle.evaluation.comparison.report import ComparisonReport
from bertbundle.rollout.config_file import ConfigFile
from bertbundle.rollout.history import Move
from bertbundle.rollout.promotion import Promotion
from bertbundle.transports.model_service import ModelService, open_services

__all__ = ["add_promote_flags", "run_promote"]


def add_promote_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser."""
    parser.add_argument("version_label", type=_label, metavar="LABEL", help="the version label to move, such as stable")
    parser.add_argument(
        "--config",
        required=True,
        type=Path,
        metavar="FILE",
        help="the servers' --model_config_file; it is changed, too",
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--to", metavar="VERSION", help="the version that LABEL shall stand for, or another label of it"
    )
    target.add_argument("--rollback", action="store_true", help="undo the last promotion of LABEL")
    parser.add_argument(
        "--wait",
        type=positive_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait until the version is available (default: %(default)s)",
    )
    parser.add_argument(
        "--against", metavar="VERSION", help="version or label to compare with (default: that of LABEL)"
    )
    parser.add_argument("--no-compare", action="store_true", help="move LABEL without a comparison")
    add_data_flags(parser, required=False, text="texts to compare the versions on; needs a limit")
    add_comparison_flags(parser)


def _label(text: str) -> str:
    if text and not text.isdecimal():  # what is a number stands for a version, wherever a label is expected
        return text
    raise argparse.ArgumentTypeError(f"expected a name such as stable, got {text!r}")


def run_promote(options: argparse.Namespace, to_json: Callable[[Any], str]) -> Iterator[str]:
    """Move the label if the comparison passes, and yield the lines to print.

    A promotion that was killed is undone or finished first.

    Raises:
        CommandExit: the comparison does not meet its limits; the label did not move.
    """
    _check_flags(options)
    file = ConfigFile(options.config)
    recovered = _recover(options, file)
    if recovered and not options.json:
        yield recovered
    undone = file.last_move(options.model, options.version_label) if options.rollback else None
    before = file.label(options.model, options.version_label)
    after = undone.before if undone else _version(file, options.model, options.to)
    move = Move(options.model, options.version_label, before, after)
    against = _version(file, options.model, options.against) if options.against else before
    reports: list[ComparisonReport] = []
    if options.data and before != after and against is None:
        raise InputError(f"label {move.label!r} has no version to compare with yet: pass --against VERSION.")
    if options.data and before != after and against == after:
        raise InputError(f"--against is version {after}, as --to, and always agrees with itself. Pass another version.")
    result = functools.partial(_lines, options, file, move, reports, recovered, to_json)
    try:
        _run(options, file, move, undone, functools.partial(_check, options, against, after, reports))
    except CommandExit:
        yield from result(moved=False)
        raise
    yield from result(moved=before != after)


def _check_flags(options: argparse.Namespace) -> None:
    limits = options.min_agreement is not None or options.max_f1_loss is not None
    if options.rollback and (options.data or options.no_compare or limits):
        raise InputError("--rollback does not compare: omit --data, --no-compare and limits.")
    if options.no_compare and (options.data or limits):
        raise InputError("--no-compare does not go with --data and limits.")
    if not options.rollback and not options.no_compare and not (options.data and limits):
        raise InputError("pass --data FILE with --min-agreement or --max-f1-loss, or --no-compare.")


def _run(
    options: argparse.Namespace, file: ConfigFile, move: Move, undone: Move | None, check: Callable[[], None]
) -> None:
    if move.before == move.after:
        return
    with _promotion(options, file) as promotion:
        promotion.run(move, check=check if options.data else lambda: None, undone=undone)


def _recover(options: argparse.Namespace, file: ConfigFile) -> str:
    """Undo or finish a promotion that was killed, and return what was done; "" if there is none."""
    if file.journal.read() is None:
        return ""
    with _promotion(options, file) as promotion:
        return promotion.recover()


def _check(options: argparse.Namespace, a: int | None, b: int | None, reports: list[ComparisonReport]) -> None:
    """Compare two versions on each server, which may compute with other runtimes and processors.

    Raises:
        CommandExit: a comparison does not meet its limits; its report is the last one.
    """
    servers = options.server.split(",")
    for server in servers:
        chosen = copy(options)
        chosen.server = server
        first, second = (f"@{v}" if len(servers) == 1 else f"{server}/{options.model}@{v}" for v in (a, b))
        with open_target(chosen, first) as one, open_target(chosen, second) as other:
            reports.append(compare(one, other, comparison_of(options)))
        if not reports[-1].passed:
            raise CommandExit(COMPARISON_FAILED)


def _lines(
    options: argparse.Namespace,
    file: ConfigFile,
    move: Move,
    reports: Sequence[ComparisonReport],
    recovered: str,
    to_json: Callable[[Any], str],
    *,
    moved: bool,
) -> Iterator[str]:
    if options.json:
        values = {**asdict(move), "moved": moved, "servers": options.server.split(","), "config": str(file.path)}
        compared = [report.to_dict() for report in reports]
        yield to_json({**values, "comparisons": compared, "recovered": recovered or None})
        return
    for report in reports:
        yield from comparison_lines(report)
    yield _describe(move, moved=moved)


@contextlib.contextmanager
def _promotion(options: argparse.Namespace, file: ConfigFile) -> Iterator[Promotion]:
    """Connect to the servers; a signal that ends the command lets the promotion undo what it began."""
    with _services(options) as services, ended_by_signals():
        yield Promotion(file, services, max(options.timeout, options.wait), options.wait)


@contextlib.contextmanager
def _services(options: argparse.Namespace) -> Iterator[Sequence[ModelService]]:
    settings = channel_settings(options)
    try:
        services = open_services(options.server, **settings)
    except ValueError as error:
        raise InputError(f"{error}.") from error
    try:
        yield services
    finally:
        for service in services:
            service.close()


def _version(file: ConfigFile, model: str, target: str) -> int:
    """Return the version that --to names: a number, or a label of the file."""
    number = version_or_label(target)
    if isinstance(number, int):
        return number
    version = file.label(model, target)
    if version is None:
        labels = ", ".join(file.configs.labels(model)) or "none"
        raise InputError(f"{target!r} is neither a version number nor a label of model {model!r}: it has {labels}.")
    return version


def _describe(move: Move, *, moved: bool) -> str:
    names = ["no version" if version is None else f"version {version}" for version in (move.before, move.after)]
    if moved:
        return f"label {move.label} of model {move.model} moved from {names[0]} to {names[1]}."
    already = " already" if move.before == move.after else ""
    return f"label {move.label} of model {move.model} is {names[0]}{already}."
