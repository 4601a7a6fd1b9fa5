"""Shards: wherever a file is cut, each row is in exactly one of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_files import make_bundle
from bertbundle import InputError
from bertbundle.batch import Annotator
from bertbundle.batch.shards import Shard, format_of_files, plan_shards, read_shard, read_shard_batches
from bertbundle.batch.store import LocalStore
from bertbundle.data.row_files import RowReader
from optional import require_package

STORE = LocalStore()


@pytest.fixture(scope="module")
def annotator(tmp_path_factory: pytest.TempPathFactory) -> Annotator:
    """An annotator of the small model."""
    return Annotator(bundle=make_bundle(tmp_path_factory.mktemp("models")))


def plan(path: Path, annotator: Annotator, size: int) -> tuple[str, list[Shard]]:
    """Return the format and the shards of a file or directory."""
    files = STORE.find(str(path))
    file_format = format_of_files(str(path), files, None)
    return file_format, plan_shards(STORE, files, file_format, annotator, size)


NOT_NULL = [1]
"""The values of a column that cannot be null."""
LINES = st.lists(st.sampled_from(["", "a", "\ufeff", "王在北京", "x" * 40, "a\r", "\u2028 b"]), max_size=12)


@given(lines=LINES, end=st.booleans(), size=st.integers(1, 60))
def test_lines(lines: list[str], end: bool, size: int, annotator: Annotator, tmp_path_factory: Any) -> None:
    """The rows of all shards of a txt file are the lines of the whole file, at their positions in it."""
    path = tmp_path_factory.mktemp("lines") / "in.txt"
    content = "\n".join(lines) + ("\n" if end and lines else "")
    path.write_bytes(content.encode())
    file_format, shards = plan(path, annotator, size)
    rows = [row for shard in shards for row in read_shard(STORE, shard, file_format)]
    assert [row.columns for row in rows] == [row.columns for row in RowReader(str(path), "txt")]
    starts = [row.number for row in rows]
    assert all(number == 0 or content.encode()[number - 1 : number] == b"\n" for number in starts)
    assert starts == sorted(set(starts))


def test_csv_is_not_cut(annotator: Annotator, tmp_path: Path) -> None:
    """A CSV file is one shard, as a quoted cell may have line breaks."""
    path = tmp_path / "in.csv"
    path.write_text('text\n"wang\nlives"\nberlin\n')
    file_format, shards = plan(path, annotator, 4)
    rows = [row for shard in shards for row in read_shard(STORE, shard, file_format)]
    assert [row.columns["text"] for row in rows] == ["wang\nlives", "berlin"]
    assert len(shards) == 1


@pytest.mark.parametrize("size", [1, 500, 1 << 20])
def test_row_groups(annotator: Annotator, tmp_path: Path, size: int) -> None:
    """The shards of a Parquet file have all of its row groups once, and know the number of their first row."""
    pa = require_package("pyarrow")
    parquet = require_package("pyarrow.parquet")
    table = pa.table({"id": range(50), "text": ["wang"] * 50})
    parquet.write_table(table, tmp_path / "in.parquet", row_group_size=7)
    _, shards = plan(tmp_path / "in.parquet", annotator, size)
    found = [(shard.first_row, batch) for shard in shards for batch in read_shard_batches(STORE, shard)]
    assert pa.Table.from_batches([batch for _, batch in found]) == table
    firsts = {shard.first_row: next(read_shard_batches(STORE, shard)).column("id")[0].as_py() for shard in shards}
    assert all(first == value for first, value in firsts.items())
    assert (len(shards) == 8) if size == 1 else (len(shards) < 8)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a"], "id": ["x"]}, r"b.parquet has id: string, \S+a.parquet has id: int64"),
        (
            {"text": ["a"], "id": NOT_NULL},
            r"b.parquet has id: int64 not null, \S+a.parquet has id: int64\. Give all files",
        ),
        ({"text": ["a"]}, r"b.parquet has no further column, \S+a.parquet has id: int64"),
    ],
)
def test_schema_that_changes(annotator: Annotator, tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    """A Parquet file with another schema than the first is named before work begins."""
    pa = require_package("pyarrow")
    parquet = require_package("pyarrow.parquet")
    parquet.write_table(pa.table({"text": ["a"], "id": [1]}), tmp_path / "a.parquet")
    nullable = columns.get("id") is not NOT_NULL
    schema = pa.schema(
        [pa.field(name, pa.array(values).type, nullable or name != "id") for name, values in columns.items()]
    )
    parquet.write_table(pa.table(columns, schema), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=message):
        plan(tmp_path, annotator, 100)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"body": ["a"]}, "no column 'text', there are body: correct --text "),
        ({"text": [1]}, "column 'text' has the type int64, expected strings"),
        ({"text": ["a"], "other": ["b"]}, "no column 'id', there are text, other: correct --keep "),
        ({"text": ["a"], "entities": [1]}, "column 'entities' has the name of a result"),
    ],
)
def test_schema_that_cannot_be_used(annotator: Annotator, tmp_path: Path, columns: Any, message: str) -> None:
    """A Parquet file without texts, or with a column of the results' name, is named before work begins."""
    pa = require_package("pyarrow")
    parquet = require_package("pyarrow.parquet")
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    keep = ("id",) if "other" in columns else None
    with pytest.raises(InputError, match=f"a.parquet: {message}"):
        plan(tmp_path, replace(annotator, keep=keep), 100)


def test_invalid_parquet(annotator: Annotator, tmp_path: Path) -> None:
    """A file that is not Parquet is named."""
    require_package("pyarrow")
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(InputError, match=r"a.parquet cannot be read as Parquet"):
        plan(tmp_path, annotator, 100)


def test_hidden_files_are_no_data(annotator: Annotator, tmp_path: Path) -> None:
    """Files of a directory that begin with _ or ., or are in such a directory, are left out, as by Spark."""
    for name in ("a.txt", "_b.txt", ".c.txt", "_d/e.txt", "f/g.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("wang\n")
    _, shards = plan(tmp_path, annotator, 100)
    assert [Path(shard.file.path).relative_to(tmp_path).as_posix() for shard in shards] == ["a.txt", "f/g.txt"]


def test_partitions(annotator: Annotator, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Directories that are columns for Spark are read, and a warning says that they are no columns here."""
    (tmp_path / "date=2026-01-01").mkdir()
    (tmp_path / "date=2026-01-01/a.txt").write_text("wang\n")
    _, shards = plan(tmp_path, annotator, 100)
    assert len(shards) == 1
    assert "directories such as 'date=2026-01-01' are no columns" in caplog.text
    caplog.clear()
    plan(tmp_path / "date=2026-01-01", annotator, 100)
    assert caplog.text == ""


def test_changed_while_read(annotator: Annotator, tmp_path: Path) -> None:
    """A file that is replaced while its shard is read is an error at the end of the shard."""
    (tmp_path / "a.txt").write_text("wang\nberlin\n")
    _, (shard,) = plan(tmp_path, annotator, 100)
    rows = read_shard(STORE, shard, "txt")
    next(rows)
    (tmp_path / "a.txt").write_text("li\n")
    with pytest.raises(InputError, match=r"a.txt was changed while the job ran"):
        list(rows)
