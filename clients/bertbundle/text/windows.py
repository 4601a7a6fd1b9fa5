"""Long texts as overlapping windows of tokens, and the windows' answers as one.

Of a token that several windows hold, the answer is taken from one of them: windows hand over in the middle of what
they share, where both sides of a token have the most context.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays, Encoding
from bertbundle.errors import InputError, ServerError

__all__ = ["Window", "check_tokens", "mean", "split", "stitch", "truncate"]

_Array: TypeAlias = npt.NDArray[Any]
Quiet: TypeAlias = Callable[[Arrays], npt.NDArray[np.bool_]]
"""Tells of a window's answer at which tokens there is nothing to cut apart."""
_LEAST_ROOM = 4  # tokens of the text beside a question; fewer say nothing


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a text's tokens that is one row of a request.

    Attributes:
        start, stop: its tokens of the whole encoding, special tokens aside.
        head: number of tokens before those: [CLS], or [CLS] question [SEP].
        encoding: what is sent.
    """

    start: int
    stop: int
    head: int
    encoding: Encoding


def split(encoding: Encoding, max_length: int, *, stride: int | None = None, side: int | None = None) -> list[Window]:
    """Split an encoding into windows of at most `max_length` tokens, each with all special tokens.

    Words stay whole where they can.

    Args:
        encoding: a text or a pair of texts.
        max_length: tokens of a window, special tokens included.
        stride: tokens that neighbours share; None for a quarter of the tokens that a window holds.
        side: text of a pair that is split, the other one is in every window; None for the longer one.

    Raises:
        InputError: the other text leaves no room, or a stride of a window's size or more.
    """
    if len(encoding) <= max_length:
        return [Window(0, len(encoding), 0, encoding)]
    first, last = _body(encoding, side)
    room = max_length - first - (len(encoding) - last)
    if room < _LEAST_ROOM:
        raise InputError(
            f"the other text of the pair leaves room for {max(room, 0)} tokens of {max_length}. Shorten it."
        )
    stride = room // 4 if stride is None else stride
    if not 0 <= stride < room:
        raise InputError(
            f"stride is {stride} tokens, expected 0 to {room - 1}: a window holds {room} tokens of the text."
        )
    return [
        Window(start, stop, first, encoding.select((0, first), (start, stop), (last, len(encoding))))
        for start, stop in _steps(encoding.word_ids, first, last, room, stride)
    ]


def _body(encoding: Encoding, side: int | None) -> tuple[int, int]:
    """Return where the tokens of the text that is split begin and end."""
    sides = encoding.sequence_ids
    if side is None or side not in sides:
        side = max((0, 1), key=sides.count)
    first = sides.index(side)
    return first, len(sides) - sides[::-1].index(side)


def _steps(words: Sequence[int | None], first: int, last: int, room: int, stride: int) -> Iterable[tuple[int, int]]:
    start = stop = first
    while start + room < last:
        stop = _word_start(words, start + room, max(start + stride, stop) + 1)
        yield start, stop
        start = _word_start(words, stop - stride, start + 1)
    yield start, last


def _word_start(words: Sequence[int | None], place: int, least: int) -> int:
    """Return where the word of a token begins; the token itself if that is before `least`."""
    found = place
    while words[found] == words[found - 1] and found > least:
        found -= 1
    return place if words[found] == words[found - 1] else max(found, least)


def truncate(encoding: Encoding, max_length: int, *, side: int | None = None) -> Encoding:
    """Keep the beginning: of a pair, cut `side`, or if it is None the longer text, then both alike."""
    sides = encoding.sequence_ids
    over = len(encoding) - max_length
    counts = [sides.count(0), sides.count(1)]
    if side is not None and counts[side]:
        counts[side] -= over
    else:
        counts = _longest_first(counts, sum(counts) - over)
    if min(counts[0], counts[1] if 1 in sides else 1) < 1:
        raise InputError(f"the other text of the pair leaves no room in {max_length} tokens. Shorten it.")
    starts = [sides.index(each) if each in sides else len(sides) for each in (0, 1)]
    ends = [len(sides) - sides[::-1].index(each) if each in sides else len(sides) for each in (0, 1)]
    spans = [(0, starts[0] + counts[0]), (ends[0], starts[1] + counts[1]), (ends[1], len(sides))]
    return encoding.select(*spans)


def _longest_first(counts: list[int], room: int) -> list[int]:
    """Cut the longer of two until both fit; source: LongestFirst of the tokenizers library."""
    short = min(*counts, room // 2)
    if counts[0] <= counts[1]:
        return [short, min(counts[1], room - short)]
    return [min(counts[0], room - short), short]


# ---- many answers as one


def check_tokens(windows: Sequence[Window], rows: Sequence[Arrays]) -> None:
    """Refuse answers of several windows that have no value for each token."""
    if len(windows) == 1:
        return
    for window, row in zip(windows, rows, strict=True):
        for name, value in row.items():
            if value.ndim < 1 or len(value) < len(window.encoding):
                raise ServerError(f"the server answered {list(value.shape)} per row for {name!r} of long texts.")


def stitch(windows: Sequence[Window], rows: Sequence[Arrays], *, quiet: Quiet | None = None) -> Arrays:
    """Make one row of values per token of the windows' rows: each token's from the window with most context for it.

    Args:
        windows: of one text, in order.
        rows: for each of them its values by output name, first axis tokens.
        quiet: moves the place where windows hand over to the nearest token at which both of them are quiet.
    """
    if len(windows) == 1:
        return rows[0]
    seams = _seams(windows, [quiet(row) for row in rows] if quiet else None)
    return {name: _join(windows, [row[name] for row in rows], seams) for name in rows[0]}


def _join(windows: Sequence[Window], values: Sequence[_Array], seams: Sequence[int]) -> _Array:
    parts = [
        value[window.head + begin - window.start : window.head + end - window.start]
        for window, value, begin, end in zip(windows, values, seams[:-1], seams[1:], strict=True)
    ]
    last, value = windows[-1], values[-1]
    tail = value[last.head + last.stop - last.start : len(last.encoding)]
    return np.concatenate([values[0][: windows[0].head], *parts, tail])


def _seams(windows: Sequence[Window], quiet: Sequence[_Array] | None = None) -> list[int]:
    """Return where each window's share begins, and the last one ends, as tokens of the whole encoding."""
    seams = [windows[0].start]
    for index, (before, after) in enumerate(itertools.pairwise(windows)):
        places = range(max(after.start, seams[-1]), before.stop)
        calm = (
            [_at(window, quiet[index + step], places) for step, window in enumerate((before, after))] if quiet else []
        )
        seams.append(_seam(before, places, [a and b for a, b in zip(*calm, strict=True)] if calm else []))
    return [*seams, windows[-1].stop]


def _at(window: Window, values: _Array, places: range) -> list[bool]:
    start = window.head - window.start
    return [bool(value) for value in values[start + places.start : start + places.stop]]


def _seam(before: Window, places: range, calm: Sequence[bool]) -> int:
    if not places:
        return before.stop
    words, shift = before.encoding.word_ids, before.head - before.start
    middle = (places.start + places.stop) // 2
    nearest = sorted(places, key=lambda place: abs(place - middle))
    whole = [place for place in nearest if words[place + shift] != words[place + shift - 1]]
    quiet = [place for place in whole if calm and calm[place - places.start]]
    return (quiet or whole or nearest)[0]


def mean(windows: Sequence[Window], rows: Sequence[Arrays]) -> Arrays:
    """Make one row of the windows' rows: the mean, weighted by the tokens that each window adds to the text."""
    if len(windows) == 1:
        return rows[0]
    weights = np.diff(_seams(windows))
    return {name: np.average([row[name] for row in rows], axis=0, weights=weights) for name in rows[0]}
