"""The `bertbundle` command: ask a server, from a terminal or a script."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import bertbundle
from bertbundle.client import Client
from bertbundle.command import LineParser, run_command
from bertbundle.errors import InputError
from bertbundle.manifest import Manifest
from bertbundle.show import SHOWN, table
from bertbundle.tasks import DECODERS
from bertbundle.tokenizer import Text
from bertbundle.transport import Tls

__all__ = ["main"]

# Texts asked for at a time, each with a timeout of its own: a pipe of any length is answered as it goes.
_TEXTS_PER_CALL = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0, or 2 with one message on stderr."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # an answer that the terminal cannot show is escaped, not lost
        sys.stdout.reconfigure(errors="backslashreplace")

    def ask() -> None:
        with _client(options) as client:
            for line in options.run(client, options):
                print(line)

    return run_command("bertbundle", ask)


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(prog="bertbundle", description="Ask a served BERT bundle.")
    parser.add_argument("--version", action="version", version=f"bertbundle {bertbundle.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    predict = _add(commands, "predict", _predict, "answer texts: entities, classes or embeddings, as the model does")
    predict.add_argument("texts", nargs="*", metavar="TEXT", help="a text; none: the lines of standard input")
    predict.add_argument("--pair", metavar="TEXT", help="second text of a pair; every TEXT is paired with it")
    predict.add_argument(
        "--truncation",
        choices=["error", "truncate"],
        default="error",
        help="what becomes of a text that is too long (default: %(default)s)",
    )
    _add(commands, "info", _info, "show what the model says of itself")
    _add(commands, "status", _status, "show the state of each version of the model")
    return parser


def _add(commands: Any, name: str, run: Callable[..., Iterable[str]], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=run)
    parser.add_argument(
        "--server", type=_name, default="localhost:8500", metavar="HOST:PORT", help="gRPC port (default: %(default)s)"
    )
    parser.add_argument("--model", type=_name, required=True, metavar="NAME", help="model name")
    parser.add_argument("--timeout", type=_seconds, default=30.0, metavar="SECONDS", help="default: %(default)s")
    parser.add_argument("--tls", action="store_true", help="connect with TLS")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="PEM file of the authorities to trust; implies --tls")
    parser.add_argument("--json", action="store_true", help="print JSON, one object per line")
    return parser


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("expected a name, got nothing")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(f"{text!a} is not valid Unicode") from error
    return text


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text!r}")


def _client(options: argparse.Namespace) -> Client:
    tls = None
    if options.tls or options.ca:
        try:
            tls = Tls(root_certificates=options.ca.read_bytes() if options.ca else None)
        except OSError as error:
            raise InputError(f"--ca {options.ca} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise InputError(f"--ca {options.ca} is not usable: {error}.") from error
    return Client(options.server, options.model, timeout=options.timeout, tls=tls)


# ---- predict


def _predict(client: Client, options: argparse.Namespace) -> Iterable[str]:
    texts = options.texts or _lines()
    if not texts:
        raise InputError("no text was given. Pass one as an argument, or lines on standard input.")
    task = client.manifest().task
    if task not in SHOWN:
        raise InputError(f"model {options.model!r} does {task}, which this command does not know. Upgrade bertbundle.")
    _check_pair(DECODERS[task].takes, options, task)
    shown = SHOWN[task]
    paired: list[Text] = [(text, options.pair) for text in texts] if options.pair is not None else list(texts)
    results = _in_turns(lambda part: shown.ask(client, part, options.truncation), paired)
    if options.json:
        return (_dumps({"text": text, **shown.fields(result)}) for text, result in zip(texts, results, strict=True))
    return shown.table(texts, list(results))


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


# ---- info and status


def _info(client: Client, options: argparse.Namespace) -> Iterable[str]:
    manifest = client.manifest()
    if options.json:
        return [_dumps(json.loads(manifest.to_json()))]
    return [*table(("", ""), _facts(manifest)), "", *_parity_table(manifest)]


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    source = manifest.source
    facts = {
        "name": manifest.name,
        "task": manifest.task,
        "source": f"{source.name} ({source.architecture}, {source.layers} layers x {source.hidden_size})",
        "signatures": ", ".join(f"{name} [batch, {length}]" for name, length in manifest.signatures.items()),
        "inputs": ", ".join(spec.name for spec in manifest.inputs),
        "outputs": ", ".join(f"{spec.name} [{', '.join(spec.shape)}]" for spec in manifest.outputs),
        "labels": ", ".join(manifest.labels) or "-",
        "decoding": f"{manifest.label_scheme} {manifest.label_decoding}, labels per {manifest.word_labels}",
        "pooling": f"{manifest.pooling}{', normalised' if manifest.normalized else ''}",
        "created": manifest.created,
        "notes": "; ".join(manifest.notes) or "-",
    }
    return list(facts.items())


def _parity_table(manifest: Manifest) -> Iterable[str]:
    rows = [
        (row.format, row.signature, row.output, f"{row.max_abs:.2e}", f"{row.agreement:.2%}") for row in manifest.parity
    ]
    return table(("format", "signature", "output", "max abs difference", "labels agree"), rows)


def _status(client: Client, options: argparse.Namespace) -> Iterable[str]:
    states = client.status()
    if options.json:
        return [
            _dumps({"version": s.version, "state": s.state, "error": s.error_code, "message": s.error_message})
            for s in states
        ]
    rows = [(str(s.version), s.state, s.error_code, s.error_message) for s in states]
    return table(("version", "state", "error", "message"), rows)
