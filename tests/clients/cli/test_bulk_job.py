"""`bertbundle bulk --input` and `--bundle`: the same answers as for a file, and flags that contradict each other."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from batch_files import make_bundle, parts, read_rejects, write_inputs
from bertbundle._shared.commands import ROWS_REJECTED, USER_ERROR
from bertbundle.cli.main import main
from optional import require_package


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of the small model."""
    return make_bundle(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv"])
def test_same_rows_as_a_file(bundle: str, tmp_path: Path, suffix: str, ner: list[str]) -> None:
    """The parts of a file's shards, one after the other, are what `bulk FILE` writes; in a process or on a server."""
    source = write_inputs(tmp_path / "in", files=1, suffix=suffix) / f"0.{suffix}"
    assert main(["bulk", *ner, str(source), "--output", str(tmp_path / "whole")]) == ROWS_REJECTED
    for number, model in enumerate((["--bundle", bundle, "--cores", "1"], ner)):
        output = tmp_path / f"out{number}"
        flags = ["--input", str(source), "--output", str(output), "--shard-bytes", "300"]
        assert main(["bulk", *model, *flags]) == ROWS_REJECTED
        assert b"".join(path.read_bytes() for path in parts(output)) == (tmp_path / "whole").read_bytes()
        rejects = [json.loads(line) for line in (tmp_path / "whole.rejects").read_text().splitlines()]
        assert [row["input"] for row in read_rejects(output)] == [row["input"] for row in rejects]


def test_bundle_for_a_file(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A single file is processed in this process with --bundle, without a server."""
    (tmp_path / "in.txt").write_text("wang\n")
    assert main(["bulk", "--bundle", bundle, str(tmp_path / "in.txt")]) == 0
    assert json.loads(capsys.readouterr().out)["entities"][0]["text"] == "wang"


def test_resume_and_report(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A complete job that is resumed computes nothing and ends with the same code; --json reports the counts."""
    source = write_inputs(tmp_path / "in")
    command = ["bulk", "--bundle", bundle, "--input", str(source), "--output", str(tmp_path / "out"), "--json"]
    for flags in ([], ["--resume"]):
        assert main([*command, *flags]) == ROWS_REJECTED
        report = json.loads(capsys.readouterr().err)
        assert (report["rows"], report["answered"], report["rejected"]) == (120, 96, 24)
    assert report["rows_per_second"] == 0


def test_full_disk(bundle: str, tmp_path: Path) -> None:
    """If a part cannot be written, the message names the file that was read and the output, and --resume continues."""
    source = write_inputs(tmp_path / "in", files=1, rows=200)
    command = [sys.executable, "-m", "bertbundle", "bulk", "--bundle", bundle, "--input", str(source)]
    command += ["--output", str(tmp_path / "out")]
    limited = ["sh", "-c", 'ulimit -f 4; exec "$@"', "sh", *command]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == USER_ERROR
    assert re.search(r"0.jsonl \[0:\d+\] to \S+/out: File too large. Finished shards are kept. Cont", done.stderr)
    assert subprocess.run([*command, "--resume"], capture_output=True, check=False).returncode == ROWS_REJECTED


def test_full_disk_of_one_file(bundle: str, tmp_path: Path) -> None:
    """If the output of a single file cannot be written, the message names it, and --resume writes each row once."""
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("wang lives\n" * 3000)
    command = [sys.executable, "-m", "bertbundle", "bulk", "--bundle", bundle, str(source), "--output", str(output)]
    limited = ["sh", "-c", 'ulimit -f 300; exec "$@"', "sh", *command]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    message = f"{output} cannot be written: File too large. Finished rows are kept. Continue with --resume.\n"
    assert (done.returncode, done.stderr) == (USER_ERROR, f"bertbundle: {message}")
    assert subprocess.run([*command, "--resume"], capture_output=True, check=False).returncode == 0
    assert output.read_text().count("\n") == 3000


def test_devices(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A device as output or rejects has no progress file, and is no file that exists; a full one is named."""
    (tmp_path / "in.txt").write_text("wang\n\n")
    command = ["bulk", "--bundle", bundle, str(tmp_path / "in.txt"), "--output"]
    assert main([*command, "/dev/null"]) == ROWS_REJECTED
    assert "row 1: the text is empty" in capsys.readouterr().err
    assert main([*command, "/dev/null", "--rejects", "/dev/null"]) == ROWS_REJECTED
    assert main([*command, "/dev/full"]) == USER_ERROR
    assert capsys.readouterr().err.endswith("bertbundle: /dev/full cannot be written: No space left on device.\n")
    assert not list(Path("/dev").glob("*.progress*"))


def test_keep_with_spaces(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Spaces around the names of --keep do not belong to them."""
    (tmp_path / "in.csv").write_text("id,text,note\n7,wang,x\n")
    assert main(["bulk", "--bundle", bundle, str(tmp_path / "in.csv"), "--keep", "id, text"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"id", "text", "entities"}


@pytest.mark.parametrize("rows", [["wang", "berlin"], ["wang", "", "berlin", ""]])
def test_parquet_of_all_types(bundle: str, tmp_path: Path, rows: list[str]) -> None:
    """Columns that Arrow cannot filter, or Python not represent, are copied and reported; no row is lost."""
    pa, parquet = require_package("pyarrow"), require_package("pyarrow.parquet")
    columns = {
        "text": pa.array(rows, pa.string_view()),
        "view": pa.array([b"\xff"] * len(rows), pa.binary_view()),
        "date": pa.array([3_000_000] * len(rows), pa.date32()),
        "zone": pa.array([1] * len(rows), pa.timestamp("us", "Nowhere/X")),
        "not_utf8": pa.array([b"a\xff"] * len(rows)).view(pa.string()),
        "nan": [float("nan")] * len(rows),
    }
    source, output = tmp_path / "in.parquet", tmp_path / "out"
    parquet.write_table(pa.table(columns), source)
    assert main(["bulk", "--bundle", bundle, "--input", str(source), "--output", str(output)]) == (
        3 if "" in rows else 0
    )
    (part,) = map(parquet.read_table, parts(output, "parquet"))
    answered = [index for index, text in enumerate(rows) if text]
    kept = part.select([*columns])
    expected = pa.concat_tables([pa.table(columns).slice(index, 1) for index in answered])
    assert [column.to_string() for column in kept.combine_chunks()] == [
        column.to_string() for column in expected.combine_chunks()
    ]
    raw = {"text": "", "view": "/w==", "date": "10183-09-21", "zone": "1970-01-01 00:00:00.000001Z"}
    rejects = read_rejects(output)
    assert [row["input"] for row in rejects] == [raw | {"not_utf8": "a\\xff", "nan": "NaN"}] * rows.count("")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "m", "--bundle", "b", "in.txt"], "pass either --model and --server, or --bundle"),
        (["in.txt"], "pass either --model and --server, or --bundle"),
        (["--bundle", "b", "--tls", "in.txt"], "--tls: for servers only, not with --bundle"),
        (["--bundle", "b", "--concurrency", "7", "in.txt"], "--concurrency: for servers only, not with --bundle"),
        (["--model", "m", "--cores", "2", "in.txt"], "--cores needs --bundle"),
        (["--bundle", "b", "--engine", "ray", "in.txt"], "--engine and --shard-bytes need --input"),
        (["--bundle", "b", "--workers", "2", "in.txt"], "--workers: for --engine ray only"),
        (["--bundle", "b", "--input", "d", "--output", "o", "--workers", "2"], "--workers: for --engine ray only"),
        (["--bundle", "b", "in.txt", "--output", "no/o.jsonl"], "no/o.jsonl cannot be written: no is no directory"),
        (["--bundle", "b", "in.txt", "--output", "/"], "/ is a directory, expected a file. Pass the input as --input"),
        (["--bundle", "b", "in.txt", "--rejects", "/"], "/ is a directory, expected a file. Pass the input as --input"),
        (["--bundle", "b", "in.txt", "--output", "s3://b/o"], "s3://b/o is a URI, expected the path of a file. Pass"),
        (["--bundle", "b", "s3://b/in.txt"], "s3://b/in.txt is a URI, expected the path of a file. Pass it as --input"),
        (["--bundle", "b", "/"], "/ is a directory, expected a file. Pass it as --input"),
        (["--bundle", "b", "in.txt", "--output", "/dev/null", "--resume"], "--resume needs an output file"),
        (["--bundle", "b", "--input", "d", "in.txt"], "in.txt and --input d: pass one of them"),
        (["--bundle", "b", "--input", "d"], "--input needs a directory for the output"),
        (["--bundle", "b", "in.txt", "--output", ""], "--output is empty"),
        (["--bundle", "b", "--input", "d", "--output", "o", "--rejects", "r"], "--rejects does not go with --input"),
        (
            ["--bundle", "b", "--input", "d", "--output", "o"],
            "/b or its version directories. Pass the directory of a bundle",
        ),
    ],
)
def test_contradicting_flags(flags: list[str], message: str, fail: Callable[..., str]) -> None:
    """Flags that contradict each other are one message."""
    assert message in fail("bulk", *flags)


def test_flags_that_do_not_apply(bundle: str, tmp_path: Path, fail: Callable[..., str]) -> None:
    """A flag that the model's task does not have is refused by its name."""
    source = write_inputs(tmp_path / "in")
    command = ["bulk", "--bundle", bundle, "--input", str(source), "--output", str(tmp_path / "out")]
    assert "which takes single texts: omit --pair" in fail(*command, "--pair", "b")
    assert "Omit --head" in fail(*command, "--head", "b")
    assert "omit --allow-no-answer" in fail(*command, "--allow-no-answer")
    assert not (tmp_path / "out").exists()
