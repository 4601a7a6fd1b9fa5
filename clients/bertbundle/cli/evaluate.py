"""`bertbundle evaluate`: the metrics of a served model on a data file, as tables, JSON or HTML."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable
from typing import Any

from bertbundle.cli.data_flags import add_data_flags, data_options
from bertbundle.cli.report_tables import report_lines
from bertbundle.client.sync_client import Client
from bertbundle.decoding.decoders import DEFAULT_THRESHOLD
from bertbundle.evaluation.observations import ObserveOptions
from bertbundle.evaluation.reports.evaluate import Evaluation, evaluate
from bertbundle.evaluation.reports.html import report_page
from bertbundle.evaluation.reports.page import file_writer
from bertbundle.evaluation.reports.report import Bootstrap
from bertbundle.text.tokenizer import TRUNCATIONS

__all__ = ["add_evaluate_flags", "run_evaluate"]


def add_evaluate_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser."""
    add_data_flags(parser)
    parser.add_argument(
        "--unlabelled", action="store_true", help="report only label shares, scores, lengths and unknown tokens"
    )
    parser.add_argument("--head", metavar="NAME", help="the head to evaluate, of a model with several")
    parser.add_argument(
        "--truncation",
        choices=TRUNCATIONS,
        default="window",
        help="what to do with a text that is too long (default: %(default)s)",
    )
    parser.add_argument(
        "--threshold",
        type=_share,
        default=DEFAULT_THRESHOLD,
        metavar="SCORE",
        help="minimum score of a label of a multi-label model (default: %(default)s)",
    )
    _add_report_flags(parser)


def _add_report_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resamples",
        type=_count,
        default=1000,
        metavar="N",
        help="bootstrap samples for the confidence intervals; 0 for no intervals (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=_count, default=0, metavar="N", help="seed of the samples (default: %(default)s)"
    )
    parser.add_argument(
        "--level", type=_share, default=0.95, metavar="P", help="probability of the intervals (default: %(default)s)"
    )
    parser.add_argument("--baseline", metavar="FILE", help="an earlier --json report to compare with, without labels")
    parser.add_argument("--html", metavar="FILE", help="write a page with the worst mistakes shown in the texts")
    parser.add_argument(
        "--worst", type=_count, default=20, metavar="N", help="mistakes in --json and --html (default: %(default)s)"
    )
    parser.add_argument(
        "--concurrency", type=_positive, default=4, metavar="N", help="concurrent requests (default: %(default)s)"
    )


def _count(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")


def _positive(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 < value < 1:
        return value
    raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")


def run_evaluate(client: Client, options: argparse.Namespace, to_json: Callable[[Any], str]) -> Iterable[str]:
    """Evaluate the model, write the page of --html, and return the lines to print."""
    write_page = file_writer(options.html) if options.html else None
    evaluation = Evaluation(
        options.data,
        data_options(options, need_labels=not options.unlabelled, ignore_labels=options.unlabelled),
        ObserveOptions(options.truncation, options.head, options.strict, options.threshold, _progress()),
        Bootstrap(options.resamples, options.seed, options.level),
        options.baseline,
        options.worst,
    )
    report = evaluate(client, options.model, evaluation)
    if write_page:
        write_page(report_page(report))
    return [to_json(report.to_dict())] if options.json else list(report_lines(report))


def _progress() -> Callable[[int], None]:
    """Return a function that shows the number of texts on a terminal; it is overwritten by what is printed next."""
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda done: _show(f"\r\x1b[K{done} texts\r")


def _show(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
