"""`bertbundle bulk`: its flags, and what they start: a run over one file, or a job over many on an engine."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

from bertbundle._shared.commands import ROWS_REJECTED, CommandExit
from bertbundle._shared.flag_types import positive_int
from bertbundle.batch.annotator import Annotator
from bertbundle.batch.connection import BundleIdentity
from bertbundle.batch.decoder_choice import DecoderOptions, choose_decoder, spell_flag
from bertbundle.batch.job import BatchJob, Engine, JobProgress, run_job, run_locally
from bertbundle.batch.ray_engine import RayEngine
from bertbundle.cli.bulk import BulkJob, BulkRun, check_path, is_resumable
from bertbundle.cli.connection_flags import DEFAULT_SERVER, channel_settings
from bertbundle.cli.progress import Progress, ProgressReport
from bertbundle.data.row_files import detect_format
from bertbundle.errors import InputError

__all__ = ["BULK_TIMEOUT", "add_job_flags", "run_bulk"]

BULK_TIMEOUT = 300.0
"""Timeout in seconds of a call, which has up to 2048 rows."""
_ENGINES = ("local", "ray")
_SHARD_BYTES = 8 << 20
_OF_SERVERS = ("server", "concurrency", "hedge_after", "tls", "ca", "cert", "key", "token_file")
_OF_RAY = ("address", "workers")


def add_job_flags(bulk: argparse.ArgumentParser) -> None:
    """Add the flags of jobs, and of a bundle in the process, to the parser of `bertbundle bulk`."""
    bulk.set_defaults(server=None)  # to know whether it is given
    bulk.add_argument(
        "--bundle", metavar="DIR", help="compute in this process with a bundle, instead of --server and --model"
    )
    bulk.add_argument(
        "--cores", type=positive_int, metavar="N", help="cores of a worker with --bundle (default: all; 1 on Ray)"
    )
    bulk.add_argument(
        "--attempts",
        type=positive_int,
        default=5,
        metavar="N",
        help="how often rows are tried while the server is unavailable, overloaded or late, with pauses of 2 to 30 s "
        "(default: %(default)s)",
    )
    bulk.add_argument(
        "--input",
        metavar="DIR_OR_GLOB",
        help="process all files of a directory, a glob or a URI such as s3://bucket/dir, into the directory --output",
    )
    bulk.add_argument(
        "--shard-bytes",
        type=positive_int,
        metavar="N",
        help="size of the parts that --input is cut into; a CSV file is one part, Parquet is cut between row groups "
        f"(default: {_SHARD_BYTES})",
    )
    bulk.add_argument(
        "--engine", choices=_ENGINES, default="local", help="where --input is processed (default: %(default)s)"
    )
    bulk.add_argument("--address", metavar="ADDRESS", help="address of the Ray cluster (default: auto)")
    bulk.add_argument(
        "--workers", type=positive_int, metavar="N", help="workers on Ray (default: cores of the cluster / --cores)"
    )


def run_bulk(options: argparse.Namespace) -> None:
    """Process the rows of one file, or of the files of --input.

    Raises:
        InputError: the flags contradict each other, or a file or the bundle cannot be used.
        ServerError: the model did not answer.
        CommandExit: rows have no answer.
    """
    _check_model_flags(options)
    run, check = (_run_file, _check_file_flags) if options.input is None else (_run_files, _check_files_flags)
    check(options)
    with contextlib.ExitStack() as stack:
        first = _annotator(options)
        stack.enter_context(contextlib.closing(first.connection))
        identity = first.identity()
        annotator = first.pinned(identity)
        stack.enter_context(contextlib.closing(annotator.connection))
        chosen = DecoderOptions(options.head, options.pair is not None, options.allow_no_answer, spell_flag, "--text")
        choose_decoder(annotator.manifest(), options.model or identity.name, chosen)
        rejected = run(annotator, identity, options)
    if rejected:
        raise CommandExit(ROWS_REJECTED)


def _run_file(annotator: Annotator, identity: BundleIdentity, options: argparse.Namespace) -> int:
    """Process one file, and return the number of rows without an answer."""
    rejects = options.rejects or (f"{options.output}.rejects" if is_resumable(options.output) else None)
    file_format = detect_format(options.source, options.format)
    settings = {name: getattr(annotator, name) for name in ("head", "truncation", "allow_no_answer")}
    model = {"model": identity.name, "model_version": identity.version, "manifest": identity.digest, **settings}
    job = BulkJob(options.source, file_format, options.output, rejects, options.text, options.pair, options.keep, model)
    run = BulkRun(
        job,
        annotator.answer_rows,
        resume=options.resume,
        overwrite=options.overwrite,
        log=sys.stderr,
        as_json=options.json,
    )
    return run.run()


def _run_files(annotator: Annotator, identity: BundleIdentity, options: argparse.Namespace) -> int:
    """Process many files, and return the number of rows without an answer."""
    del identity  # a job asks for it itself
    job = BatchJob(annotator, options.input, options.output, options.format, options.shard_bytes or _SHARD_BYTES)
    log = _JobLog(options)
    counts = run_job(job, _engine(options), resume=options.resume, overwrite=options.overwrite, report=log.update)
    log.finish()
    return counts.rejected


def _check_file_flags(options: argparse.Namespace) -> None:
    if options.engine != "local" or options.shard_bytes:
        raise InputError("--engine and --shard-bytes need --input: pass the directory or glob as --input.")
    if not options.output:
        raise InputError("--output is empty: pass the path of a file, or omit it for standard output.")
    _refuse(options, _OF_RAY, "for --engine ray only")
    check_path(options.source, writes=False)
    for path in (options.output, options.rejects or "-"):
        check_path(path, writes=True)
    if options.resume and not is_resumable(options.output):
        raise InputError("--resume needs an output file: pass --output.")


def _check_files_flags(options: argparse.Namespace) -> None:
    if options.source != "-":
        raise InputError(f"{options.source} and --input {options.input}: pass one of them.")
    if options.output == "-":
        raise InputError("--input needs a directory for the output: pass --output.")
    if options.rejects:
        raise InputError("--rejects does not go with --input, which writes them to the output's _rejects: omit it.")
    if options.engine != "ray":
        _refuse(options, _OF_RAY, "for --engine ray only")


def _check_model_flags(options: argparse.Namespace) -> None:
    if (options.bundle is None) == (options.model is None):
        raise InputError("pass either --model and --server, or --bundle.")
    if options.bundle is not None:
        _refuse(options, _OF_SERVERS, "for servers only, not with --bundle")
    elif options.cores:
        raise InputError("--cores needs --bundle: the server chooses its own.")


def _refuse(options: argparse.Namespace, names: tuple[str, ...], reason: str) -> None:
    if given := [name for name in names if getattr(options, name)]:
        raise InputError(f"{', '.join(map(spell_flag, given))}: {reason}.")


def _annotator(options: argparse.Namespace) -> Annotator:
    threads = options.cores or (1 if options.engine == "ray" else None)
    model: dict[str, Any] = {"bundle": options.bundle, "threads": threads}
    if options.bundle is None:
        model = {"server": options.server or DEFAULT_SERVER, "model": options.model, "hedge_after": options.hedge_after}
        model |= {"concurrency": options.concurrency or Annotator.concurrency, **channel_settings(options)}
    return Annotator(
        **model,
        timeout=options.timeout,
        attempts=options.attempts,
        text=options.text,
        pair=options.pair,
        keep=options.keep,
        head=options.head,
        truncation=options.truncation,
        allow_no_answer=options.allow_no_answer,
    )


def _engine(options: argparse.Namespace) -> Engine:
    if options.engine == "local":
        return run_locally
    return RayEngine(options.address or "auto", options.workers, options.cores or 1)


class _JobLog:
    """Reports the progress of a job as that of a single file is reported."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._report = ProgressReport(sys.stderr, as_json=options.json)
        self._last: Progress | None = None

    def update(self, job: JobProgress) -> None:
        rows, rejected = job.counts.rows, job.counts.rejected
        fraction = job.shards / max(job.all_shards, 1)
        if self._last is None:
            self._report.start(rows, fraction)
        self._last = Progress(rows=rows, answered=rows - rejected, rejected=rejected)
        self._report.update(self._last, fraction)

    def finish(self) -> None:
        self._report.finish(self._last or Progress())
