"""Read a data file: CoNLL columns, txt, JSONL, CSV, Parquet or SQuAD's JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertbundle.contract.labels import parse_labels
from bertbundle.data.columns import looks_like_columns, read_columns
from bertbundle.data.examples import DataOptions, Dataset, DataTask, Example
from bertbundle.data.labelled_rows import dataset_of_rows
from bertbundle.data.places import Places, position_in_json
from bertbundle.data.row_files import FILE_FORMATS, Row
from bertbundle.data.squad import looks_like_squad, squad_dataset
from bertbundle.data.text_files import read_bytes, read_text
from bertbundle.errors import InputError

__all__ = ["FORMATS", "read_dataset"]

_TAGGED = ("token-classification", "span-classification")
_SUFFIXES = {
    **dict.fromkeys(("conll", "iob", "iob2", "bio", "bioes", "bmes", "bilou"), "conll"),
    "txt": "txt",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "csv": "csv",
    "parquet": "parquet",
    "json": "json",
}


def read_dataset(path: str, task: DataTask, options: DataOptions = DataOptions()) -> Dataset:  # noqa: B008 - frozen
    """Read a data file.

    A byte order mark, CRLF and empty lines are accepted.

    Args:
        path: the file.
        task: what the model takes; see `data_task`.
        options: how to read the file.

    Raises:
        InputError: the file cannot be read, is malformed, is for another task, or has labels that the model does not
            have. The message has the file and the line.
    """
    if task.name not in _READABLE:
        raise InputError(f"the model is for {task.name}, expected one of {', '.join(_READABLE)}. Upgrade bertbundle.")
    chosen = options.format or _detect_format(path, task)
    _check_options(chosen, task, options)
    rename = _Renames(options.rename)
    dataset = FORMATS[chosen](path, task, replace(options, rename=rename))
    if options.ignore_labels:
        return replace(dataset, labelled=False)
    if options.need_labels and not dataset.labelled:
        raise InputError(
            f"{path} has no labels. Pass a file with labels, or --unlabelled for a report without metrics."
        )
    notes = [f"--rename {old} has no effect: {path} has no label {old!r}." for old in rename if old not in rename.used]
    dataset = replace(dataset, notes=(*dataset.notes, *notes))
    return replace(dataset, left_out=_left_out(dataset, task, options)) if dataset.labelled else dataset


class _Renames(dict[str, str]):
    """The mapping of --rename, which knows which of its labels the file has."""

    def __init__(self, rename: Mapping[str, str]) -> None:
        super().__init__(rename)
        self.used: set[str] = set()

    def get(self, key: str, default: Any = None, /) -> Any:
        """Return what replaces a label of the file."""
        self.used.add(key)
        return super().get(key, default)


def _check_options(chosen: str, task: DataTask, options: DataOptions) -> None:
    """Check that each option has an effect.

    Raises:
        InputError: one has not.
    """
    tagged, texts = task.name in _TAGGED, chosen == "txt"
    options_and_whether_they_apply = (
        ("--strict", options.strict, tagged),
        ("--scheme", options.scheme is not None, tagged and not texts),
        ("--units", options.units != "auto", tagged and not texts),
        ("--rename", bool(options.rename), (tagged or task.name == "text-classification") and not texts),
        ("--text", options.text is not None, not texts),
        ("--label", options.label is not None, not texts),
        ("--pair", options.pair is not None, chosen not in ("txt", "conll")),
    )
    for flag, given, applies in options_and_whether_they_apply:
        if given and not applies:
            raise InputError(f"{flag} has no effect on {chosen} data for {task.name}. Omit it.")


def _left_out(dataset: Dataset, task: DataTask, options: DataOptions) -> tuple[str, ...]:
    """Return the labels that --rename leaves out, also as whole tags, unless texts have them by another renaming."""
    dropped = [old for old, new in options.rename.items() if not new]
    if task.name in _TAGGED:
        dropped += [tag.type for old in dropped for tag in parse_labels([old], "IO")]
    golds = (item for example in dataset.examples for item in example.gold) if dropped else ()
    used = {getattr(item, "label", item) for item in golds}
    return tuple(label for label in dict.fromkeys(dropped) if label and label not in used)


_READABLE = (*_TAGGED, "text-classification", "regression", "feature-extraction", "question-answering", "fill-mask")


def _detect_format(path: str, task: DataTask) -> str:
    """Return the format of the last suffix that is known; a .txt file of tagged tokens is recognized by its content."""
    known = [_SUFFIXES[suffix] for part in reversed(Path(path).suffixes) if (suffix := part[1:].lower()) in _SUFFIXES]
    found = next((name for name in known if name != "txt"), known[0] if known else None)
    if found in (None, "txt") and task.name in _TAGGED and looks_like_columns(read_text(path)):
        return "conll"
    if found is None:
        raise InputError(f"{path} does not have one of the suffixes {', '.join(_SUFFIXES)}. Pass --format.")
    return found


# ---- formats


def _read_txt(path: str, task: DataTask, options: DataOptions) -> Dataset:
    del options
    if task.name == "question-answering":
        raise InputError(f"{path} has single texts, the model is for {task.name}. Pass questions with contexts.")
    lines = [(number, line) for number, line in enumerate(read_text(path).split("\n"), start=1) if line.strip()]
    return Dataset(Places(path), tuple(Example(line, None, number) for number, line in lines), labelled=False)


def _read_rows(file_format: str) -> Callable[[str, DataTask, DataOptions], Dataset]:
    def read(path: str, task: DataTask, options: DataOptions) -> Dataset:
        content = io.BytesIO(read_text(path, keep_line_ends=True).encode())
        rows = _in_file(path, lambda: list(FILE_FORMATS[file_format].read(content)))
        numbered = [(row.line, row) for row in rows if not _is_blank(row)]
        return dataset_of_rows(Places(path), numbered, task, options)

    return read


def _is_blank(row: Row) -> bool:
    return bool(row.error) and not (row.raw.strip() if isinstance(row.raw, str) else row.raw)


def _read_parquet(path: str, task: DataTask, options: DataOptions) -> Dataset:
    content = io.BytesIO(read_bytes(path))
    rows = _in_file(path, lambda: list(FILE_FORMATS["parquet"].read(content)))
    return dataset_of_rows(Places(path, "row"), [(row.number + 1, row) for row in rows], task, options)


def _in_file(path: str, read: Callable[[], list[Row]]) -> list[Row]:
    """Read rows; put the name of the file in front of a message."""
    try:
        return read()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read_json(path: str, task: DataTask, options: DataOptions) -> Dataset:
    """Read SQuAD's JSON, or a list of objects."""
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}. If each line is JSON, pass --format jsonl.") from error
    if looks_like_squad(value):
        if given := [f"--{name}" for name in ("text", "pair", "label") if getattr(options, name) is not None]:
            raise InputError(f"{' and '.join(given)} have no effect on SQuAD's JSON. Omit them.")
        return squad_dataset(path, text, value, task)
    if isinstance(value, list):
        places = Places(path, "row", lambda number: position_in_json(text, [number - 1]))
        return dataset_of_rows(places, _rows(value), task, options)
    raise InputError(f"{path} is neither SQuAD's JSON nor a list of objects. Correct it.")


def _rows(values: list[Any]) -> Iterator[tuple[int, Row]]:
    for index, value in enumerate(values):
        is_object = isinstance(value, dict)
        error = "" if is_object else f"not an object but {type(value).__name__}"
        yield index + 1, Row(index, value if is_object else {}, error)


FORMATS: Mapping[str, Callable[[str, DataTask, DataOptions], Dataset]] = {
    "conll": read_columns,
    "txt": _read_txt,
    "jsonl": _read_rows("jsonl"),
    "csv": _read_rows("csv"),
    "parquet": _read_parquet,
    "json": _read_json,
}
"""How to read each format, by its name."""
