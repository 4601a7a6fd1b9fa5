"""The `bertbundle-export` command."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from bertbundle._shared.commands import CommandParser, run_command
from bertbundle.contract.manifest import Manifest
from bertbundle.errors import InputError
from bertbundle_export.checkpoints import FORMATS as CHECKPOINT_FORMATS
from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.inspect import inspect_checkpoint
from bertbundle_export.checkpoints.sources.hub import open_source
from bertbundle_export.checkpoints.to_huggingface import write_huggingface
from bertbundle_export.exporter import Exported, export_bundle
from bertbundle_export.options import DECODINGS, FORMATS, WORD_LABELS
from bertbundle_export.precision import PRECISIONS
from bertbundle_export.report import ConsoleReporter
from bertbundle_export.tasks import POOLINGS, TASKS

__all__ = ["main"]

_CRF_TABLES = {
    "transitions": "of a label after another, for example crf.transitions",
    "start": "of the first label",
    "end": "of the last label",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0, or 2 with one message on stderr."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    signal.signal(signal.SIGTERM, _stop)  # so that the staging directory is removed
    if arguments[:1] == ["inspect"]:
        inspected = _inspect_parser().parse_args(arguments[1:])
        return run_command("bertbundle-export", lambda: _inspect(inspected))
    options = _export_parser().parse_args(arguments)
    if options.to_hf:
        return run_command("bertbundle-export", lambda: _to_huggingface(options))
    return run_command("bertbundle-export", lambda: _export(options, Console(stderr=True, soft_wrap=True)))


def _stop(number: int, frame: object) -> NoReturn:
    del frame
    sys.exit(128 + number)


def _inspect_parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="bertbundle-export inspect", description="Say what a checkpoint is, without loading its weights."
    )
    _add_source(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _export_parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="bertbundle-export",
        description="Export a BERT checkpoint to a bundle that TensorFlow Serving and bertbundle-serve host. "
        "`bertbundle-export inspect SOURCE` says what a checkpoint is.",
    )
    _add_source(parser)
    add = parser.add_argument
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--name", help="model name: the bundle goes to OUTPUT/NAME/VERSION")
    target.add_argument("--to-hf", type=Path, metavar="DIR", help="write a Hugging Face directory instead of a bundle")
    add("--output", type=Path, default=Path("models"), help="directory of the models (default: %(default)s)")
    add("--version", type=int, help="version number (default: the next free one)")
    add("--max-length", type=int, metavar="N", help="tokens of serving_default (default: 128, or the model's limit)")
    add(
        "--lengths",
        type=_numbers,
        metavar="N,N,..",
        help="lengths of the shorter signatures (default: 8,16,24,...,64,80,...; of bfloat16: 16,32,64,...)",
    )
    add(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="bfloat16: the SavedModel; int8: ONNX; auto: by this CPU",
    )
    add("--formats", type=_words, default=FORMATS, metavar="F,F", help="saved_model,onnx (default: both)")
    add("--characters", action="store_true", help="make every character a token, as Chinese taggers are trained")
    add("--label-scheme", metavar="S", help="IO, BIO, BIOES, BMES or BILOU (default: what the labels look like)")
    add(
        "--label-decoding",
        choices=DECODINGS,
        default="auto",
        help="default: crf, or viterbi where labels have a scheme",
    )
    for table, what in _CRF_TABLES.items():
        add(f"--crf-{table}", metavar="ATTR", help=f"attribute of the model with its CRF's scores {what}")
    add("--word-labels", choices=WORD_LABELS, default="token", help="what labels a word (default: each token itself)")
    _flag(parser, "--multi-label", text="classes are independent (default: what the checkpoint says)")
    add("--pooling", choices=list(POOLINGS), help="sentence embedding (default: what the checkpoint says, else mean)")
    add("--last-layers", type=int, default=1, metavar="N", help="concatenate the last N layers before the pooling")
    _flag(parser, "--normalize", text="give sentence embeddings length 1 (default: what the checkpoint says)")
    add("--top-k", type=int, default=10, metavar="K", help="tokens that fill-mask offers per mask (default: 10)")
    add("--model-class", metavar="MODULE:NAME", help="your own class or function that makes the model")
    add("--init-args", type=_settings, default={}, metavar="K=V,..", help="its arguments, or settings of its config")
    add("--texts", type=Path, metavar="FILE", help="prove the export on these texts, one per line, instead of ours")
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    """Add what says where the checkpoint is, and what its files do not say of it."""
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        help="a checkpoint (directory, file, archive, prefix), a Hugging Face hub name, or a TF Hub handle",
    )
    add("--format", choices=list(CHECKPOINT_FORMATS), help="format of the checkpoint (default: found out)")
    add("--revision", help="branch, tag or commit of a hub source")
    add("--config", type=Path, metavar="PATH", help="config.json or bert_config.json of weights without")
    add("--tokenizer", type=Path, metavar="PATH", help="take the tokenizer from this directory or vocab.txt")
    add("--task", choices=list(TASKS), help="default: what the checkpoint's architecture says")
    add("--labels", type=_labels, metavar="L,L,..", help="label of each class index (default: the checkpoint's)")
    add("--allow-pickle", action="store_true", help="read PyTorch pickles, which may run code: only if you trust them")
    _flag(parser, "--lowercase", "--do-lower-case", text="lower-case texts (default: what the checkpoint says)")


def _flag(parser: argparse.ArgumentParser, *names: str, text: str) -> None:
    parser.add_argument(*names, action=argparse.BooleanOptionalAction, default=None, help=text)


def _settings(text: str) -> dict[str, Any]:
    """Parse ``name=value,name=value``; a value is JSON (true, 3, [2,3]), or else a string."""
    pairs = [word.strip(" ,").partition("=") for word in re.split(r",(?=\s*\w+=)", text)]
    if not all(name.isidentifier() and equals for name, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"expected name=value,name=value, got {text!r}")
    return {name: _value(value) for name, _, value in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _labels(text: str) -> tuple[str, ...]:
    if labels := _words(text):
        return labels
    raise argparse.ArgumentTypeError(f"expected labels like O,B-PER,I-PER, got {text!r}")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in _words(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers like 16,32,64, got {text!r}") from None


def _export(options: argparse.Namespace, console: Console) -> None:
    console.print(f"exporting {options.source} as {options.name}", highlight=False, markup=False)
    exported = export_bundle(
        options.source,
        name=options.name,
        output=options.output,
        version=options.version,
        load=_load_options(options),
        reporter=ConsoleReporter(console),
        max_length=options.max_length,
        lengths=options.lengths,
        formats=options.formats,
        precision=options.precision,
        characters=options.characters,
        label_scheme=options.label_scheme,
        label_decoding=options.label_decoding,
        crf_transitions=options.crf_transitions,
        crf_start=options.crf_start,
        crf_end=options.crf_end,
        word_labels=options.word_labels,
        top_k=options.top_k,
        texts=_read_texts(options.texts),
    )
    Console(soft_wrap=True).print(*_summary(exported), sep="\n")


def _to_huggingface(options: argparse.Namespace) -> None:
    print(f"Hugging Face directory: {write_huggingface(options.source, options.to_hf, _load_options(options))}")


def _load_options(options: argparse.Namespace) -> LoadOptions:
    """Return every load option that the command has a flag for."""
    given = vars(options)
    return LoadOptions(**{field.name: given[field.name] for field in fields(LoadOptions) if field.name in given})


def _read_texts(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--texts {path} cannot be read: {error}.") from error
    texts = [line for line in lines if line]
    if not texts:
        raise InputError(f"--texts {path} has no lines with text.")
    return texts


def _inspect(options: argparse.Namespace) -> None:
    with open_source(options.source, revision=options.revision) as path:
        found = inspect_checkpoint(path, _load_options(options))
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
        return
    width = max(len(key) for key in found)
    for key, value in found.items():
        print(f"{key:<{width}}  {value}")


# ---- the summary


def _summary(exported: Exported) -> list[Any]:
    manifest = exported.manifest
    sizes = _sizes(manifest)
    lengths = ", ".join(str(length) for length in manifest.signatures.values())
    facts = f"{manifest.task}, {manifest.source.parameters / 1e6:.1f} M parameters, lengths {lengths}"
    files = ", ".join(f"{kind} {size / 1e6:.1f} MB" for kind, size in sizes.items())
    return [facts, files, _parity_table(manifest), f"bundle: {exported.path}"]


def _sizes(manifest: Manifest) -> dict[str, int]:
    sizes = {"SavedModel": 0, "ONNX": 0, "tokenizer": 0}
    for name, info in manifest.files.items():
        kind = "ONNX" if ".onnx" in name else "tokenizer" if name == "tokenizer.json" else "SavedModel"
        sizes[kind] += info.size
    return {kind: size for kind, size in sizes.items() if size}


def _parity_table(manifest: Manifest) -> Table:
    """Show the worst of all signatures for each format and output."""
    table = Table(title="compared with the source model on real texts, worst of all lengths")
    for head in ("format", "output", "rows", "difference", "allowed", "agree"):
        table.add_column(head)
    groups: dict[tuple[str, str], list[Any]] = {}
    for row in manifest.parity:
        groups.setdefault((row.format, row.output), []).append(row)
    for (kind, output), rows in groups.items():
        difference = f"{max(row.max_abs for row in rows):.1e}"
        agreement = f"{min(row.agreement for row in rows):.2%}"
        allowed = f"{min(row.atol for row in rows):.1e}"
        table.add_row(kind, output, str(sum(row.rows for row in rows)), difference, allowed, agreement)
    return table
