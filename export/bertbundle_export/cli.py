"""The `bertbundle-export` command."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from bertbundle._shared.commands import run_command
from bertbundle.contract.manifest import Manifest
from bertbundle.errors import InputError
from bertbundle_export.arguments import export_parser, inspect_parser
from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.inspect import inspect_checkpoint
from bertbundle_export.checkpoints.sources.hub import open_source
from bertbundle_export.checkpoints.to_huggingface import write_huggingface
from bertbundle_export.exporter import Exported, export_bundle
from bertbundle_export.head_flags import read_head_flags
from bertbundle_export.options import ExportOptions
from bertbundle_export.report import ConsoleReporter

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0, or 2 with one message on stderr."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    signal.signal(signal.SIGTERM, _exit_on_signal)  # so that the staging directory is removed
    if arguments[:1] == ["inspect"]:
        inspected = inspect_parser().parse_args(arguments[1:])
        return run_command("bertbundle-export", lambda: _inspect(inspected))
    options = export_parser().parse_args(arguments)
    if options.to_hf:
        return run_command("bertbundle-export", lambda: _to_huggingface(options))
    return run_command("bertbundle-export", lambda: _export(options, Console(stderr=True, soft_wrap=True)))


def _exit_on_signal(number: int, frame: object) -> NoReturn:
    del frame
    sys.exit(128 + number)


def _export(options: argparse.Namespace, console: Console) -> None:
    console.print(f"exporting {options.source} as {options.name}", highlight=False, markup=False)
    exported = export_bundle(
        options.source,
        name=options.name,
        output=options.output,
        version=options.version,
        heads=read_head_flags(options),
        load=_load_options(options),
        reporter=ConsoleReporter(console),
        **_export_options(options),
    )
    Console(soft_wrap=True).print(*_summary(exported), sep="\n")


def _to_huggingface(options: argparse.Namespace) -> None:
    load = replace(_load_options(options), heads=read_head_flags(options) or {})
    print(f"Hugging Face directory: {write_huggingface(options.source, options.to_hf, load)}")


def _load_options(options: argparse.Namespace) -> LoadOptions:
    """Return the load options that the command has flags for."""
    given = vars(options)
    return LoadOptions(**{field.name: given[field.name] for field in fields(LoadOptions) if field.name in given})


def _export_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the export options, which all have flags."""
    given = vars(options) | {"texts": _read_texts(options.texts)}
    return {field.name: given[field.name] for field in fields(ExportOptions)}


def _read_texts(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--texts {path} cannot be read: {error}.") from error
    texts = [line for line in lines if line]
    if not texts:
        raise InputError(f"--texts {path} has no line with text.")
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
    task = f"{manifest.task} ({', '.join(manifest.heads)})" if manifest.heads else manifest.task
    facts = f"{task}, {manifest.source.parameters / 1e6:.1f} M parameters, lengths {lengths}"
    files = ", ".join(f"{kind} {size / 1e6:.1f} MB" for kind, size in sizes.items())
    return [facts, files, _parity_table(manifest), f"bundle: {exported.path}"]


def _sizes(manifest: Manifest) -> dict[str, int]:
    sizes = {"SavedModel": 0, "ONNX": 0, "tokenizer": 0}
    for name, info in manifest.files.items():
        kind = "ONNX" if ".onnx" in name else "tokenizer" if name == "tokenizer.json" else "SavedModel"
        sizes[kind] += info.size
    return {kind: size for kind, size in sizes.items() if size}


def _parity_table(manifest: Manifest) -> Table:
    """Return a table of the worst result of all signatures, by format and output."""
    table = Table(title="compared with the source model on real texts, worst of all lengths")
    for column in ("format", "output", "rows", "difference", "allowed", "agree"):
        table.add_column(column)
    groups: dict[tuple[str, str], list[Any]] = {}
    for row in manifest.parity:
        groups.setdefault((row.format, row.output), []).append(row)
    for (kind, output), rows in groups.items():
        difference = f"{max(row.max_abs for row in rows):.1e}"
        agreement = f"{min(row.agreement for row in rows):.2%}"
        allowed = f"{min(row.atol for row in rows):.1e}"
        table.add_row(kind, output, str(sum(row.rows for row in rows)), difference, allowed, agreement)
    return table
