"""Splitting long texts into windows, truncation, and merging the outputs of the windows."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbundle import Client, InputError, ServerError, TextTooLong
from bertbundle.contract.types import Encoding
from bertbundle.text.windows import average_outputs, merge_token_outputs, select_spans, split_into_windows, truncate
from fakes import FakeTransport, Model, make_manifest


def encoding_of(words: list[int], question: int = 0) -> Encoding:
    """Return [CLS] (question [SEP]) words [SEP]; `words` has the number of tokens of each word."""
    word_ids = [index for index, size in enumerate(words) for _ in range(size)]
    sequence_ids: list[int | None] = [
        None,
        *([0] * question + [None] if question else []),
        *[1 if question else 0] * len(word_ids),
    ]
    columns: list[Any] = [None, *([*range(question), None] if question else []), *word_ids, None]
    count = len(columns)
    return Encoding(
        tuple(range(count)), (0,) * count, ("",) * count, ((0, 0),) * count, tuple(columns), (*sequence_ids, None)
    )


texts = st.builds(encoding_of, st.lists(st.integers(1, 7), min_size=1, max_size=60), st.integers(0, 5))


@given(encoding=texts, max_length=st.integers(12, 40), stride=st.none() | st.integers(0, 3))
def test_split_and_merge(encoding: Encoding, max_length: int, stride: int | None) -> None:
    """Windows fit the length and have all special tokens, and merging them restores the value of each token."""
    windows = split_into_windows(encoding, max_length, stride=stride, sequence_id=1)
    assert all(len(window.encoding) <= max_length for window in windows)
    rows = [{"ids": np.array([*window.encoding.ids, *[-1] * 50])} for window in windows]
    assert merge_token_outputs(windows, rows)["ids"][: len(encoding)].tolist() == list(encoding.ids)


@given(encoding=texts, max_length=st.integers(12, 40))
def test_adjacent_windows_overlap(encoding: Encoding, max_length: int) -> None:
    """Adjacent windows overlap by at least a quarter of a window's tokens of the text."""
    windows = split_into_windows(encoding, max_length, sequence_id=1)
    for left, right in itertools.pairwise(windows):
        assert left.start < right.start < left.stop < right.stop
        assert left.stop - right.start >= (max_length - len(encoding) + windows[-1].stop - windows[0].start) // 4


def test_words_are_not_split() -> None:
    """Windows start and end between words where possible."""
    encoding = encoding_of([3] * 10)
    for window in split_into_windows(encoding, 12, stride=3):
        assert window.encoding.word_ids.count(window.encoding.word_ids[1]) == 3


@pytest.mark.parametrize("stride", [-1, 10, 99])
def test_invalid_stride(stride: int) -> None:
    """A negative stride, or one as long as a window, is an error that states the limits."""
    with pytest.raises(InputError, match=f"stride is {stride} tokens, expected 0 to 9"):
        split_into_windows(encoding_of([1] * 30), 12, stride=stride)


@pytest.mark.parametrize(("stride", "windows"), [(0, 3), (5, 5), (9, 21)])
def test_too_many_windows(stride: int, windows: int) -> None:
    """A limit on the number of windows is kept before they are made."""
    encoding = encoding_of([1] * 30)
    assert len(split_into_windows(encoding, 12, stride=stride, max_windows=windows)) == windows
    with pytest.raises(InputError, match=f"there would be {windows} windows"):
        split_into_windows(encoding, 12, stride=stride, max_windows=windows - 1)


def test_question_that_leaves_no_room() -> None:
    """A question that fills the window is an error, both for windows and for truncation."""
    with pytest.raises(InputError, match="leaves room for 1 tokens of 12"):
        split_into_windows(encoding_of([1] * 30, question=8), 12, sequence_id=1)
    with pytest.raises(InputError, match="leaves no room in 10 tokens"):
        truncate(encoding_of([1] * 30, question=8), 10, sequence_id=1)


def test_boundary_in_the_middle_of_the_overlap() -> None:
    """A token that is in two windows is taken from the one with more context for it."""
    windows = split_into_windows(encoding_of([1] * 16), 12, stride=4)
    rows = [{"row": np.full(12, index)} for index in range(2)]
    assert [window.start for window in windows] == [1, 7]
    assert merge_token_outputs(windows, rows)["row"].tolist() == [0, *[0] * 8, *[1] * 8, 1]


def test_boundary_outside_entities() -> None:
    """The boundary is at the nearest token that is outside any entity in both windows, so no entity is split."""
    windows = split_into_windows(encoding_of([1] * 16), 12, stride=4)
    rows = [{"row": np.full(12, index)} for index in range(2)]
    outside = np.ones(12, bool)
    outside[[1, 3, 9]] = False  # token 9 of the text is in an entity in both windows
    boundary = merge_token_outputs(windows, rows, outside=lambda _: outside)["row"].tolist().index(1)
    assert boundary in (8, 10)


@given(data=st.data(), encoding=texts, max_length=st.integers(14, 40), stride=st.none() | st.integers(0, 5))
def test_spans_of_windows(data: st.DataObject, encoding: Encoding, max_length: int, stride: int | None) -> None:
    """Each span that a window has whole is taken once; what the end of a window left of a span is not."""
    windows = split_into_windows(encoding, max_length, stride=stride, sequence_id=1)
    start, stop = windows[0].start, windows[-1].stop
    token = st.integers(start, stop - 1)
    drawn = data.draw(st.lists(st.tuples(token, token), max_size=9))
    spans = sorted({(min(pair), max(pair)) for pair in drawn})
    found = []
    for window in windows:  # the model takes the rest of a span that the window cut for a span
        shift = window.prefix_length - window.start
        parts = {(max(first, window.start), min(last, window.stop - 1)) for first, last in spans}
        found.append([(first + shift, last + shift) for first, last in sorted(parts) if first <= last])
    taken = [
        (first + window.start - window.prefix_length, last + window.start - window.prefix_length)
        for window, selected, parts in zip(windows, select_spans(windows, found), found, strict=True)
        for first, last in (parts[index] for index in selected)
    ]
    whole = [
        (first, last)
        for first, last in spans
        if any(
            (item.start < first or item.start == start) and (last < item.stop - 1 or item.stop == stop)
            for item in windows
        )
    ]
    assert sorted(taken) == whole


@pytest.mark.parametrize(
    ("first", "last", "chosen"),
    [
        pytest.param(5, 6, 0, id="before_the_boundary"),
        pytest.param(9, 9, 1, id="behind_the_boundary"),
        pytest.param(8, 10, 1, id="reaches_the_end_of_the_first_window"),
        pytest.param(7, 9, 0, id="begins_where_the_second_window_begins"),
        pytest.param(7, 10, None, id="may_be_cut_in_both"),
        pytest.param(6, 12, None, id="longer_than_the_overlap"),
        pytest.param(19, 20, 2, id="end_of_the_text"),
    ],
)
def test_window_of_a_span(first: int, last: int, chosen: int | None) -> None:
    """A span is taken from the window of its first token, or from its neighbor if its own window may have cut it."""
    windows = split_into_windows(encoding_of([1] * 20), 12, stride=4)
    assert [(window.start, window.stop) for window in windows] == [(1, 11), (7, 17), (13, 21)]
    local = [[(first - window.start + 1, last - window.start + 1)] for window in windows]
    assert select_spans(windows, local) == [[0] if number == chosen else [] for number in range(3)]


def test_average_is_weighted() -> None:
    """The average of windows counts each token once, even if it is in two windows."""
    windows = split_into_windows(encoding_of([1] * 12), 12, stride=4)
    assert [(window.start, window.stop) for window in windows] == [(1, 11), (7, 13)]
    (value,) = [average_outputs(windows, [{"v": np.array([0.0])}, {"v": np.array([12.0])}])["v"].tolist()]
    assert value == [4.0]  # 8 tokens of the first, 4 of the second


@given(encoding=texts, length=st.integers(12, 30), sequence_id=st.none() | st.just(1))
def test_truncate(encoding: Encoding, length: int, sequence_id: int | None) -> None:
    """A truncated encoding has the exact length, all special tokens, and the beginning of each text."""
    if len(encoding) <= length:
        return
    truncated = truncate(encoding, length, sequence_id=sequence_id)
    assert len(truncated) == length
    assert truncated.word_ids.count(None) == encoding.word_ids.count(None)
    for text in (0, 1):
        kept = [i for i, s in zip(truncated.ids, truncated.sequence_ids, strict=True) if s == text]
        whole = [i for i, s in zip(encoding.ids, encoding.sequence_ids, strict=True) if s == text]
        assert kept == whole[: len(kept)]


# ---- through the client


def make_client(task: str = "token-classification", **overrides: Any) -> Client:
    """Return a client of a model with a length of 12 tokens; `overrides` replace outputs."""
    model = Model(make_manifest(task), overrides=overrides)
    return Client("nowhere:1", "tiny", transport=FakeTransport(model))


@pytest.mark.parametrize("stride", [None, 0, 1, 5])
@pytest.mark.parametrize("shift", range(8))
def test_entities_at_boundaries(shift: int, stride: int | None) -> None:
    """Each entity of a long text is found exactly once and is not split, wherever windows end."""
    text = "a " * shift + "in Berlin 王建国 " * 9
    entities = make_client().entities(text, stride=stride)
    assert [entity.text for entity in entities] == ["Berlin", "王建国"] * 9
    assert all(text[entity.start : entity.end] == entity.text for entity in entities)


def test_word_longer_than_a_window() -> None:
    """A word with more tokens than a window is split."""
    text = "王建国 " + "aaaaaaaaaa" * 5 + " Berlin"
    assert [entity.text for entity in make_client().entities(text)] == ["王建国", "Berlin"]


@pytest.mark.parametrize(
    ("task", "method"),
    [
        pytest.param("text-classification", "classify", id="classify"),
        pytest.param("feature-extraction", "embed", id="embed"),
        pytest.param("regression", "regress", id="regress"),
    ],
)
def test_long_text_is_an_error_for_text_outputs(task: str, method: str) -> None:
    """For tasks with one output per text, a text that is too long is an error unless `truncation` is passed."""
    with pytest.raises(TextTooLong, match="pass truncation='window'"):
        getattr(make_client(task), method)("wang " * 20)


def test_averages_of_windows() -> None:
    """With windows, scores and embeddings are averages weighted by the tokens taken from each window."""
    text = "wang " * 7 + "lives " * 8
    result = make_client("text-classification").classify(text, truncation="window", stride=4)
    assert result.scores == pytest.approx({"perhaps": 0.75, "yes": 0.5, "no": 0.25})
    vector = make_client("feature-extraction").embed(text, truncation="window", stride=4)
    assert vector.tolist() == pytest.approx([4, (12 * 9 + 11 * 6) / 15], abs=0.2)


def test_average_of_normalized_embeddings() -> None:
    """The average of normalized embeddings is normalized again."""
    transport = FakeTransport(Model(make_manifest("feature-extraction", normalized=True)))
    vector = Client("nowhere:1", "tiny", transport=transport).embed("wang " * 40, truncation="window")
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert vector.dtype == np.float32


def test_answers_of_long_contexts() -> None:
    """An answer is found anywhere in a long context, with offsets into the original context."""
    client = make_client("question-answering")
    for before in range(0, 40, 3):
        context = "a " * before + "in Berlin " + "b " * 20
        answer = client.answer("wang", context)
        assert (answer.text, answer.start) == ("Berlin", 2 * before + 3)
    truncated = client.answer("wang", "a " * 30 + "Berlin", truncation="truncate")
    assert truncated.text != "Berlin"


def test_masks_of_long_texts() -> None:
    """Each mask of a long text is filled exactly once."""
    masks = make_client("fill-mask").fill_mask("a b [MASK] c " * 12)
    assert [fills[0].start for fills in masks] == [4 + 13 * index for index in range(12)]


def test_outputs_with_too_few_values() -> None:
    """An output with fewer values than a window has tokens is a ServerError."""
    client = make_client(label_ids=lambda inputs: np.zeros((len(inputs["input_ids"]), 2), np.int32))
    with pytest.raises(ServerError, match="for 'label_ids', expected a value for each of 12 tokens"):
        client.entities("wang " * 40)
