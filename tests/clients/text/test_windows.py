"""Long texts as windows: how they are split, and how the windows' answers become one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbundle import Client, InputError, ServerError, TextTooLong
from bertbundle.contract.types import Encoding
from bertbundle.text.windows import average_outputs, merge_token_outputs, split_into_windows, truncate


def encoding_of(words: list[int], question: int = 0) -> Encoding:
    """Return [CLS] (question [SEP]) words [SEP]; `words` has the number of tokens of each word."""
    word_ids = [index for index, size in enumerate(words) for _ in range(size)]
    sides: list[int | None] = [
        None,
        *([0] * question + [None] if question else []),
        *[1 if question else 0] * len(word_ids),
    ]
    columns: list[Any] = [None, *([*range(question), None] if question else []), *word_ids, None]
    count = len(columns)
    return Encoding(tuple(range(count)), (0,) * count, ("",) * count, ((0, 0),) * count, tuple(columns), (*sides, None))


texts = st.builds(encoding_of, st.lists(st.integers(1, 7), min_size=1, max_size=60), st.integers(0, 5))


@given(encoding=texts, max_length=st.integers(12, 40), stride=st.none() | st.integers(0, 3))
def test_every_token_is_answered_once(encoding: Encoding, max_length: int, stride: int | None) -> None:
    """Whatever is split, windows fit, hold all special tokens, and stitched together give each token's own value."""
    windows = split_into_windows(encoding, max_length, stride=stride, sequence_id=1)
    assert all(len(window.encoding) <= max_length for window in windows)
    rows = [{"ids": np.array([*window.encoding.ids, *[-1] * 50])} for window in windows]
    assert merge_token_outputs(windows, rows)["ids"][: len(encoding)].tolist() == list(encoding.ids)


@given(encoding=texts, max_length=st.integers(12, 40))
def test_neighbours_share_tokens(encoding: Encoding, max_length: int) -> None:
    """Each window begins before the one before ends, by a quarter of the room; none begins inside a word that fits."""
    windows = split_into_windows(encoding, max_length, sequence_id=1)
    for before, after in itertools.pairwise(windows):
        assert before.start < after.start < before.stop < after.stop
        assert before.stop - after.start >= (max_length - len(encoding) + windows[-1].stop - windows[0].start) // 4


def test_words_stay_whole() -> None:
    """A window ends and begins between words where it can."""
    encoding = encoding_of([3] * 10)
    for window in split_into_windows(encoding, 12, stride=3):
        assert window.encoding.word_ids.count(window.encoding.word_ids[1]) == 3


@pytest.mark.parametrize("stride", [-1, 10, 99])
def test_stride_must_leave_a_step(stride: int) -> None:
    """A stride that would never get on is an error that states the limits."""
    with pytest.raises(InputError, match=f"stride is {stride} tokens, expected 0 to 9"):
        split_into_windows(encoding_of([1] * 30), 12, stride=stride)


def test_a_question_that_leaves_no_room() -> None:
    """A question as long as a window is an error, whatever is asked for."""
    with pytest.raises(InputError, match="leaves room for 1 tokens of 12"):
        split_into_windows(encoding_of([1] * 30, question=8), 12, sequence_id=1)
    with pytest.raises(InputError, match="leaves no room in 10 tokens"):
        truncate(encoding_of([1] * 30, question=8), 10, sequence_id=1)


def test_windows_hand_over_in_the_middle() -> None:
    """A token that two windows hold is taken from the one with more context for it."""
    windows = split_into_windows(encoding_of([1] * 16), 12, stride=4)
    rows = [{"row": np.full(12, index)} for index in range(2)]
    assert [window.start for window in windows] == [1, 7]
    assert merge_token_outputs(windows, rows)["row"].tolist() == [0, *[0] * 8, *[1] * 8, 1]


def test_windows_hand_over_where_it_is_quiet() -> None:
    """No entity is cut: windows hand over at the nearest token that both of them find outside."""
    windows = split_into_windows(encoding_of([1] * 16), 12, stride=4)
    rows = [{"row": np.full(12, index)} for index in range(2)]
    quiet = np.ones(12, bool)
    quiet[[1, 3, 9]] = False  # token 9 of the text is busy in both, so is 8 + 1
    seam = merge_token_outputs(windows, rows, outside=lambda _: quiet)["row"].tolist().index(1)
    assert seam in (8, 10)


def test_mean_is_weighted() -> None:
    """The mean of windows counts each token once, however often it was read."""
    windows = split_into_windows(encoding_of([1] * 12), 12, stride=4)
    assert [(window.start, window.stop) for window in windows] == [(1, 11), (7, 13)]
    (value,) = [average_outputs(windows, [{"v": np.array([0.0])}, {"v": np.array([12.0])}])["v"].tolist()]
    assert value == [4.0]  # 8 tokens of the first, 4 of the second


@given(encoding=texts, length=st.integers(12, 30), sequence_id=st.none() | st.just(1))
def test_truncate(encoding: Encoding, length: int, sequence_id: int | None) -> None:
    """What is cut has exactly the length, all special tokens, and the beginning of each text."""
    if len(encoding) <= length:
        return
    cut = truncate(encoding, length, sequence_id=sequence_id)
    assert len(cut) == length
    assert cut.word_ids.count(None) == encoding.word_ids.count(None)
    for each in (0, 1):
        kept = [i for i, s in zip(cut.ids, cut.sequence_ids, strict=True) if s == each]
        whole = [i for i, s in zip(encoding.ids, encoding.sequence_ids, strict=True) if s == each]
        assert kept == whole[: len(kept)]


# ---- through the client


def ask(fakes: Any, task: str = "token-classification", **change: Any) -> Client:
    """Return a client of a model of 12 tokens; `change` replaces outputs."""
    model = fakes.Model(fakes.make_manifest(task), change=change)
    return Client("nowhere:1", "tiny", transport=fakes.FakeTransport(model))


@pytest.mark.parametrize("stride", [None, 0, 1, 5])
@pytest.mark.parametrize("shift", range(8))
def test_entities_on_borders_come_once(fakes: Any, shift: int, stride: int | None) -> None:
    """Wherever windows end, each entity of a long text comes out once and whole, at its place."""
    text = "a " * shift + "in Berlin 王建国 " * 9
    entities = ask(fakes).entities(text, stride=stride)
    assert [entity.text for entity in entities] == ["Berlin", "王建国"] * 9
    assert all(text[entity.start : entity.end] == entity.text for entity in entities)


def test_a_word_longer_than_a_window(fakes: Any) -> None:
    """A word of more tokens than a window holds is answered all the same."""
    text = "王建国 " + "aaaaaaaaaa" * 5 + " Berlin"
    assert [entity.text for entity in ask(fakes).entities(text)] == ["王建国", "Berlin"]


@pytest.mark.parametrize(
    ("task", "method"),
    [
        pytest.param("text-classification", "classify", id="classify"),
        pytest.param("feature-extraction", "embed", id="embed"),
        pytest.param("regression", "regress", id="regress"),
    ],
)
def test_one_value_of_a_long_text_is_an_error(fakes: Any, task: str, method: str) -> None:
    """Where windows change what a value means, a long text is an error until the caller says what to do."""
    with pytest.raises(TextTooLong, match="pass truncation='window'"):
        getattr(ask(fakes, task), method)("wang " * 20)


def test_classification_and_embedding_of_windows(fakes: Any) -> None:
    """By windows, scores and vectors are means weighted by the tokens that each window adds."""
    text = "wang " * 7 + "lives " * 8
    result = ask(fakes, "text-classification").classify(text, truncation="window", stride=4)
    assert result.scores == pytest.approx({"perhaps": 0.75, "yes": 0.5, "no": 0.25})
    vector = ask(fakes, "feature-extraction").embed(text, truncation="window", stride=4)
    assert vector.tolist() == pytest.approx([4, (12 * 9 + 11 * 6) / 15], abs=0.2)


def test_normalised_embeddings_stay_so(fakes: Any) -> None:
    """A mean of vectors of length 1 is made one again, if the manifest says that vectors are."""
    transport = fakes.FakeTransport(fakes.Model(fakes.make_manifest("feature-extraction", normalized=True)))
    vector = Client("nowhere:1", "tiny", transport=transport).embed("wang " * 40, truncation="window")
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert vector.dtype == np.float32


def test_answers_of_long_contexts(fakes: Any) -> None:
    """An answer is found wherever in a long context it is, at its place in the context as given."""
    client = ask(fakes, "question-answering")
    for before in range(0, 40, 3):
        context = "a " * before + "in Berlin " + "b " * 20
        answer = client.answer("wang", context)
        assert (answer.text, answer.start) == ("Berlin", 2 * before + 3)
    cut = client.answer("wang", "a " * 30 + "Berlin", truncation="truncate")
    assert cut.text != "Berlin"


def test_masks_of_long_texts(fakes: Any) -> None:
    """Each mask of a long text is answered once."""
    masks = ask(fakes, "fill-mask").fill_mask("a b [MASK] c " * 12)
    assert [fills[0].start for fills in masks] == [4 + 13 * index for index in range(12)]


def test_short_rows_of_long_texts(fakes: Any) -> None:
    """An answer with too few values for a window is the server's error."""
    client = ask(fakes, label_ids=lambda inputs: np.zeros((len(inputs["input_ids"]), 2), np.int32))
    with pytest.raises(ServerError, match="for 'label_ids', expected a value for each of 12 tokens"):
        client.entities("wang " * 40)
