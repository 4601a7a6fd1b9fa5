"""`bertbundle compare`: two models, versions or servers on the same texts."""

from __future__ import annotations

import argparse
import contextlib
import math
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

from bertbundle._shared.commands import CommandExit
from bertbundle.cli.comparison_tables import comparison_lines
from bertbundle.cli.connection_flags import make_client, version_or_label
from bertbundle.cli.data_flags import add_data_flags, data_options
from bertbundle.client.sync_client import Client
from bertbundle.errors import InputError
from bertbundle.evaluation.comparison.compare import Comparison, Target, check_data, compare
from bertbundle.evaluation.comparison.page import comparison_page
from bertbundle.evaluation.comparison.source_export import exported_bundle, is_checkpoint
from bertbundle.evaluation.observations import ObserveOptions
from bertbundle.evaluation.reports.page import file_writer
from bertbundle.evaluation.reports.report import Bootstrap
from bertbundle.text.tokenizer import TRUNCATIONS

__all__ = ["COMPARISON_FAILED", "add_compare_flags", "add_comparison_flags", "comparison_of", "run_compare"]

COMPARISON_FAILED = 1
"""The exit code of a comparison that does not meet its limits."""
_TARGET = re.compile(r"(?:(?P<server>.+)/)?(?P<model>[^@/]*)(?:@(?P<version>[^@/]+))?")


def add_compare_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser."""
    text = "[HOST:PORT/]MODEL[@VERSION], with a version number or a label; or a bundle or a checkpoint, ./models/ner"
    parser.add_argument("a", metavar="A", help=text)
    parser.add_argument("b", metavar="B", help="likewise; it is compared with A")
    add_data_flags(parser, text="texts, with or without labels")
    add_comparison_flags(parser)
    parser.add_argument(
        "--export-options",
        type=_words,
        default=(),
        metavar="OPTIONS",
        help="options of bertbundle-export for a checkpoint, such as --export-options='--characters --max-length 64'",
    )
    parser.add_argument("--html", metavar="FILE", help="write a page with the differences shown in the texts")


def add_comparison_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how to compare."""
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--min-agreement", type=_share, metavar="SHARE", help="exit code 1 if fewer texts have equal results"
    )
    limits.add_argument(
        "--max-f1-loss", type=_share, metavar="LOSS", help="exit code 1 if the F1 of B is lower than that of A by more"
    )
    parser.add_argument("--head", metavar="NAME", help="the head to compare, of models with several")
    parser.add_argument(
        "--truncation",
        choices=TRUNCATIONS,
        default="window",
        help="what to do with a text that is too long (default: %(default)s)",
    )
    counts = {
        "--resamples": (1000, "bootstrap samples for intervals and p-values; 0 for none"),
        "--seed": (0, "seed of the samples"),
        "--worst": (20, "different texts in --json and --html"),
        "--latency-texts": (100, "texts to measure the latency with; 0 for no measurement"),
    }
    for flag, (default, text) in counts.items():
        parser.add_argument(flag, type=_count, default=default, metavar="N", help=f"{text} (default: %(default)s)")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be split into words: {error}") from error


def _count(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")


def _share(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1 and not math.isnan(float(text)):
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")


def run_compare(options: argparse.Namespace, to_json: Callable[[Any], str]) -> Iterable[str]:
    """Compare, write the page of --html, yield the lines to print, and end with code 1 if a limit does not hold."""
    write_page = file_writer(options.html) if options.html else None
    with _open_both(options) as (a, b):
        report = compare(a, b, comparison_of(options))
    if write_page:
        write_page(comparison_page(report))
    yield from [to_json(report.to_dict())] if options.json else comparison_lines(report)
    if not report.passed:
        raise CommandExit(COMPARISON_FAILED)


@contextlib.contextmanager
def _open_both(options: argparse.Namespace) -> Iterator[tuple[Target, Target]]:
    """Open A and B, a checkpoint last: before its export, which takes minutes, the data are checked with the other."""
    texts = (options.a, options.b)
    checkpoints = [_is_path(text) and is_checkpoint(_to_path(text)) for text in texts]
    if options.export_options and not any(checkpoints):
        raise InputError("--export-options has no effect: neither A nor B is a checkpoint. Omit it.")
    with contextlib.ExitStack() as stack:
        opened: dict[int, Target] = {}
        for index in sorted((0, 1), key=checkpoints.__getitem__):
            if checkpoints[index] and opened:
                check_data(opened[1 - index], comparison_of(options))
            opened[index] = stack.enter_context(open_target(options, texts[index]))
        yield opened[0], opened[1]


def _is_path(text: str) -> bool:
    return text.startswith((".", "/", "~"))


def _to_path(text: str) -> Path:
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"{text} is in no home directory: write it in full.") from error
    if not path.exists():
        raise InputError(f"{text} does not exist. Pass a bundle or a checkpoint, or HOST:PORT/MODEL for a server.")
    return path


def comparison_of(options: argparse.Namespace) -> Comparison:
    """Return what to compare, from the parsed flags."""
    return Comparison(
        options.data,
        data_options(options, need_labels=False),
        ObserveOptions(options.truncation, options.head, options.strict),
        Bootstrap(options.resamples, options.seed),
        worst=options.worst,
        latency_texts=options.latency_texts,
        min_agreement=options.min_agreement,
        max_f1_loss=options.max_f1_loss,
    )


@contextlib.contextmanager
def open_target(options: argparse.Namespace, text: str) -> Iterator[Target]:
    """Open a client of what a target names.

    Raises:
        InputError: the target is malformed, lacks a model, or is neither a bundle nor a checkpoint that is exported.
    """
    if _is_path(text):
        path = _to_path(text)
        with contextlib.ExitStack() as stack:
            bundle = stack.enter_context(exported_bundle(path, options.export_options)) if is_checkpoint(path) else path
            yield Target(text, stack.enter_context(Client.local(bundle)), str(path.resolve()))
        return
    if text and Path(text).is_dir():
        raise InputError(f"{text} is a directory: write ./{text} for a bundle in it, or HOST:PORT/MODEL for a server.")
    match = _TARGET.fullmatch(text)
    model = match and (match["model"] or options.model)
    if match is None or not model:
        raise InputError(
            f"{text!r} is not [HOST:PORT/]MODEL[@VERSION], or lacks a model: pass ner@2, or @2 with --model ner. A "
            "directory begins with ./ or /."
        )
    chosen = copy(options)
    chosen.server, chosen.model = match["server"] or options.server, model
    version = version_or_label(match["version"]) if match["version"] else None
    with make_client(chosen, version=version) as client:
        yield Target(text, client, f"{chosen.server}/{model}")
