"""The argument parser of the `bertbundle` command."""

from __future__ import annotations

import argparse
from typing import Any

import bertbundle
from bertbundle._shared.commands import CommandParser
from bertbundle.cli.bulk_job import BULK_TIMEOUT, add_job_flags
from bertbundle.cli.compare import add_compare_flags
from bertbundle.cli.completion import SHELLS
from bertbundle.cli.connection_flags import add_connection_flags, positive_seconds
from bertbundle.cli.evaluate import add_evaluate_flags
from bertbundle.cli.promote import add_promote_flags
from bertbundle.data.row_files import FILE_FORMATS
from bertbundle.text.tokenizer import TRUNCATIONS

__all__ = ["make_parser"]


def make_parser() -> argparse.ArgumentParser:
    """Create the parser; the name of the chosen command is in `command`."""
    parser = CommandParser(prog="bertbundle", description="Query a served BERT bundle.")
    parser.add_argument("--version", action="version", version=f"bertbundle {bertbundle.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_predict(
        _add_command(
            commands, "predict", "print the entities, classes, embeddings, ... of texts, depending on the model"
        )
    )
    _add_bench(_add_command(commands, "bench", "run a load test of a server and print the latencies"))
    bulk = _add_command(
        commands,
        "bulk",
        "process files of any size, row by row: txt, JSONL, CSV or Parquet",
        need_model=False,
        timeout=BULK_TIMEOUT,
    )
    _add_bulk(bulk)
    add_evaluate_flags(_add_command(commands, "evaluate", "measure how good the model is on labelled texts"))
    _add_command(commands, "info", "print the manifest of the model")
    _add_command(commands, "status", "print the state of each version of the model")
    add_compare_flags(_add_command(commands, "compare", "compare two models on the same texts", need_model=False))
    add_promote_flags(_add_command(commands, "promote", "move a version label such as stable to another version"))
    completion = commands.add_parser("completion", help="print a completion script for a shell")
    completion.add_argument("shell", choices=[*SHELLS])
    return parser


def _add_command(commands: Any, name: str, description: str, **connection: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=description, description=f"{description[0].upper()}{description[1:]}."
    )
    add_connection_flags(parser, **connection)
    parser.add_argument("--json", action="store_true", help="print JSON, one object per line")
    return parser


def _add_head(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--head", metavar="NAME", help="the head that answers, of a model with several (default: all)")


def _add_predict(predict: argparse.ArgumentParser) -> None:
    predict.add_argument("texts", nargs="*", metavar="TEXT", help="input text (default: lines of standard input)")
    _add_head(predict)
    _add_pair(predict)
    _add_answer_flags(predict)


def _add_pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pair", metavar="TEXT", help="second text of a pair, or the context of a question; paired with every TEXT"
    )


def _add_answer_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--truncation",
        choices=TRUNCATIONS,
        help="what to do with a text that is too long (default: window for entities, answers and masks, else error)",
    )
    parser.add_argument(
        "--allow-no-answer",
        action="store_true",
        help="return an empty answer if the context probably does not contain the answer",
    )


def _add_bench(bench: argparse.ArgumentParser) -> None:
    bench.add_argument(
        "texts", nargs="*", metavar="TEXT", help="texts to send in turn (default: lines of standard input)"
    )
    bench.add_argument(
        "--seconds", type=positive_seconds, default=10.0, help="duration of the test (default: %(default)s)"
    )
    bench.add_argument(
        "--concurrency", type=_count, default=4, metavar="N", help="concurrent calls (default: %(default)s)"
    )
    bench.add_argument("--batch", type=_count, default=1, metavar="N", help="texts per call (default: %(default)s)")
    _add_head(bench)
    _add_pair(bench)
    bench.add_argument("--png", metavar="FILE", help="plot the latencies; needs matplotlib (bertbundle[bench])")


def _add_bulk(bulk: argparse.ArgumentParser) -> None:
    bulk.add_argument("source", nargs="?", default="-", metavar="FILE", help="input rows (default: standard input)")
    bulk.add_argument(
        "--output",
        default="-",
        metavar="FILE",
        help="output file, JSON lines (default: standard output); a directory for --input",
    )
    bulk.add_argument("--rejects", metavar="FILE", help="file for rejected rows (default: OUTPUT.rejects, or stderr)")
    bulk.add_argument("--format", choices=[*FILE_FORMATS], help="format of the input (default: from the file's suffix)")
    bulk.add_argument("--text", default="text", metavar="COLUMN", help="column of the text (default: %(default)s)")
    _add_head(bulk)
    bulk.add_argument("--pair", metavar="COLUMN", help="column of the second text of a pair")
    bulk.add_argument("--keep", type=_columns, metavar="COLUMN,...", help="columns of the output (default: all)")
    _add_answer_flags(bulk)
    bulk.add_argument("--concurrency", type=_count, metavar="N", help="concurrent requests to the server (default: 4)")
    add_job_flags(bulk)
    existing = bulk.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="continue an interrupted run")
    existing.add_argument("--overwrite", action="store_true", help="start over and overwrite existing output")


def _columns(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
