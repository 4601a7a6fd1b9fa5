"""Input and output directories of `bertbundle bulk --input`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bulk_files import read_json_lines, write_rows
from fakes import write_bundle

__all__ = ["counts", "make_bundle", "parts", "read_parts", "read_rejects", "snapshot", "texts_of", "write_inputs"]


def make_bundle(base: Path) -> str:
    """Write the small model as a bundle and return its directory."""
    write_bundle(base / "tiny")
    return str(base / "tiny")


def texts_of(number: int, rows: int) -> list[str]:
    """Return the texts of a file; every fifth is empty, so that it has no answer."""
    return [f"wang lives {'a ' * (index % 3)}in berlin" if (index + number) % 5 else "" for index in range(rows)]


def write_inputs(directory: Path, *, files: int = 3, rows: int = 40, suffix: str = "jsonl") -> Path:
    """Write files with the columns `id`, unique within a file, and `text`, and return the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        write_rows(directory / f"{number}.{suffix}", texts_of(number, rows))
    return directory


def parts(output: Path, suffix: str = "jsonl") -> list[Path]:
    """Return the part files in order."""
    return sorted(output.glob(f"part-*.{suffix}"))


def read_parts(output: Path) -> list[dict[str, Any]]:
    """Return the rows of all part files, in order."""
    return [row for path in parts(output) for row in read_json_lines(path)]


def read_rejects(output: Path) -> list[dict[str, Any]]:
    """Return the rows without an answer, in order of their shards."""
    return [row for path in sorted((output / "_rejects").glob("*.jsonl")) for row in read_json_lines(path)]


def snapshot(output: Path) -> dict[str, bytes]:
    """Return the content of each file of an output."""
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def counts(output: Path) -> dict[str, int]:
    """Return what `_SUCCESS` says."""
    found: dict[str, int] = json.loads((output / "_SUCCESS").read_text(encoding="utf-8"))
    return found
