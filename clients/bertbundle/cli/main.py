"""The `bertbundle` command: query a server from a terminal or a script."""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from bertbundle._shared.commands import run_command
from bertbundle.batch.decoder_choice import DecoderOptions, choose_decoder, spell_flag
from bertbundle.cli.arguments import make_parser
from bertbundle.cli.bench import make_plotter, run_load_test
from bertbundle.cli.bulk_job import run_bulk
from bertbundle.cli.compare import run_compare
from bertbundle.cli.completion import completion_script
from bertbundle.cli.connection_flags import make_client
from bertbundle.cli.evaluate import run_evaluate
from bertbundle.cli.formatting import RESULT_FORMATS, describe_manifest, format_table, parity_table
from bertbundle.cli.promote import run_promote
from bertbundle.client.sync_client import Client
from bertbundle.decoding.base import Decoder
from bertbundle.errors import InputError
from bertbundle.session.batches import AskOptions
from bertbundle.text.tokenizer import Text

__all__ = ["main"]

# Texts per client call. Each call has a timeout of its own, so standard input may be of any length.
_TEXTS_PER_CALL = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    It is 0, 1 if a comparison does not meet its limits, 2 with one message on stderr, 3 after a bulk job in which rows
    have no answer, or 130 for Ctrl-C.
    """
    options = make_parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # escape characters that the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")

    def run() -> None:
        if options.command == "completion":
            print(completion_script(make_parser(), options.shell))
            return
        if options.command in _OF_SEVERAL:
            for line in _OF_SEVERAL[options.command](options, _to_json):
                print(line)
            return
        if options.command == "bulk":
            run_bulk(options)
            return
        with make_client(options) as client:
            for line in _COMMANDS[options.command](client, options):
                print(line)

    return run_command("bertbundle", run)


# ---- predict


def _predict(client: Client, options: argparse.Namespace) -> Iterable[str]:
    texts = _texts(options)
    decoder = _decoder(client, options)
    result_format = RESULT_FORMATS[decoder.task]
    ask_options = AskOptions(options.truncation, head=options.head)
    results = _ask_in_batches(lambda batch: client.ask(decoder, batch, ask_options), _pairs(texts, options))
    if options.json:
        return (
            _to_json({"text": text, **result_format.to_dict(result)})
            for text, result in zip(texts, results, strict=True)
        )
    if result_format.highlight and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        return (result_format.highlight(text, result) for text, result in zip(texts, results, strict=True))
    return result_format.to_table(texts, list(results))


def _pairs(texts: Sequence[str], options: argparse.Namespace) -> list[Text]:
    """Return the texts, each with the second text of --pair if there is one."""
    return [(text, options.pair) for text in texts] if options.pair is not None else list(texts)


def _decoder(client: Client, options: argparse.Namespace) -> Decoder:
    """Return the decoder of the model's task, configured by the flags.

    Raises:
        InputError: the task is unknown, or a flag does not apply to it.
    """
    chosen = DecoderOptions(
        options.head,
        options.pair is not None,
        getattr(options, "allow_no_answer", False),
        spell=spell_flag,
        first_text="TEXT",
    )
    return choose_decoder(client.manifest(), options.model, chosen)


def _ask_in_batches(ask: Callable[[list[Text]], Any], texts: list[Text]) -> Iterator[Any]:
    for start in range(0, len(texts), _TEXTS_PER_CALL):
        try:
            results = ask(texts[start : start + _TEXTS_PER_CALL])
        except InputError as error:
            raise InputError(f"in the batch starting at text {start}, {error}" if start else str(error)) from error
        yield from results


def _texts(options: argparse.Namespace) -> list[str]:
    texts = options.texts or _read_stdin()
    if not texts:
        raise InputError("no text was given. Pass one as an argument, or lines on standard input.")
    return list(texts)


def _read_stdin() -> list[str]:
    """Return the lines of standard input, without blank lines and without a byte order mark."""
    try:
        lines = [line.rstrip("\r\n") for line in sys.stdin]
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not {error.encoding}: {error.reason}. Convert it first.") from error
    if lines:
        lines[0] = lines[0].removeprefix("\ufeff")
    return [line for line in lines if line.strip()]


def _to_json(value: Any) -> str:
    """Return one line of JSON, escaped to ASCII unless standard output is UTF-8."""
    return json.dumps(value, ensure_ascii=sys.stdout.encoding.lower() not in ("utf-8", "utf8"))


# ---- bench


def _bench(client: Client, options: argparse.Namespace) -> Iterable[str]:
    plot = make_plotter(options.png) if options.png else None
    texts = _pairs(_texts(options), options)
    decoder, ask_options = _decoder(client, options), AskOptions("truncate", head=options.head)
    batches = [texts[start : start + options.batch] for start in range(0, len(texts), options.batch)]
    ask = functools.partial(client.ask, decoder, options=ask_options)
    result = run_load_test(ask, batches, options.seconds, options.concurrency)
    if plot:
        plot(result)
    return [_to_json(result.to_dict())] if options.json else result.to_lines()


# ---- info and status


def _info(client: Client, options: argparse.Namespace) -> Iterable[str]:
    manifest = client.manifest()
    if options.json:
        return [_to_json(json.loads(manifest.to_json()))]
    return [*format_table(("", ""), describe_manifest(manifest)), "", *parity_table(manifest)]


def _status(client: Client, options: argparse.Namespace) -> Iterable[str]:
    statuses = client.status()
    if options.json:
        return [
            _to_json({"version": s.version, "state": s.state, "error": s.error_code, "message": s.error_message})
            for s in statuses
        ]
    rows = [(str(s.version), s.state, s.error_code, s.error_message) for s in statuses]
    return format_table(("version", "state", "error", "message"), rows)


_Command: TypeAlias = Callable[[Client, argparse.Namespace], Iterable[str]]
_COMMANDS: Mapping[str, _Command] = {
    "predict": _predict,
    "bench": _bench,
    "evaluate": lambda client, options: run_evaluate(client, options, _to_json),
    "info": _info,
    "status": _status,
}
"""The commands that connect to a server; each returns the lines to print."""

_OF_SEVERAL: Mapping[str, Callable[[argparse.Namespace, Callable[[Any], str]], Iterable[str]]] = {
    "compare": run_compare,
    "promote": run_promote,
}
"""The commands about several models or servers; each opens its own connections."""
