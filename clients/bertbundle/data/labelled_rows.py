"""Convert rows of JSONL, CSV or Parquet to labelled texts."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bertbundle._shared.validation import short_repr
from bertbundle.contract.labels import OUTSIDE
from bertbundle.data.columns import TaggedText, tagged_dataset
from bertbundle.data.examples import DataOptions, Dataset, DataTask, Example, Span
from bertbundle.data.labels import rename_label
from bertbundle.data.places import Place, Places
from bertbundle.data.row_files import Row
from bertbundle.data.squad import check_start
from bertbundle.errors import InputError

__all__ = ["dataset_of_rows"]

_ENTITIES = ("entities", "spans", "labels", "label")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the parts of an example are, by the default names of their columns; the first that a file has is used."""

    text: tuple[str, ...] = ("text", "sentence1", "sentence")
    pair: tuple[str, ...] = ("pair", "text_pair", "sentence2")
    label: tuple[str, ...] = ("label", "labels")
    needs_pair: bool = False


_LAYOUTS: Mapping[str, _Layout] = {
    "token-classification": _Layout(("text", "tokens", "words"), (), (*_ENTITIES, "tags", "ner_tags")),
    "span-classification": _Layout(("text", "tokens", "words"), (), (*_ENTITIES, "tags", "ner_tags")),
    "text-classification": _Layout(),
    "regression": _Layout(label=("label", "score", "value")),
    "feature-extraction": _Layout(label=("label", "score", "value"), needs_pair=True),
    "question-answering": _Layout(("question",), ("context",), ("answers", "answer", "label"), needs_pair=True),
    "fill-mask": _Layout(label=("label", "labels", "masks", "tokens")),
}


def dataset_of_rows(places: Places, rows: Iterable[tuple[int, Row]], task: DataTask, options: DataOptions) -> Dataset:
    """Convert rows to a dataset.

    Args:
        places: their file, and where they are in it, for messages.
        rows: the rows, each with its number in the file.
        task: what the model takes.
        options: how to read the file.

    Raises:
        InputError: a row is malformed, lacks a column, or has a label that the model does not have.
    """
    path, reader = places.path, _RowReader(places, task, options)
    found = [(number, reader.read(number, row)) for number, row in rows]
    if not found:
        raise InputError(f"{path} has no rows. Pass a file with texts.")
    labelled = reader.columns[2] is not None
    if isinstance(found[0][1][0], list):
        tagged = [
            TaggedText(tokens, tags or [OUTSIDE] * len(tokens), [number] * len(tokens))
            for number, (tokens, tags) in found
        ]
        return replace(tagged_dataset(places, tagged, task, options), labelled=labelled)
    if options.scheme is not None or options.units != "auto":
        flag = "--units" if options.scheme is None else "--scheme"
        raise InputError(f"{path} has texts, not tokens with tags: {flag} has no effect on it. Omit it.")
    examples = tuple(Example(text, gold, number) for number, (text, gold) in found)
    return Dataset(
        places,
        examples,
        labelled=labelled,
        version_2=any(example.gold == () for example in examples) and task.name == "question-answering",
    )


class _RowReader:
    """Reads the text and the labels of each row of one file.

    Attributes:
        columns: the columns of the text, of the second text of a pair and of the labels, known from the first row; None
            for one that the file does not have.
    """

    def __init__(self, places: Places, task: DataTask, options: DataOptions) -> None:
        self._places, self._task, self._options = places, task, options
        self.columns: tuple[str | None, str | None, str | None] = (None, None, None)
        self._tokenized: bool | None = None

    def read(self, number: int, row: Row) -> tuple[Any, Any]:
        """Return the text and the labels of a row."""
        place = self._places.at(number)
        if row.error:
            raise InputError(f"{place} is {row.error}. Correct it.")
        if self.columns == (None, None, None):
            self.columns = self._find_columns(row.columns, place)
        text, pair, label = (self._value(row, name, place) for name in self.columns)
        self._tokenized = isinstance(text, list) if self._tokenized is None else self._tokenized
        if self._tokenized != isinstance(text, list):
            raise InputError(f"{place}: the text is {short_repr(text)}, unlike that of the first row. Correct it.")
        if isinstance(text, list):
            return self._tagged(text, label, place)
        parts = [text] if self.columns[1] is None else [text, pair]
        if not all(isinstance(part, str) and part.strip() for part in parts):
            wrong = next(part for part in parts if not isinstance(part, str) or not part.strip())
            raise InputError(f"{place}: the text is {short_repr(wrong)}, expected a non-empty text. Correct it.")
        whole = text if self.columns[1] is None else (text, pair)
        gold = None if self.columns[2] is None else _GOLD[self._task.name](label, whole, self._task, self._label(place))
        return whole, gold

    def _label(self, place: Place) -> _LabelPlace:
        return _LabelPlace(place, self._options.rename)

    def _find_columns(self, columns: Mapping[str, Any], place: Place) -> tuple[str | None, str | None, str | None]:
        layout, chosen = _LAYOUTS[self._task.name], self._options
        text = self._find(columns, chosen.text, layout.text, place, "--text")
        single = chosen.ignore_labels and self._task.name == "feature-extraction"  # a similarity needs two texts
        pair = self._find(
            columns, chosen.pair, layout.pair, place, "--pair" if layout.needs_pair and not single else ""
        )
        if chosen.ignore_labels:
            return text, pair, None
        label = self._find(columns, chosen.label, layout.label, place, "--label" if chosen.need_labels else "")
        return text, pair, label

    def _find(
        self, columns: Mapping[str, Any], chosen: str | None, defaults: Sequence[str], place: Place, flag: str
    ) -> str | None:
        """Return the chosen column, or the first default one that the row has; None if there is none and no flag."""
        wanted = (chosen,) if chosen is not None else defaults
        found = next((name for name in wanted if name in columns), None)
        if found is None and (flag or chosen is not None):
            raise InputError(
                f"{place} has no column {' or '.join(map(repr, wanted))}, which {self._task.name} needs; it has "
                f"{', '.join(map(str, columns)) or 'none'}. Name the column{f' with {flag}' if flag else ''}"
                f"{_separator_advice(columns)}."
            )
        return found

    def _value(self, row: Row, name: str | None, place: Place) -> Any:
        if name is not None and name not in row.columns:
            raise InputError(f"{place} has no column {name!r}, unlike the first one. Correct it.")
        return None if name is None else row.columns[name]

    def _tagged(self, tokens: list[Any], tags: Any, place: Place) -> tuple[list[str], list[str] | None]:
        if not tokens or not all(isinstance(token, str) for token in tokens):
            raise InputError(f"{place}: the tokens are {short_repr(tokens)}, expected texts. Correct them.")
        if self.columns[2] is None:
            return tokens, None
        if not isinstance(tags, list) or len(tags) != len(tokens):
            count = len(tags) if isinstance(tags, list) else short_repr(tags)
            raise InputError(f"{place} has {len(tokens)} tokens and {count} tags. Give each token one tag.")
        return tokens, [str(tag) for tag in tags]


def _separator_advice(columns: Mapping[str, Any]) -> str:
    """Return what to do about a CSV file whose columns are not separated by commas."""
    name = next(iter(columns)) if len(columns) == 1 else ""
    found = next((separator for separator in ";\t|" if separator in name), "")
    return f", and separate columns by commas, not by {found!r}" if found else ""


@dataclass(frozen=True, slots=True)
class _LabelPlace:
    """Where a label is, for messages, and how labels are renamed."""

    place: Place
    rename: Mapping[str, str]

    def error(self, problem: str) -> InputError:
        return InputError(f"{self.place}: {problem}. Correct it.")


# ---- the labels of one row


def _from_json(value: Any) -> Any:
    """Return a value that a cell of a CSV file has as JSON."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _read_spans(value: Any, text: Any, task: DataTask, place: _LabelPlace) -> tuple[Span, ...]:
    entities = _from_json(value)
    if not isinstance(entities, list):
        raise place.error(f"the entities are {short_repr(value)}, expected a list of objects with start, end and label")
    spans = [_read_span(entity, text, task, place) for entity in entities]
    return tuple(span for span in spans if span.label)


def _read_span(entity: Any, text: str, task: DataTask, place: _LabelPlace) -> Span:
    if isinstance(entity, dict):
        start, end = entity.get("start"), entity.get("end")
        label = entity.get("label", entity.get("type"))
    else:
        start, end, label = (list(entity) + [None] * 3)[:3] if isinstance(entity, list | tuple) else (None,) * 3
    if not (type(start) is type(end) is int and isinstance(label, str)):  # a bool is no offset
        raise place.error(f"entity {short_repr(entity)} has not start, end (numbers) and label (a text)")
    if not 0 <= start < end <= len(text):
        raise place.error(f"entity {short_repr(entity)} is outside of the text, which has {len(text)} characters")
    stated = entity.get("text") if isinstance(entity, dict) else None
    if stated is not None and stated != text[start:end]:
        raise place.error(f"entity {short_repr(stated)} is not at {start}, where the text has {text[start:end]!r}")
    return Span(rename_label(label, task, place.rename, place.place), start, end)


def _read_classes(value: Any, _text: Any, task: DataTask, place: _LabelPlace) -> tuple[str, ...]:
    found = _from_json(value)
    many = found if isinstance(found, list) else [found]
    if not task.multi_label and len(many) != 1:
        raise place.error(f"the text has {len(many)} labels, the model is not multi-label")
    if not all(isinstance(label, str | int) for label in many) or (not task.multi_label and many == [""]):
        raise place.error(f"the label is {short_repr(value)}, expected a text")
    names = [str(label) for label in many if label != ""]
    labels = [rename_label(name, task, place.rename, place.place) for name in names]
    if not task.multi_label and labels == [""]:
        raise InputError(f"{place.place}: its label is left out: remove the row.")
    return tuple(dict.fromkeys(label for label in labels if label))


def _read_number(value: Any, _text: Any, _task: DataTask, place: _LabelPlace) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not math.isfinite(number):
        raise place.error(f"the label is {short_repr(value)}, expected a number")
    return number


def _read_answers(value: Any, texts: Any, _task: DataTask, place: _LabelPlace) -> tuple[str, ...]:
    found = _from_json(value)
    if isinstance(found, dict):  # as in the data sets of Hugging Face
        found = [{"text": text, "answer_start": start} for text, start in _in_columns(found)]
    many = [found] if isinstance(found, str) else [] if found is None else found
    answers = [item if isinstance(item, dict) else {"text": item} for item in many] if isinstance(many, list) else [{}]
    if not all(isinstance(answer.get("text"), str) for answer in answers):
        raise place.error(f"the answers are {short_repr(value)}, expected a text or a list of texts")
    try:
        for answer in answers:
            check_start(texts[1], answer)
    except ValueError as error:
        raise place.error(str(error)) from error
    return tuple(dict.fromkeys(answer["text"] for answer in answers if answer["text"]))


def _in_columns(answers: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Return the text and the start of each answer; the start may be missing."""
    columns = [answers.get(name) for name in ("text", "answer_start")]
    texts, starts = (column if isinstance(column, list) else [column] for column in columns)
    return list(itertools.zip_longest(texts, starts if columns[1] is not None else ()))


def _read_masks(value: Any, text: Any, task: DataTask, place: _LabelPlace) -> tuple[str, ...]:
    found = _from_json(value)
    tokens = found if isinstance(found, list) else [found]
    masks = text.count(task.mask_token)
    if not all(isinstance(token, str) and token for token in tokens) or len(tokens) != masks or not masks:
        raise place.error(
            f"the label is {short_repr(value)} for a text with {masks} times {task.mask_token!r}; expected a token for "
            "each mask"
        )
    return tuple(tokens)


_GOLD: Mapping[str, Callable[[Any, Any, DataTask, _LabelPlace], Any]] = {
    "token-classification": _read_spans,
    "span-classification": _read_spans,
    "text-classification": _read_classes,
    "regression": _read_number,
    "feature-extraction": _read_number,
    "question-answering": _read_answers,
    "fill-mask": _read_masks,
}
