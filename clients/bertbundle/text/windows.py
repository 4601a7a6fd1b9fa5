"""Split long texts into overlapping windows of tokens, and merge the outputs of the windows.

The output of a token that is in several windows is taken from one of them: the boundary between two windows is in the
middle of their overlap, where the tokens on both sides have the most context.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Arrays, Encoding
from bertbundle.errors import InputError, ServerError

__all__ = ["Window", "average_outputs", "merge_token_outputs", "select_spans", "split_into_windows", "truncate"]

_Array: TypeAlias = npt.NDArray[Any]
_Mask: TypeAlias = npt.NDArray[np.bool_]
_MIN_ROOM = 4  # minimum number of tokens of the split text in a window


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a text's tokens, sent as one row of a request.

    Attributes:
        start, stop: the window's tokens of the split text, as indices into the whole encoding.
        prefix_length: number of tokens in front of them: [CLS], or [CLS] question [SEP].
        encoding: the tokens to send, including special tokens.
    """

    start: int
    stop: int
    prefix_length: int
    encoding: Encoding


def split_into_windows(
    encoding: Encoding,
    max_length: int,
    *,
    stride: int | None = None,
    sequence_id: int | None = None,
    max_windows: int | None = None,
) -> list[Window]:
    """Split an encoding into windows of at most `max_length` tokens, each with all special tokens.

    Windows start and end between words where possible.

    Args:
        encoding: the tokens of a text or a pair of texts.
        max_length: maximum number of tokens of a window, including special tokens.
        stride: number of tokens that adjacent windows share; None for a quarter of a window's tokens.
        sequence_id: which text of a pair to split, 0 or 1; None for the longer one. The other text is in every window.
        max_windows: about how many windows there may be; None for any number.

    Raises:
        InputError: the other text of the pair leaves no room, the stride is not shorter than a window, or there would
            be too many windows.
    """
    if len(encoding) <= max_length:
        return [Window(0, len(encoding), 0, encoding)]
    text_start, text_end = _text_span(encoding, sequence_id)
    room = max_length - text_start - (len(encoding) - text_end)
    if room < _MIN_ROOM:
        raise InputError(
            f"the other text of the pair leaves room for {max(room, 0)} tokens of {max_length}. Shorten it."
        )
    stride = room // 4 if stride is None else stride
    if not 0 <= stride < room:
        raise InputError(
            f"stride is {stride} tokens, expected 0 to {room - 1}: a window has {room} tokens of the text."
        )
    windows = math.ceil((text_end - text_start - stride) / (room - stride))
    if max_windows is not None and windows > max_windows:
        raise InputError(
            f"there would be {windows} windows, each with {room - stride} further tokens; at most {max_windows} are "
            "accepted. Pass a smaller stride, or shorten the text, or the other text of the pair."
        )
    return [
        Window(start, stop, text_start, encoding.select((0, text_start), (start, stop), (text_end, len(encoding))))
        for start, stop in _window_spans(encoding.word_ids, text_start, text_end, room, stride)
    ]


def _text_span(encoding: Encoding, sequence_id: int | None) -> tuple[int, int]:
    """Return the start and end of the text to split, as indices of tokens."""
    sequence_ids = encoding.sequence_ids
    if sequence_id is None or sequence_id not in sequence_ids:
        sequence_id = max((0, 1), key=sequence_ids.count)
    return _start_and_end(sequence_ids, sequence_id)


def _start_and_end(sequence_ids: Sequence[int | None], sequence_id: int) -> tuple[int, int]:
    return sequence_ids.index(sequence_id), len(sequence_ids) - sequence_ids[::-1].index(sequence_id)


def _window_spans(
    words: Sequence[int | None], text_start: int, text_end: int, room: int, stride: int
) -> Iterable[tuple[int, int]]:
    start = stop = text_start
    while start + room < text_end:
        stop = _word_start(words, start + room, max(start + stride, stop) + 1)
        yield start, stop
        start = _word_start(words, stop - stride, start + 1)
    yield start, text_end


def _word_start(words: Sequence[int | None], token: int, minimum: int) -> int:
    """Return the start of the word that `token` belongs to, or `token` if the word starts before `minimum`."""
    start = token
    while words[start] == words[start - 1] and start > minimum:
        start -= 1
    return token if words[start] == words[start - 1] else max(start, minimum)


def truncate(encoding: Encoding, max_length: int, *, sequence_id: int | None = None) -> Encoding:
    """Truncate the end of a text, keeping all special tokens.

    Args:
        encoding: the tokens of a text or a pair of texts, more than `max_length`.
        max_length: number of tokens to keep, including special tokens.
        sequence_id: which text of a pair to truncate, 0 or 1; None for the longer one, and then both equally.

    Raises:
        InputError: the other text of the pair leaves no room.
    """
    sequence_ids = encoding.sequence_ids
    excess = len(encoding) - max_length
    counts = [sequence_ids.count(0), sequence_ids.count(1)]
    if sequence_id is not None and counts[sequence_id]:
        counts[sequence_id] -= excess
    else:
        counts = _longest_first(counts, sum(counts) - excess)
    if min(counts[0], counts[1] if 1 in sequence_ids else 1) < 1:
        raise InputError(f"the other text of the pair leaves no room in {max_length} tokens. Shorten it.")
    nothing = (len(encoding), len(encoding))
    (start, end), (pair_start, pair_end) = (
        _start_and_end(sequence_ids, text) if text in sequence_ids else nothing for text in (0, 1)
    )
    return encoding.select((0, start + counts[0]), (end, pair_start + counts[1]), (pair_end, len(encoding)))


def _longest_first(counts: list[int], room: int) -> list[int]:
    """Shorten the longer of two texts until both fit; source: LongestFirst of the tokenizers library."""
    shorter = min(*counts, room // 2)
    if counts[0] <= counts[1]:
        return [shorter, min(counts[1], room - shorter)]
    return [min(counts[0], room - shorter), shorter]


# ---- merge the outputs of windows


def merge_token_outputs(
    windows: Sequence[Window], rows: Sequence[Arrays], *, outside: Callable[[Arrays], _Mask] | None = None
) -> Arrays:
    """Merge the outputs of a text's windows, with a value per token, into one row.

    Args:
        windows: the windows of one text, in order.
        rows: the outputs of each window by name; the first axis of each array is tokens.
        outside: returns which tokens of a row are outside any entity. The boundary between two windows then is at the
            nearest token that is outside in both, so that no entity is split.

    Raises:
        ServerError: there are several windows, and an output has fewer values than the window has tokens.
    """
    if len(windows) == 1:
        return rows[0]
    _check_token_axis(windows, rows)
    boundaries = _boundaries(windows, [outside(row) for row in rows] if outside else None)
    return {name: _join(windows, [row[name] for row in rows], boundaries) for name in rows[0]}


def _check_token_axis(windows: Sequence[Window], rows: Sequence[Arrays]) -> None:
    for window, row in zip(windows, rows, strict=True):
        for name, value in row.items():
            if value.ndim < 1 or len(value) < len(window.encoding):
                raise ServerError(
                    f"the server returned shape {list(value.shape)} per row for {name!r}, expected a value for each of "
                    f"{len(window.encoding)} tokens."
                )


def _join(windows: Sequence[Window], values: Sequence[_Array], boundaries: Sequence[int]) -> _Array:
    parts = [
        value[window.prefix_length + start - window.start : window.prefix_length + stop - window.start]
        for window, value, (start, stop) in zip(windows, values, itertools.pairwise(boundaries), strict=True)
    ]
    last, value = windows[-1], values[-1]
    suffix = value[last.prefix_length + last.stop - last.start : len(last.encoding)]
    return np.concatenate([values[0][: windows[0].prefix_length], *parts, suffix])


def _boundaries(windows: Sequence[Window], outside: Sequence[_Mask] | None = None) -> list[int]:
    """Return the first token to take from each window and the end of the last, as indices into the whole encoding."""
    boundaries = [windows[0].start]
    for index, (left, right) in enumerate(itertools.pairwise(windows)):
        overlap = range(max(right.start, boundaries[-1]), left.stop)
        preferred = None
        if outside is not None:
            preferred = _select(left, outside[index], overlap) & _select(right, outside[index + 1], overlap)
        boundaries.append(_boundary(left, overlap, preferred))
    return [*boundaries, windows[-1].stop]


def _select(window: Window, values: _Mask, tokens: range) -> _Mask:
    shift = window.prefix_length - window.start
    return values[shift + tokens.start : shift + tokens.stop]


def _boundary(left: Window, overlap: range, preferred: _Mask | None) -> int:
    """Return the token nearest to the middle of the overlap: a preferred word start, else a word start, else any."""
    if not overlap:
        return left.stop
    words, shift = left.encoding.word_ids, left.prefix_length - left.start
    middle = (overlap.start + overlap.stop) // 2
    nearest = sorted(overlap, key=lambda token: abs(token - middle))
    word_starts = [token for token in nearest if words[token + shift] != words[token + shift - 1]]
    best = [token for token in word_starts if preferred is not None and preferred[token - overlap.start]]
    return (best or word_starts or nearest)[0]


def select_spans(windows: Sequence[Window], spans: Sequence[Sequence[tuple[int, int]]]) -> list[list[int]]:
    """Return which spans of each window to take, so that each span of the text is taken once.

    A span that touches an end of a window within the text may be cut, so it is not taken from there. Of the windows
    that have a span whole, the one that its first token is taken from is chosen, as in `merge_token_outputs`, else the
    nearest.

    Args:
        windows: the windows of one text, in order.
        spans: first and last token of each span of each window, as indices into the window's encoding.

    Returns:
        For each window, the indices of its spans.
    """
    boundaries = _boundaries(windows)
    selected = []
    for number, (window, of_window) in enumerate(zip(windows, spans, strict=True)):
        shift = window.start - window.prefix_length
        owners = [_owner(windows, boundaries, first + shift, last + shift) for first, last in of_window]
        selected.append([index for index, owner in enumerate(owners) if owner == number])
    return selected


def _owner(windows: Sequence[Window], boundaries: Sequence[int], first: int, last: int) -> int | None:
    """Return the number of the window to take a span from, if any; tokens are indices into the whole encoding."""
    text_start, text_stop = windows[0].start, windows[-1].stop
    whole = [
        number
        for number, window in enumerate(windows)
        if (window.start < first or window.start == text_start) and (last < window.stop - 1 or window.stop == text_stop)
    ]
    return next((number for number in whole if first < boundaries[number + 1]), whole[-1] if whole else None)


def average_outputs(windows: Sequence[Window], rows: Sequence[Arrays]) -> Arrays:
    """Average the outputs of a text's windows, weighted by the number of tokens taken from each window."""
    if len(windows) == 1:
        return rows[0]
    weights = np.diff(_boundaries(windows))
    return {name: np.average([row[name] for row in rows], axis=0, weights=weights) for name in rows[0]}
