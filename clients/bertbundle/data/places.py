"""Say where in a file something is: the file, the line, and the number of the row or the question."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Place", "Places", "position_in_json"]

_DECODER = json.JSONDecoder()
_BETWEEN_VALUES = re.compile(r"[\s,:]*")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the texts of a file are, for messages.

    Attributes:
        path: the file.
        unit: what a text's number counts: "line", "row" or "question".
        position: returns the line and the column of a number, if numbers are not lines but the file has lines.

    >>> str(Places("a.conll").at(3))
    'a.conll, line 3'
    """

    path: str
    unit: str = "line"
    position: Callable[[int], str] | None = None

    def at(self, number: int) -> Place:
        """Return the place with a number."""
        return Place(self, number)


@dataclass(frozen=True, slots=True)
class Place:
    """One place in a file. Its position is computed only for a message: it takes as long as to parse the file."""

    places: Places
    number: int

    def __str__(self) -> str:
        path, unit, position = self.places.path, self.places.unit, self.places.position
        return f"{path}, {position(self.number)}, {unit} {self.number}" if position else f"{path}, {unit} {self.number}"


def position_in_json(text: str, path: Sequence[str | int]) -> str:
    r"""Return line and column of a value, from 1, in valid JSON.

    Args:
        text: the JSON.
        path: keys and indices from the outermost value to this one; what the JSON does not have is ignored.

    >>> position_in_json('{"a":\n [5, 6]}', ["a", 1])
    'line 2 column 6'
    """
    offset = _skip(text, 0)
    for part in path:
        values = dict(_values(text, offset)) if text[offset] in "[{" else {}
        offset = values.get(part, offset)  # of equal keys, the last one, as json.loads does
    return f"line {text.count(chr(10), 0, offset) + 1} column {offset - text.rfind(chr(10), 0, offset)}"


def _values(text: str, start: int) -> Iterator[tuple[str | int, int]]:
    """Yield the key or index and the offset of each value of the object or list that begins at an offset."""
    end = start + 1
    for index in itertools.count():
        begin, key = _skip(text, end), index
        if text[begin] in "]}":
            return
        if text[start] == "{":
            key, end = _DECODER.raw_decode(text, begin)
            begin = _skip(text, end)
        yield key, begin
        _, end = _DECODER.raw_decode(text, begin)


def _skip(text: str, offset: int) -> int:
    """Return the offset of the next value, key or closing bracket."""
    found = _BETWEEN_VALUES.match(text, offset)
    return found.end() if found else offset
