"""The `bertbundle` command: ask a server, from a terminal or a script."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import bertbundle
from bertbundle.client import Client
from bertbundle.command import LineParser, run_command
from bertbundle.errors import InputError
from bertbundle.manifest import Manifest
from bertbundle.primitives import Classification, Entity
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
    if task not in _ASK:
        raise InputError(f"model {options.model!r} does {task}, which this command does not know. Upgrade bertbundle.")
    if options.pair is not None and task != "text-classification":
        raise InputError(f"--pair is for text-classification, model {options.model!r} does {task}.")
    ask, table = _ASK[task]
    paired: list[Text] = [(text, options.pair) for text in texts] if options.pair is not None else list(texts)
    results = _in_turns(lambda part: ask(client, part, options.truncation), paired)
    if options.json:
        return (_json_line(text, result) for text, result in zip(texts, results, strict=True))
    return table(texts, list(results))


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


def _json_line(text: str, result: Any) -> str:
    if isinstance(result, list):
        fields: dict[str, Any] = {"entities": [entity.to_dict() for entity in result]}
    elif isinstance(result, Classification):
        fields = result.to_dict()
    else:
        fields = {"embedding": [round(float(value), 7) for value in result]}
    return _dumps({"text": text, **fields})


def _entity_table(texts: Sequence[str], results: Sequence[list[Entity]]) -> Iterable[str]:
    rows = [
        (
            text if index == 0 else "",
            entity.label,
            entity.text,
            f"{entity.score:.4f}",
            str(entity.start),
            str(entity.end),
        )
        for text, entities in zip(texts, results, strict=True)
        for index, entity in enumerate(entities or [Entity("-", "(none)", 0, 0, 0.0)])
    ]
    return _table(("text", "label", "entity", "score", "start", "end"), rows)


def _class_table(texts: Sequence[str], results: Sequence[Classification]) -> Iterable[str]:
    rows = [
        (text if index == 0 else "", "*" if label in result.labels else "", label, f"{score:.4f}")
        for text, result in zip(texts, results, strict=True)
        for index, (label, score) in enumerate(list(result.scores.items())[: max(5, len(result.labels))])
    ]
    return _table(("text", "", "label", "score"), rows)


def _similarity_table(texts: Sequence[str], results: Any) -> Iterable[str]:
    results = np.stack(results)
    norms = np.linalg.norm(results, axis=1, keepdims=True)
    unit = results / np.maximum(norms, 1e-12)
    cosines = unit @ unit.T
    heads = ("", "text", "dimensions", *(f"cosine {index}" for index in range(len(texts))))
    rows = [
        (str(index), text, str(results.shape[1]), *(f"{value:.4f}" for value in cosines[index]))
        for index, text in enumerate(texts)
    ]
    return _table(heads, rows)


_ASK: dict[str, tuple[Callable[..., Any], Callable[..., Iterable[str]]]] = {
    "token-classification": (lambda c, texts, cut: c.entities(texts, truncation=cut), _entity_table),
    "text-classification": (lambda c, texts, cut: c.classify(texts, truncation=cut), _class_table),
    "feature-extraction": (lambda c, texts, cut: c.embed(texts, truncation=cut), _similarity_table),
}


def _dumps(value: Any) -> str:
    """Return one line of JSON that standard output can hold."""
    return json.dumps(value, ensure_ascii=sys.stdout.encoding.lower() not in ("utf-8", "utf8"))


# ---- info and status


def _info(client: Client, options: argparse.Namespace) -> Iterable[str]:
    manifest = client.manifest()
    if options.json:
        return [_dumps(json.loads(manifest.to_json()))]
    return [*_table(("", ""), _facts(manifest)), "", *_parity_table(manifest)]


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
    return _table(("format", "signature", "output", "max abs difference", "labels agree"), rows)


def _status(client: Client, options: argparse.Namespace) -> Iterable[str]:
    states = client.status()
    if options.json:
        return [
            _dumps({"version": s.version, "state": s.state, "error": s.error_code, "message": s.error_message})
            for s in states
        ]
    rows = [(str(s.version), s.state, s.error_code, s.error_message) for s in states]
    return _table(("version", "state", "error", "message"), rows)


# ---- a table in a terminal


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns by the width that a terminal gives each character."""
    cells = [[_printable(cell) for cell in row] for row in ([heads] if any(heads) else [])] + [
        [_printable(cell) for cell in row] for row in rows
    ]
    widths = [max((_width(row[column]) for row in cells), default=0) for column in range(len(heads))]
    return ["  ".join(_pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _printable(text: str) -> str:
    """Keep control characters of a text from moving the terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in text)


def _width(text: str) -> int:
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):  # marks upon the character before
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _pad(cell: str, width: int) -> str:
    return cell + " " * (width - _width(cell))
