"""Write input files for `bertbundle bulk`, and read its output."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from optional import require_package

__all__ = ["entity_texts", "read_json_lines", "write_rows"]


def read_json_lines(path: Path) -> list[Any]:
    """Read a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def entity_texts(rows: list[Any]) -> list[list[str]]:
    """Return the texts of the entities of each row."""
    return [[entity["text"] for entity in row["entities"]] for row in rows]


def write_rows(path: Path, texts: list[str]) -> Path:
    """Write rows with the columns `id` and `text` in the format of the suffix; a txt file has no ids."""
    rows = [{"id": index, "text": text} for index, text in enumerate(texts)]
    if path.suffix == ".parquet":
        pyarrow = require_package("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=10)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["id", "text"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = texts if path.suffix == ".txt" else map(json.dumps, rows)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
