"""Bulk jobs over files: interrupted and resumed anywhere, refused output, and what is checked before work."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batch_files import counts, make_bundle, parts, read_parts, read_rejects, snapshot, texts_of, write_inputs
from bertbundle import InputError, ServerUnavailable
from bertbundle.batch import Annotator, BatchJob, run_job
from bertbundle.batch.job import JobProgress, prepare, run_locally
from bertbundle.batch.shards import Shard
from bertbundle.batch.store import LocalStore
from bertbundle.batch.work import Counts, ShardWork


def expected_ids(*, answered: bool) -> list[int]:
    """Return the ids of the rows with or without an answer, in the order of the files."""
    return [index for number in range(3) for index, text in enumerate(texts_of(number, 40)) if bool(text) == answered]


def test_every_row_once(job: BatchJob) -> None:
    """Each row is answered or rejected once, in order, with the position of its line, and `_SUCCESS` has the counts."""
    assert run_job(job) == Counts(120, 24)
    output = Path(job.output)
    assert [row["id"] for row in read_parts(output)] == expected_ids(answered=True)
    rejects = read_rejects(output)
    assert [row["input"]["id"] for row in rejects] == expected_ids(answered=False)
    for row in rejects:
        line = Path(row["file"]).read_bytes()[row["byte"] :].partition(b"\n")[0]
        assert json.loads(line) == row["input"]
    assert rejects[0]["reason"].startswith("the text is empty")
    assert counts(output) == {"rows": 120, "rejected": 24}
    assert len(parts(output)) > 10


class Interrupted(Exception):
    """The process is killed here."""


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Raise Interrupted instead of the file operation with this number, counted from 0, of those that make files."""
    left = iter(range(after))

    def wrap(original: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            if next(left, None) is None:
                raise Interrupted
            original(*arguments)

        return call

    for name in ("publish", "delete"):
        monkeypatch.setattr(LocalStore, name, wrap(getattr(LocalStore, name)))


def test_interrupted_at_every_step(job: BatchJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wherever a run is killed there is no half file, and the resumed run writes what an undisturbed one writes."""
    run_job(job)
    whole = snapshot(Path(job.output))
    for after in range(0, len(whole) + 1, 3):
        again = replace(job, output=str(tmp_path / f"out{after}"))
        with monkeypatch.context() as patch:
            interrupt(patch, after)
            if after < len(whole):
                with pytest.raises(Interrupted):
                    run_job(again)
        found = snapshot(Path(again.output)) if Path(again.output).exists() else {}
        assert found.items() <= whole.items()
        assert run_job(again, resume=True) == Counts(120, 24)
        assert snapshot(Path(again.output)) == whole


def test_finished_shards_are_not_computed_again(job: BatchJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run computes only the shards that no earlier run has finished, also if an engine offers all of them."""
    computed: list[int] = []
    write = ShardWork._write

    def count(work: ShardWork, store: Any, shard: Shard) -> Counts:
        computed.append(shard.number)
        if len(computed) == 6:
            raise KeyboardInterrupt
        return write(work, store, shard)

    monkeypatch.setattr(ShardWork, "_write", count)
    with pytest.raises(KeyboardInterrupt):
        run_job(job)
    assert computed == [0, 1, 2, 3, 4, 5]
    work, shards, _ = prepare(job, resume=True, overwrite=False)
    assert sum(run_locally(work, shards), Counts()) == Counts(120, 24)
    assert computed[6:] == list(range(5, len(shards)))
    assert run_job(job, resume=True) == Counts(120, 24)
    assert computed[6:] == list(range(5, len(shards)))


def test_two_workers_with_one_shard(job: BatchJob) -> None:
    """A worker that was believed dead and its replacement write the same files with the same content."""
    work, shards, _ = prepare(job, resume=False, overwrite=False)
    once = snapshot_after(work, shards)
    for path in (Path(job.output) / "_shards").iterdir():
        path.unlink()
    assert snapshot_after(work, shards) == once


def snapshot_after(work: ShardWork, shards: Sequence[Shard]) -> dict[str, bytes]:
    """Compute all shards and return the output."""
    assert sum((work.compute(shard) for shard in shards), Counts()) == Counts(120, 24)
    return snapshot(Path(work.output))


def test_left_temporary_files_are_deleted(job: BatchJob) -> None:
    """A resumed run deletes what a killed process was writing."""
    run_job(job)
    left = [Path(job.output) / ".bertbundle-1", Path(job.output) / "_shards" / ".bertbundle-2"]
    for path in left:
        path.write_text("half a li")
    run_job(job, resume=True)
    assert [path for path in left if path.exists()] == []


def test_progress(job: BatchJob) -> None:
    """Progress counts the shards and rows of all runs."""
    reports: list[JobProgress] = []
    run_job(job, report=reports.append)
    assert reports[0] == JobProgress(0, reports[0].all_shards, Counts())
    assert reports[-1] == JobProgress(reports[0].all_shards, reports[0].all_shards, Counts(120, 24))
    assert len(reports) == reports[0].all_shards + 1
    again: list[JobProgress] = []
    run_job(job, resume=True, report=again.append)
    assert again == reports[-1:]


def test_server_error(job: BatchJob) -> None:
    """If the model does not answer, the message says what is done and how to continue; the error keeps its type."""

    def engine(work: ShardWork, shards: Sequence[Shard]) -> Iterator[Counts]:
        yield work.compute(shards[0])
        raise ServerUnavailable("call to host:1 failed.", code="UNAVAILABLE")

    with pytest.raises(ServerUnavailable, match=r"failed. 1 of \d+ shards are done; continue with --resume"):
        run_job(job, engine)
    assert not (Path(job.output) / "_SUCCESS").exists()
    assert run_job(job, resume=True) == Counts(120, 24)


def test_engine_that_cannot_begin(job: BatchJob) -> None:
    """If an engine finds no workers, there is no output yet, and earlier output is neither deleted nor changed."""

    def engine(*_: Any) -> Iterator[Counts]:
        raise InputError("no cluster.")

    with pytest.raises(InputError, match=r"^no cluster.$"):
        run_job(job, engine)
    assert not Path(job.output).exists()
    run_job(job)
    before = snapshot(Path(job.output))
    with pytest.raises(InputError, match=r"^no cluster.$"):
        run_job(replace(job, shard_bytes=700), engine, overwrite=True)
    assert snapshot(Path(job.output)) == before


def test_engine_that_fails(job: BatchJob) -> None:
    """If an engine fails while it works, the message says what is done and how to continue."""

    def engine(work: ShardWork, shards: Sequence[Shard]) -> Iterator[Counts]:
        yield work.compute(shards[0])
        raise InputError("Ray failed: a node is lost.")

    with pytest.raises(InputError, match=r"a node is lost. Finished shards are kept. Continue with --resume, or"):
        run_job(job, engine)
    assert run_job(job, resume=True) == Counts(120, 24)


def test_overwrite_after_a_kill(job: BatchJob) -> None:
    """--overwrite also deletes what a killed process was writing."""
    run_job(job)
    scratch = Path(job.output) / f".bertbundle-{32 * 'a'}"
    scratch.write_text("half")
    assert run_job(job, overwrite=True) == Counts(120, 24)
    assert not scratch.exists()


def test_empty_path(job: BatchJob) -> None:
    """An empty path, as of a variable that is not set, is not the working directory."""
    for empty in (replace(job, source=""), replace(job, output="")):
        with pytest.raises(InputError, match="a path is empty"):
            run_job(empty)


# ---- refused output


def test_existing_output(job: BatchJob) -> None:
    """Output is kept unless --overwrite is passed, which computes it again."""
    run_job(job)
    with pytest.raises(
        InputError, match=r"already has output. Continue it with --resume, or start over with --overwrite"
    ):
        run_job(job)
    before = snapshot(Path(job.output))
    extended = replace(job, annotator=replace(job.annotator, keep=("id",)))
    assert run_job(extended, overwrite=True) == Counts(120, 24)
    after = snapshot(Path(job.output))
    assert {name for name in before if name.startswith("part")}.isdisjoint(after)
    assert [row.keys() for row in read_parts(Path(job.output))[:1]] == [{"id", "entities"}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "id2"}, "its option text is 'text', not 'id2'"),
        ({"keep": ("id",)}, r"its option keep is None, not \['id'\]"),
    ],
)
def test_other_options(job: BatchJob, change: dict[str, Any], message: str) -> None:
    """A job with other options is not resumed, and the output stays as it is."""
    for path in Path(job.source).iterdir():
        path.write_text(path.read_text().replace('"id":', '"id2": "x", "id":'))
    run_job(job)
    before = snapshot(Path(job.output))
    with pytest.raises(InputError, match=f"belongs to another job: {message}"):
        run_job(replace(job, annotator=replace(job.annotator, **change)), resume=True)
    assert snapshot(Path(job.output)) == before


def test_other_bundle(job: BatchJob, tmp_path: Path) -> None:
    """A job is not resumed with another version of the bundle."""
    run_job(job)
    other = Path(make_bundle(tmp_path / "newer"))
    (other / "1").rename(other / "2")
    newer = replace(job, annotator=Annotator(bundle=str(other)))
    with pytest.raises(InputError, match=r"belongs to another job: its bundle version is 1, not 2"):
        run_job(newer, resume=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("1.jsonl", '{"text": "wang"}\n', "1.jsonl is changed"),
        ("3.jsonl", '{"text": "wang"}\n', "3.jsonl is new"),
        ("2.jsonl", None, "2.jsonl is gone"),
    ],
)
def test_other_files(job: BatchJob, name: str, content: str | None, message: str) -> None:
    """A job is not resumed after its input was changed."""
    run_job(job)
    path = Path(job.source) / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        run_job(job, resume=True)


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_foreign_directory(job: BatchJob, options: Any) -> None:
    """A directory with other files is neither used nor cleared."""
    Path(job.output).mkdir()
    (Path(job.output) / "precious").write_text("precious")
    with pytest.raises(InputError, match=r"has other files, such as precious. Pass an empty or a new directory"):
        run_job(job, run_locally, **options)
    assert snapshot(Path(job.output)) == {"precious": b"precious"}


def test_overwrite_keeps_foreign_files(job: BatchJob) -> None:
    """--overwrite deletes nothing at all if another file is among the output."""
    run_job(job)
    (Path(job.output) / "precious").write_text("precious")
    before = snapshot(Path(job.output))
    with pytest.raises(InputError, match=r"has other files, such as precious. Delete them"):
        run_job(job, overwrite=True)
    assert snapshot(Path(job.output)) == before


def test_broken_description(job: BatchJob) -> None:
    """A `_job.json` that cannot be read is named."""
    run_job(job)
    (Path(job.output) / "_job.json").write_text("{")
    with pytest.raises(InputError, match=r"_job.json cannot be read: .*--overwrite"):
        run_job(job, resume=True)


# ---- before work


def test_changed_while_running(job: BatchJob) -> None:
    """A file that is changed after the job was planned is an error that names it."""
    work, shards, _ = prepare(job, resume=False, overwrite=False)
    os.utime(shards[0].file.path, ns=(1, 1))
    with pytest.raises(InputError, match=r"0.jsonl was changed while the job ran"):
        work.compute(shards[0])
    assert parts(Path(job.output)) == []


def _write(directory: Path, name: str, content: str) -> None:
    (directory / name).write_text(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("3.jsonl", '{"body": "x"}\n', r"\S+3.jsonl has no column 'text', the row has body"),
        ("3.csv", "text\nx\n", r"0.jsonl is jsonl, \S+3.csv is csv. Pass a glob"),
        ("3.jsonl.gz", "x", "does not have one of the suffixes"),
    ],
)
def test_invalid_input(job: BatchJob, name: str, content: str, message: str) -> None:
    """An input file that cannot be used is named before work begins, and nothing is written."""
    _write(Path(job.source), name, content)
    with pytest.raises(InputError, match=message):
        run_job(job)
    assert not Path(job.output).exists()


def test_invalid_csv(job: BatchJob, tmp_path: Path) -> None:
    """What is wrong in one of many CSV files is said with its name."""
    source = write_inputs(tmp_path / "csv", suffix="csv")
    _write(source, "3.csv", "text,text\nx,x\n")
    with pytest.raises(InputError, match=r"csv/3.csv: line 1 has the column 'text' twice"):
        run_job(replace(job, source=str(source)))


def test_no_files(job: BatchJob, tmp_path: Path) -> None:
    """A glob without matches is an error."""
    with pytest.raises(InputError, match=r"none\*.jsonl has no files. Pass a directory"):
        run_job(replace(job, source=str(tmp_path / "none*.jsonl")))


def test_output_cannot_be_written(job: BatchJob, tmp_path: Path) -> None:
    """An output below a file is one message, before work begins."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/out.* cannot be used: Not a directory"):
        run_job(replace(job, output=str(tmp_path / "file/out")))


def test_invalid_bundle(job: BatchJob, tmp_path: Path) -> None:
    """A bundle that is missing is one message."""
    with pytest.raises(InputError, match=r"no bundle.json in"):
        run_job(replace(job, annotator=Annotator(bundle=str(tmp_path / "none"))))


def test_workers_in_other_directories(bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths are those of the caller, wherever a worker runs."""
    write_inputs(tmp_path / "in")
    monkeypatch.chdir(Path(bundle).parent)
    job = BatchJob(
        Annotator(bundle=Path(bundle).name), os.path.relpath(tmp_path / "in"), os.path.relpath(tmp_path / "out")
    )

    def engine(work: ShardWork, shards: Sequence[Shard]) -> Iterator[Counts]:
        monkeypatch.chdir("/")
        return map(pickle.loads(pickle.dumps(work)).compute, shards)  # noqa: S301 - as an engine does

    assert run_job(job, engine).rows == 120
    assert parts(tmp_path / "out") != []


def test_two_runs_at_once(job: BatchJob) -> None:
    """A run that resumes another one, which still lives, leaves its files alone; a part that vanishes is an error."""

    def engine(work: ShardWork, shards: Sequence[Shard]) -> Iterator[Counts]:
        with LocalStore().scratch(job.output) as scratch:
            scratch.write_bytes(b"of a live worker")
            with pytest.raises(InterruptedError):
                run_job(job, fail, resume=True)
            assert scratch.exists()
        yield from map(work.compute, shards)

    def fail(*_: Any) -> Any:
        raise InterruptedError

    assert run_job(job, engine) == Counts(120, 24)


def test_two_jobs_at_once(job: BatchJob) -> None:
    """Of two jobs that begin with one new output, one is refused before it writes, although both have seen none."""

    def engine(work: ShardWork, shards: Sequence[Shard]) -> Iterator[Counts]:
        run_job(job)
        before.update(snapshot(Path(job.output)))
        return map(work.compute, shards)

    before: dict[str, bytes] = {}
    with pytest.raises(InputError, match=r"out already has output. Continue it with --resume"):
        run_job(replace(job, annotator=replace(job.annotator, keep=("id",))), engine)
    assert snapshot(Path(job.output)) == before != {}


def test_parts_of_another_job(job: BatchJob) -> None:
    """Where two jobs have written to one output after all, it is not said to be complete."""

    def engine(work: ShardWork, shards: Sequence[Shard]) -> Iterator[Counts]:
        other = replace(work, fingerprint="that of another job")
        yield from map(other.compute, shards[:1])
        yield from map(work.compute, shards)

    with pytest.raises(InputError, match=r"out also has part-000000-\S+, of another job that ran at the same time"):
        run_job(job, engine)
    assert not (Path(job.output) / "_SUCCESS").exists()


def test_finished_by_another_run(job: BatchJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes on if another one has finished its shard, and deleted what it was writing."""
    publish, done = LocalStore.publish, list[Counts]()

    def overtaken(store: LocalStore, local: Path, path: str) -> None:
        if path.endswith(".jsonl") and not done:
            done.append(Counts())
            with monkeypatch.context() as patch:
                patch.setattr(LocalStore, "publish", publish)
                run_job(job, resume=True)
        publish(store, local, path)

    monkeypatch.setattr(LocalStore, "publish", overtaken)
    assert run_job(job) == Counts(120, 24)
    assert [row["id"] for row in read_parts(Path(job.output))] == expected_ids(answered=True)


def test_success_is_deleted_first(job: BatchJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """A complete output from which somebody has deleted parts is not complete until they are computed again."""
    run_job(job)
    parts(Path(job.output))[3].unlink()
    monkeypatch.setattr(ShardWork, "_write", lambda *_: (_ for _ in ()).throw(Interrupted))
    with pytest.raises(Interrupted):
        run_job(job, resume=True)
    assert not (Path(job.output) / "_SUCCESS").exists()


@pytest.mark.parametrize("name", ["part-*.jsonl", "_rejects/*.jsonl", "_shards/*.json"])
@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:5])], ids=["gone", "cut"]
)
def test_damaged_output(job: BatchJob, name: str, damage: Callable[[Path], object]) -> None:
    """A shard whose files are gone or cut is computed again."""
    run_job(job)
    before = snapshot(Path(job.output))
    damage(min(Path(job.output).glob(name)))
    assert run_job(job, resume=True) == Counts(120, 24)
    assert snapshot(Path(job.output)) == before


def test_output_that_the_glob_matches(job: BatchJob, tmp_path: Path) -> None:
    """Files of the output are no input, also if it is behind a link: the job can be resumed and overwritten."""
    (tmp_path / "link").symlink_to(tmp_path)
    within = replace(job, source=f"{tmp_path}/*/*.jsonl", output=f"{tmp_path}/link/answers")
    assert run_job(within).rows == 120
    assert run_job(within, resume=True).rows == 120
    assert run_job(within, overwrite=True).rows == 120
    with pytest.raises(InputError, match="is inside of the input"):
        run_job(replace(job, output=f"{tmp_path}/link/in/out"))


def test_name_that_is_not_utf8(job: BatchJob) -> None:
    """The name of a file may be any bytes; a job over it is resumed."""
    os.rename(Path(job.source) / "0.jsonl", os.fsencode(job.source) + b"/\xff.jsonl")  # noqa: PTH104 - of bytes
    assert run_job(job) == Counts(120, 24)
    assert run_job(job, resume=True) == Counts(120, 24)


def test_paths_and_sizes(job: BatchJob) -> None:
    """Paths may be those of pathlib; a shard has at least one byte."""
    annotator = Annotator(bundle=Path(str(job.annotator.bundle)))  # type: ignore[arg-type]
    assert run_job(BatchJob(annotator, Path(job.source), Path(job.output))).rows == 120  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shard_bytes must be at least 1, got 0"):
        replace(job, shard_bytes=0)


def test_part_that_vanishes(job: BatchJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that somebody deletes while it is written, or later, is not counted as finished."""
    publish = LocalStore.publish

    def delete(store: LocalStore, local: Path, path: str) -> None:
        if path.endswith(".jsonl"):
            local.unlink()
        publish(store, local, path)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "publish", delete)
        with pytest.raises(InputError, match="No such file"):
            run_job(job)
    run_job(job, resume=True)
    before = snapshot(Path(job.output))
    parts(Path(job.output))[3].unlink()
    assert run_job(job, resume=True) == Counts(120, 24)
    assert snapshot(Path(job.output)) == before


def test_directories(job: BatchJob, tmp_path: Path) -> None:
    """Linked directories are read once; an output within the input, and a broken link, are errors; names may have [."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more/a.jsonl").write_text('{"id": 1, "text": "wang"}\n')
    (tmp_path / "in/linked").symlink_to(tmp_path / "more")
    (tmp_path / "more/loop").symlink_to(tmp_path / "in")
    odd = replace(job, output=str(tmp_path / "o[1]"))
    assert run_job(odd).rows == 121
    with pytest.raises(InputError, match="already has output"):
        run_job(odd)
    with pytest.raises(InputError, match="is inside of the input"):
        run_job(replace(job, output=f"{job.source}/out"))
    (tmp_path / "in/broken.jsonl").symlink_to(tmp_path / "absent")
    with pytest.raises(InputError, match=r"in/broken.jsonl cannot be used: No such file"):
        run_job(job)
