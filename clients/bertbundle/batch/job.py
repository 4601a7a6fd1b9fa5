"""A bulk job over files: what is checked before it begins, what is resumed, and how it ends."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from bertbundle._shared.validation import check_counts
from bertbundle.batch.annotator import Annotator
from bertbundle.batch.shards import Shard, format_of_files, plan_shards
from bertbundle.batch.store import TEMPORARY, absolute, open_store
from bertbundle.batch.store_interface import FileInfo
from bertbundle.batch.work import REJECTS, SHARDS, Counts, ShardWork
from bertbundle.errors import InputError, ServerError

__all__ = ["BatchJob", "Engine", "JobProgress", "run_job", "run_locally"]

Engine: TypeAlias = "Callable[[ShardWork, Sequence[Shard]], Iterable[Counts]]"
"""Computes shards, in any order and anywhere, and yields the counts of each."""

_JOB, _SUCCESS = "_job.json", "_SUCCESS"
_OURS = re.compile(rf"part-\d{{6,}}-[0-9a-f]{{12}}\.(jsonl|parquet)|{_JOB}|{_SUCCESS}")
_OPTIONS = ("text", "pair", "keep", "head", "truncation", "allow_no_answer")
"""The options of the annotator that the output depends on."""
_PARALLEL_READS = 16
_ABANDONED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A job over files.

    Attributes:
        annotator: answers the texts.
        source: a directory, a glob or a file, as a path or a URI such as ``s3://bucket/prefix``.
        output: directory or URI of the output.
        format: format of the input; None for that of the suffixes.
        shard_bytes: size of a shard in bytes of input; a worker that is lost loses at most one.
    """

    annotator: Annotator
    source: str
    output: str
    format: str | None = None
    shard_bytes: int = 8 << 20

    def __post_init__(self) -> None:
        check_counts(shard_bytes=self.shard_bytes)
        for name in ("source", "output"):  # paths may be pathlib's
            object.__setattr__(self, name, os.fspath(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How much of a job is done: shards and rows, of all its runs."""

    shards: int
    all_shards: int
    counts: Counts


def run_locally(work: ShardWork, shards: Sequence[Shard]) -> Iterator[Counts]:
    """Compute shards one after the other in this process: an `Engine`."""
    return map(work.compute, shards)


def run_job(
    job: BatchJob,
    engine: Engine = run_locally,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[JobProgress], None] = lambda _: None,
) -> Counts:
    """Compute all shards of a job that are not finished, and return the counts of all its runs.

    Raises:
        InputError: a file, the output or the bundle cannot be used; or there is output, and neither `resume` nor
            `overwrite`.
        ServerError: the model did not answer. What is finished stays, and `resume` continues.
    """
    work, shards, description = prepare(job, resume=resume, overwrite=overwrite)
    done = {} if overwrite else _finished(work, shards)
    counts = sum(done.values(), Counts())
    pending, finished = [shard for shard in shards if shard.number not in done], len(done)
    results = iter(engine(work, pending) if pending else ())  # an engine may check its workers
    _claim(work, description, resume=resume, overwrite=overwrite)
    if pending:
        open_store(work.output).delete(work.path(_SUCCESS))
    report(JobProgress(finished, len(shards), counts))
    try:
        for of_shard in results:
            counts, finished = counts + of_shard, finished + 1
            report(JobProgress(finished, len(shards), counts))
    except InputError as error:
        next_step = "Continue with --resume, or start over with --overwrite if the input has changed."
        raise InputError(f"{error} Finished shards are kept. {next_step}") from error
    except ServerError as error:
        message = f"{error} {finished} of {len(shards)} shards are done; continue with --resume."
        raise type(error)(message, code=error.code, details=error.details) from error
    _check_alone(work, shards)
    open_store(work.output).write(work.path(_SUCCESS), json.dumps(asdict(counts)).encode())
    _sweep(work, 0)
    return counts


def _sweep(work: ShardWork, seconds: float) -> None:
    """Delete temporary files that were not written to for some seconds: another run may still write some."""
    for directory in (work.output, work.path(SHARDS), work.path(REJECTS)):
        open_store(directory).sweep(directory, seconds)


# ---- before a run


def prepare(job: BatchJob, *, resume: bool, overwrite: bool) -> tuple[ShardWork, list[Shard], Any]:
    """Check everything that can be checked before work; return the work, its shards, and the job's description.

    Raises:
        InputError: see `run_job`.
    """
    identity = job.annotator.identity()
    annotator = job.annotator.pinned(identity)
    annotator.decoder()
    source, output = absolute(job.source), absolute(job.output)
    _check_outside(source, output)
    store = open_store(source)
    below = f"{_real(output).rstrip('/')}/"
    files = [file for file in store.find(source) if not _real(file.path).startswith(below)]  # a glob may match them
    file_format = format_of_files(source, files, job.format)
    shards = plan_shards(store, files, file_format, annotator, job.shard_bytes)
    options = {name: getattr(annotator, name) for name in _OPTIONS}
    description = _as_json(
        {
            "options": {**options, "format": file_format, "shard_bytes": job.shard_bytes},
            "bundle": asdict(identity),
            "files": [[file.path, file.size, file.changed] for file in files],
        }
    )
    fingerprint = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
    work = ShardWork(annotator, output, file_format, identity, fingerprint)
    _check_output(work, description, resume=resume, overwrite=overwrite)
    return work, shards, description


def _check_outside(source: str, output: str) -> None:
    """Check that the output is not read as input.

    Raises:
        InputError: it is below the directory of the input.
    """
    base = _real(source.split("**", maxsplit=1)[0]).rstrip("/")
    if f"{_real(output).rstrip('/')}/".startswith(f"{base}/"):
        raise InputError(f"the output {output} is inside of the input {source}. Pass a directory outside.")


def _real(location: str) -> str:
    """Return a path without links; a URI as it is."""
    return location if "://" in location else os.path.realpath(location)


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _check_output(work: ShardWork, description: Any, *, resume: bool, overwrite: bool) -> None:
    """Check that the output is an empty one, the same job's to resume, or one to overwrite.

    Raises:
        InputError: none of these.
    """
    names = {name for name in open_store(work.output).names(work.output) if not name.startswith(TEMPORARY)}
    others = sorted(name for name in names - {SHARDS, REJECTS} if not _OURS.fullmatch(name))
    if names and _JOB not in names:
        raise InputError(f"{work.output} has other files, such as {min(names)}. Pass an empty or a new directory.")
    if overwrite and others:
        raise InputError(f"{work.output} has other files, such as {others[0]}. Delete them, or pass a new directory.")
    if names and resume and not overwrite:
        _check_same_job(work, description)
    elif names and not overwrite:
        raise InputError(
            f"{work.output} already has output. Continue it with --resume, or start over with --overwrite."
        )


def _claim(work: ShardWork, description: Any, *, resume: bool, overwrite: bool) -> None:
    """Make the output the job's own: delete that of an earlier job to overwrite, and what killed processes have left.

    Of an earlier job, what says that it is complete is deleted first, and its description last, so that a run which is
    killed meanwhile leaves nothing that looks complete, and this can be repeated.

    Raises:
        InputError: another run has claimed it after `_check_output`.
    """
    store = open_store(work.output)
    for name in sorted(store.names(work.output), key=_deletion_order) if overwrite else ():
        store.delete(work.path(name))
    data = json.dumps(description, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")  # as json reads it
    if not store.create(work.path(_JOB), data):
        _check_output(work, description, resume=resume and not overwrite, overwrite=False)
    _sweep(work, _ABANDONED_SECONDS)


def _deletion_order(name: str) -> int:
    return {_SUCCESS: 0, _JOB: 2}.get(name, 1)


def _check_alone(work: ShardWork, shards: Sequence[Shard]) -> None:
    """Check that the output has no parts of another job: where nothing can be created once only, two may claim it.

    Raises:
        InputError: it has.
    """
    ours = {work.name(shard) for shard in shards}
    for name in open_store(work.output).names(work.output):
        if name.startswith("part-") and name.partition(".")[0] not in ours:
            raise InputError(
                f"{work.output} also has {name}, of another job that ran at the same time. Start both over, each with "
                "an --output of its own."
            )


def _check_same_job(work: ShardWork, description: Any) -> None:
    try:
        with open_store(work.output).open(work.path(_JOB)) as file:
            found = json.load(file)
        difference = _difference(found, description)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{work.path(_JOB)} cannot be read: {error}. Start over with --overwrite.") from error
    if difference:
        raise InputError(
            f"{work.output} belongs to another job: {difference}. Pass the same options and files, or start over with "
            "--overwrite."
        )


def _difference(found: Any, wanted: Any) -> str:
    """Return the first difference of two descriptions, in words; "" if there is none."""
    for part in ("options", "bundle"):
        for name, value in wanted[part].items():
            if found[part].get(name) != value:
                return f"its {part.rstrip('s')} {name} is {found[part].get(name)!r}, not {value!r}"
    ours, theirs = ({path: FileInfo(path, size, at) for path, size, at in each["files"]} for each in (wanted, found))
    for path in sorted(ours.keys() | theirs.keys()):
        if ours.get(path) != theirs.get(path):
            return f"{path} is {'new' if path not in theirs else 'gone' if path not in ours else 'changed'}"
    return ""


def _finished(work: ShardWork, shards: Sequence[Shard]) -> dict[int, Counts]:
    """Return the counts of the finished shards, by their numbers."""
    names = open_store(work.output).names(work.path(SHARDS))
    candidates = [shard for shard in shards if f"{work.name(shard)}.json" in names]
    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        counts = list(pool.map(work.counts, candidates))
    return {shard.number: each for shard, each in zip(candidates, counts, strict=True) if each is not None}
