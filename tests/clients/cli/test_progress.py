"""The progress of a bulk run, as it is saved and reported."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bertbundle._shared.commands import ROWS_REJECTED
from bertbundle.cli import bulk as bulk_module
from bertbundle.cli.bulk import BulkJob, BulkRun
from bulk_files import write_rows

Run = Callable[..., tuple[int, str, str]]


class Terminal(io.StringIO):
    """A terminal that records what is written."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def reports(source: str, file_format: str) -> list[str]:
    """Run a job in chunks of 10 rows, 1 second each, and return the reports, without control sequences."""
    terminal, clock = Terminal(), [0.0]

    def answer(texts: Any) -> Any:
        clock[0] += 1
        return [{} for _ in texts]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk_module, "ROWS_PER_CHUNK", 10)
        patch.setattr("time.monotonic", lambda: clock[0])
        BulkRun(BulkJob(source, file_format, "-"), answer, resume=False, overwrite=False, log=terminal).run()
    return terminal.getvalue().rstrip("\n").split("\r\x1b[K")[1:]


@pytest.mark.parametrize("file_format", ["txt", "jsonl", "csv", "parquet"])
def test_report(tmp_path: Path, file_format: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """On a terminal each chunk reports rows, rate and the time left, which ends at zero, in any file format."""
    lines = reports(str(write_rows(tmp_path / f"in.{file_format}", ["Wang lives " * 200] * 40)), file_format)
    assert [line.split(",")[0] for line in lines] == ["10 rows", "20 rows", "30 rows", "40 rows", "40 rows"]
    left = [re.search(r"10 rows/s, 0:00:(\d\d) left", line) for line in lines[:-1]]
    assert [int(match[1]) for match in left if match] == pytest.approx([3, 2, 1, 0], abs=1)
    assert lines[-1] == "40 rows, 0 rejected, 10 rows/s"
    assert capsysbinary.readouterr().out.count(b"\n") == 40


def test_report_for_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """For standard input, whose size is unknown, the report has no time left."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Wang\n" * 20)))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO()))
    assert reports("-", "txt")[0] == "10 rows, 0 rejected, 10 rows/s"


def test_summary_as_json(bulk: Run, tmp_path: Path) -> None:
    """With --json the final report is JSON."""
    code, _, err = bulk(write_rows(tmp_path / "in.txt", ["Wang", ""]), "--output", tmp_path / "out.jsonl", "--json")
    summary = json.loads(err)
    assert (code, summary["rows"], summary["answered"], summary["rejected"]) == (ROWS_REJECTED, 2, 1, 1)


def test_output_shorter_than_saved_progress(bulk: Run, tmp_path: Path) -> None:
    """A run whose output was lost is not resumed."""
    source, output = write_rows(tmp_path / "in.txt", ["Wang"]), tmp_path / "out.jsonl"
    job = {**asdict(BulkJob(str(source), "txt", str(output), f"{output}.rejects")), "source_size": 5}
    job["kind"] = job.pop("format")
    del job["model"]
    progress = {"rows": 1, "answered": 1, "rejected": 0, "sizes": {str(output): 99}, "job": job}
    Path(f"{output}.progress").write_text(json.dumps(progress))
    code, _, err = bulk(source, "--output", output, "--resume")
    assert code == 2
    assert "is shorter than its progress file says" in err


def test_progress_of_another_job(bulk: Run, tmp_path: Path) -> None:
    """A run is not resumed with other options, or from a malformed progress file."""
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("Wang\n")
    (tmp_path / "out.jsonl.progress").write_text('{"job": {"source": "other"}}')
    assert "another job: its source is 'other', not" in bulk(source, "--output", output, "--resume")[2]
    (tmp_path / "out.jsonl.progress").write_text("{")
    assert "cannot be read" in bulk(source, "--output", output, "--resume")[2]
