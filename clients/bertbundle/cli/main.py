"""The `bertbundle` command: ask a server, from a terminal or a script."""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import bertbundle
from bertbundle._shared.commands import CommandParser, run_command
from bertbundle.cli.bench import drawer, load
from bertbundle.cli.bulk import Bulk, Job
from bertbundle.cli.completion import SHELLS, completion_script
from bertbundle.cli.connection_flags import add_flags, connect, seconds
from bertbundle.cli.formatting import SHOWN, facts, parity_table, table
from bertbundle.cli.row_files import FORMATS, format_of
from bertbundle.client.sync_client import Client
from bertbundle.decoding.decoders import DECODERS, Decoder
from bertbundle.decoding.question_answering import best_answer
from bertbundle.errors import InputError
from bertbundle.session.session import Options
from bertbundle.text.tokenizer import TRUNCATIONS, Text

__all__ = ["main"]

# Texts asked for at a time, each with a timeout of its own: a pipe of any length is answered as it goes.
_TEXTS_PER_CALL = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0, or 2 with one message on stderr."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # an answer that the terminal cannot show is escaped, not lost
        sys.stdout.reconfigure(errors="backslashreplace")

    def ask() -> None:
        if options.run is None:
            print(completion_script(_parser(), options.shell))
            return
        with connect(options) as client:
            for line in options.run(client, options):
                print(line)

    return run_command("bertbundle", ask)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="bertbundle", description="Ask a served BERT bundle.")
    parser.add_argument("--version", action="version", version=f"bertbundle {bertbundle.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = _add(commands, "predict", _predict, "answer texts: entities, classes or embeddings, as the model does")
    predict.add_argument("texts", nargs="*", metavar="TEXT", help="a text; none: the lines of standard input")
    _add_pair(predict)
    _add_reading(predict)
    _add_bench(_add(commands, "bench", _bench, "measure how fast a server answers, and show the latencies"))
    _add_bulk(_add(commands, "bulk", _bulk, "answer a file of any size, row by row: txt, JSONL, CSV or Parquet"))
    _add(commands, "info", _info, "show what the model says of itself")
    _add(commands, "status", _status, "show the state of each version of the model")
    completion = commands.add_parser("completion", help="print a shell's completion script")
    completion.add_argument("shell", choices=[*SHELLS])
    completion.set_defaults(run=None)
    return parser


def _add(commands: Any, name: str, run: Callable[..., Iterable[str]], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=run)
    parser.add_argument(
        "--server",
        type=_name,
        default="localhost:8500",
        metavar="HOST:PORT",
        help="gRPC port, several with commas (default: %(default)s)",
    )
    parser.add_argument("--model", type=_name, required=True, metavar="NAME", help="model name")
    parser.add_argument("--timeout", type=seconds, default=30.0, metavar="SECONDS", help="default: %(default)s")
    add_flags(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, one object per line")
    return parser


def _add_pair(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pair", metavar="TEXT", help="second text of a pair, a question's context; every TEXT is paired with it"
    )


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--truncation",
        choices=TRUNCATIONS,
        help="what becomes of a text that is too long (default: windows where they lose nothing, else an error)",
    )
    parser.add_argument(
        "--allow-no-answer", action="store_true", help='a question may have no answer: "" where that is likelier'
    )


def _add_bench(bench: argparse.ArgumentParser) -> None:
    bench.add_argument(
        "texts", nargs="*", metavar="TEXT", help="texts to ask in turn; none: the lines of standard input"
    )
    bench.add_argument("--seconds", type=seconds, default=10.0, help="how long (default: %(default)s)")
    bench.add_argument(
        "--concurrency", type=_count, default=4, metavar="N", help="calls at a time (default: %(default)s)"
    )
    bench.add_argument("--batch", type=_count, default=1, metavar="N", help="texts of a call (default: %(default)s)")
    _add_pair(bench)
    bench.add_argument("--png", metavar="FILE", help="draw the latencies; needs matplotlib (bertbundle[bench])")


def _add_bulk(bulk: argparse.ArgumentParser) -> None:
    bulk.add_argument("source", nargs="?", default="-", metavar="FILE", help="the rows (default: standard input)")
    bulk.add_argument("--output", default="-", metavar="FILE", help="answers as JSON lines (default: standard output)")
    bulk.add_argument("--rejects", metavar="FILE", help="rows without answer (default: OUTPUT.rejects, or stderr)")
    bulk.add_argument("--format", choices=[*FORMATS], help="of the rows (default: by the file's suffix)")
    bulk.add_argument("--text", default="text", metavar="COLUMN", help="column to answer (default: %(default)s)")
    bulk.add_argument("--pair", metavar="COLUMN", help="column of the second text of a pair")
    bulk.add_argument("--keep", type=_columns, metavar="COLUMN,...", help="columns of the output (default: all)")
    _add_reading(bulk)
    bulk.add_argument(
        "--concurrency", type=_count, default=4, metavar="N", help="requests at a time (default: %(default)s)"
    )
    again = bulk.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with a run that was ended")
    again.add_argument("--overwrite", action="store_true", help="begin again, over the answers that are there")


def _columns(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("expected a name, got nothing")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(f"{text!a} is not valid Unicode") from error
    return text


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")


# ---- predict


def _predict(client: Client, options: argparse.Namespace) -> Iterable[str]:
    texts = _texts(options)
    decoder = _decoder(client, options)
    shown = SHOWN[decoder.task]
    asked = Options(options.truncation)
    results = _in_turns(lambda part: client._ask(decoder, part, asked), _paired(texts, options))  # noqa: SLF001 - of one house
    if options.json:
        return (_dumps({"text": text, **shown.fields(result)}) for text, result in zip(texts, results, strict=True))
    if shown.in_place and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        return (shown.in_place(text, result) for text, result in zip(texts, results, strict=True))
    return shown.table(texts, list(results))


def _paired(texts: Sequence[str], options: argparse.Namespace) -> list[Text]:
    return [(text, options.pair) for text in texts] if options.pair is not None else list(texts)


def _decoder(client: Client, options: argparse.Namespace) -> Decoder:
    """Return how the model's answers are read, as the flags say.

    Raises:
        InputError: a task that is not known here, or a flag that is not for it.
    """
    task = client.manifest().task
    if task not in SHOWN:
        raise InputError(f"model {options.model!r} does {task}, which this command does not know. Upgrade bertbundle.")
    decoder = DECODERS[task]
    _check_pair(decoder.takes, options, task)
    if not getattr(options, "allow_no_answer", False):
        return decoder
    if task != "question-answering":
        raise InputError(f"model {options.model!r} does {task}: leave --allow-no-answer out.")
    return replace(decoder, decode=functools.partial(best_answer, handle_impossible_answer=True))


def _check_pair(takes: str, options: argparse.Namespace, task: str) -> None:
    if options.pair is not None and "pair" not in takes:
        raise InputError(f"model {options.model!r} does {task}, which takes single texts: leave --pair out.")
    if options.pair is None and takes == "pair":
        raise InputError(f"model {options.model!r} does {task}: give the question as TEXT and its context as --pair.")


def _in_turns(ask: Callable[[list[Text]], Any], texts: list[Text]) -> Iterator[Any]:
    for start in range(0, len(texts), _TEXTS_PER_CALL):
        yield from _ask_part(ask, texts[start : start + _TEXTS_PER_CALL], start)


def _ask_part(ask: Callable[[list[Text]], Any], texts: list[Text], start: int) -> Any:
    try:
        return ask(texts)
    except InputError as error:
        raise InputError(f"of the texts from {start} on, {error}" if start else str(error)) from error


def _texts(options: argparse.Namespace) -> list[str]:
    texts = options.texts or _lines()
    if not texts:
        raise InputError("no text was given. Pass one as an argument, or lines on standard input.")
    return list(texts)


def _lines() -> list[str]:
    """Return the lines of standard input that hold text, without a byte order mark."""
    try:
        lines = [line.rstrip("\r\n") for line in sys.stdin]
        return [line for line in (lines[0].removeprefix("\ufeff"), *lines[1:]) if line.strip()] if lines else []
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not {error.encoding}: {error.reason}. Convert it first.") from error


def _dumps(value: Any) -> str:
    """Return one line of JSON that standard output can hold."""
    return json.dumps(value, ensure_ascii=sys.stdout.encoding.lower() not in ("utf-8", "utf8"))


# ---- bench


def _bench(client: Client, options: argparse.Namespace) -> Iterable[str]:
    draw = drawer(options.png) if options.png else None
    texts = _texts(options)
    decoder, asked = _decoder(client, options), Options("truncate")
    paired = _paired(texts, options)
    batches = [paired[start : start + options.batch] for start in range(0, len(paired), options.batch)]
    ask = functools.partial(client._ask, decoder, options=asked)  # noqa: SLF001 - of one house
    found = load(ask, batches, options.seconds, options.concurrency)
    if draw:
        draw(found)
    return [_dumps(found.to_dict())] if options.json else found.lines()


# ---- bulk


def _bulk(client: Client, options: argparse.Namespace) -> Iterable[str]:
    if options.resume and options.output == "-":
        raise InputError("--resume goes on with an output file: say which with --output.")
    rejects = options.rejects or (f"{options.output}.rejects" if options.output != "-" else None)
    kind = format_of(options.source, options.format)
    job = Job(options.source, kind, options.output, rejects, options.text, options.pair, options.keep)
    decoder = replace(_decoder(client, options), gather=list)
    answer = functools.partial(_answer_rows, client, decoder, options.truncation)
    Bulk(job, answer, resume=options.resume, overwrite=options.overwrite, log=sys.stderr, as_json=options.json).run()
    return ()


def _answer_rows(
    client: Client, decoder: Decoder, truncation: str | None, texts: Sequence[Any]
) -> list[dict[str, Any] | InputError]:
    results = client._ask(decoder, list(texts), Options(truncation, keep_errors=True))  # noqa: SLF001 - of one house
    return [each if isinstance(each, InputError) else dict(SHOWN[decoder.task].fields(each)) for each in results]


# ---- info and status


def _info(client: Client, options: argparse.Namespace) -> Iterable[str]:
    manifest = client.manifest()
    if options.json:
        return [_dumps(json.loads(manifest.to_json()))]
    return [*table(("", ""), facts(manifest)), "", *parity_table(manifest)]


def _status(client: Client, options: argparse.Namespace) -> Iterable[str]:
    states = client.status()
    if options.json:
        return [
            _dumps({"version": s.version, "state": s.state, "error": s.error_code, "message": s.error_message})
            for s in states
        ]
    rows = [(str(s.version), s.state, s.error_code, s.error_message) for s in states]
    return table(("version", "state", "error", "message"), rows)
