"""Labelled tokens to entities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbundle import ServerError
from bertbundle.contract.labels import SCHEMES, Tag, parse_labels
from bertbundle.contract.types import Encoding
from bertbundle.decoding.entities import decode_entities, end_with_combining_marks
from bertbundle.text.tokenizer import Tokenizer
from fakes import VOCABULARY, FakeTransport, Model, Output, connect, make_tokenizer


def encoding_of(words: list[list[str]]) -> tuple[str, Encoding]:
    """Return the text of words, given as lists of tokens, and its encoding with [CLS] and [SEP]."""
    text = ""
    rows: list[tuple[str, tuple[int, int], int | None]] = [("[CLS]", (0, 0), None)]
    for index, tokens in enumerate(words):
        text += " " if index else ""
        for token in tokens:
            rows.append((token, (len(text), len(text) + len(token)), index))
            text += token
    rows.append(("[SEP]", (0, 0), None))
    zeros = (0,) * len(rows)
    columns: tuple[Any, ...] = (*zip(*rows, strict=True), zeros)
    return text, Encoding(zeros, zeros, *columns)


def decode(tokens: str, labels: str, scheme: str, **options: Any) -> list[tuple[str, str]]:
    """Return label and text of the entities of one-token words; special tokens have the label with id 1."""
    names = sorted({"O", *labels.split()})
    text, encoding = encoding_of([[token] for token in tokens.split()])
    ids = [1, *(names.index(label) for label in labels.split()), 1]
    entities = decode_entities(text, encoding, ids, [1.0] * len(ids), tags=parse_labels(names, scheme), **options)
    assert all(text[entity.start : entity.end] == entity.text for entity in entities)
    return [(entity.label, entity.text) for entity in entities]


@pytest.mark.parametrize(
    ("scheme", "labels", "entities"),
    [
        pytest.param("BIO", "B-P I-P O B-L", [("P", "a b"), ("L", "d")], id="bio"),
        pytest.param("BIO", "B-P B-P O O", [("P", "a"), ("P", "b")], id="bio-neighbours"),
        pytest.param("BIO", "B-P B-L I-L O", [("P", "a"), ("L", "b c")], id="bio-other-type"),
        pytest.param("BIO", "O I-P I-P O", [("P", "b c")], id="bio-i-begins"),
        pytest.param("BIO", "B-P I-L I-L O", [("P", "a"), ("L", "b c")], id="bio-i-of-other-type"),
        pytest.param("BIO", "B-P O I-P O", [("P", "a"), ("P", "c")], id="bio-gap"),
        pytest.param("BIO", "O O O O", [], id="none"),
        pytest.param("BIO", "O O O B-P", [("P", "d")], id="at-the-end"),
        pytest.param("BIOES", "B-P I-P E-P S-L", [("P", "a b c"), ("L", "d")], id="bioes"),
        pytest.param("BIOES", "S-P S-P O O", [("P", "a"), ("P", "b")], id="bioes-singles"),
        pytest.param("BIOES", "B-P E-P I-P O", [("P", "a b"), ("P", "c")], id="bioes-i-after-e"),
        pytest.param("BIOES", "S-P I-P O O", [("P", "a"), ("P", "b")], id="bioes-i-after-s"),
        pytest.param("BIOES", "E-P E-P O O", [("P", "a"), ("P", "b")], id="bioes-e-alone"),
        pytest.param("BIOES", "B-P I-P O O", [("P", "a b")], id="bioes-never-ended"),
        pytest.param("BIOES", "B-P E-L O O", [("P", "a"), ("L", "b")], id="bioes-e-of-other-type"),
        pytest.param("BMES", "B-P M-P E-P S-L", [("P", "a b c"), ("L", "d")], id="bmes"),
        pytest.param("BMES", "M-P M-P O S-L", [("P", "a b"), ("L", "d")], id="bmes-m-begins"),
        pytest.param("BILOU", "B-P I-P L-P U-L", [("P", "a b c"), ("L", "d")], id="bilou"),
        pytest.param("IO", "I-P I-P O I-L", [("P", "a b"), ("L", "d")], id="io"),
        pytest.param("IO", "P P L O", [("P", "a b"), ("L", "c")], id="io-bare"),
        pytest.param("IO", "B-P I-P B-P O", [("P", "a b c")], id="bio-read-as-io"),
    ],
)
def test_decode(scheme: str, labels: str, entities: list[tuple[str, str]]) -> None:
    """Labels are decoded according to the scheme; sequences that the scheme does not allow are decoded leniently."""
    assert decode("a b c d", labels, scheme) == entities


TAGS = parse_labels(["O", "B-P", "I-P"], "BIO")


def test_special_tokens_are_skipped() -> None:
    """The label of a special token is ignored."""
    text, encoding = encoding_of([["a"]])
    assert decode_entities(text, encoding, [1, 0, 1], [1.0] * 3, tags=TAGS) == []


def test_score_is_the_mean() -> None:
    """The score of an entity is the mean score of its tokens, without special tokens."""
    text, encoding = encoding_of([["a", "b"], ["c"]])
    (entity,) = decode_entities(text, encoding, [1, 1, 2, 2, 1], [0.1, 0.5, 0.75, 1.0, 0.1], tags=TAGS)
    assert entity.text == "ab c"
    assert entity.score == pytest.approx(0.75)


def test_padding_is_ignored() -> None:
    """Labels after the last token are padding and ignored."""
    text, encoding = encoding_of([["a"]])
    entities = decode_entities(text, encoding, [0, 1, 0, 1, 2, 2], [1.0] * 6, tags=TAGS)
    assert [entity.text for entity in entities] == ["a"]


@pytest.mark.parametrize(
    ("rule", "label_ids", "expected"),
    [
        pytest.param("token", [1, 0, 2, 0], [("ab", 0.8), ("d", 0.6)], id="token"),
        pytest.param("first", [1, 0, 0, 0], [("abc", 0.8)], id="first"),
        pytest.param("first", [0, 1, 1, 2], [("de", 0.6)], id="first-is-outside"),
        pytest.param("first", [1, 0, 2, 0], [("abc de", 0.7)], id="first-continues"),
        pytest.param("first-labelled", [0, 1, 0, 0], [("abc", 0.7)], id="first-labelled"),
        pytest.param("first-labelled", [0, 0, 0, 0], [], id="first-labelled-none"),
        pytest.param("first-labelled", [1, 2, 0, 2], [("abc de", 0.65)], id="first-labelled-continues"),
    ],
)
def test_word_labels(rule: str, label_ids: list[int], expected: list[tuple[str, float]]) -> None:
    """A word has the label and score of its first token, or of its first labelled token, and is never split."""
    text, encoding = encoding_of([["ab", "c"], ["d", "e"]])
    entities = decode_entities(
        text, encoding, [0, *label_ids, 0], [1.0, 0.8, 0.7, 0.6, 0.5, 1.0], tags=TAGS, word_labels=rule
    )
    assert [entity.text for entity in entities] == [text for text, _ in expected]
    assert [entity.score for entity in entities] == pytest.approx([score for _, score in expected])


def test_pieces_of_one_character() -> None:
    """If a character has several tokens, the first one labels it, so that two entities never share a character.

    A tokenizer that decomposes Hangul gives each letter of a syllable the offsets of the syllable.
    """
    encoding = Encoding((0,) * 3, (0,) * 3, ("ㅎ", "##ㅏ", "##ㄴ"), ((0, 1),) * 3, (0,) * 3, (0,) * 3)
    entities = decode_entities("한", encoding, [1, 1, 0], [0.5, 0.7, 1.0], tags=TAGS)
    assert [(entity.text, entity.start, entity.end, entity.score) for entity in entities] == [("한", 0, 1, 0.5)]


def test_letters_of_one_syllable() -> None:
    """An uncased tokenizer decomposes a Hangul syllable into tokens of one character, which become one entity."""
    vocabulary = VOCABULARY | {letter: 100 + index for index, letter in enumerate(("ᄒ", "##ᅡ", "##ᆫ"))}
    tokenizer = Tokenizer(make_tokenizer(vocabulary).to_str(), max_length=12)
    (encoding,) = tokenizer.encode(["한"])
    assert encoding.offsets[1:-1] == ((0, 1),) * 3
    entities = decode_entities("한", encoding, [0] * 5, [1.0] * 5, tags=[Tag("B", "X")])
    assert [entity.text for entity in entities] == ["한"]


@st.composite
def labelled(draw: st.DrawFn) -> tuple[str, Encoding, str, list[str], list[int]]:
    """Draw a text, its encoding, a scheme, the labels of the scheme, and a label id per token."""
    token = st.text("ab", min_size=1, max_size=3)
    words = draw(st.lists(st.lists(token, min_size=1, max_size=3), min_size=1, max_size=6))
    scheme = draw(st.sampled_from(sorted(SCHEMES)))
    names = ["O", *(f"{prefix}-{kind}" for prefix in SCHEMES[scheme] for kind in "XY")]
    text, encoding = encoding_of(words)
    ids = draw(st.lists(st.integers(0, len(names) - 1), min_size=len(encoding), max_size=len(encoding)))
    return text, encoding, scheme, names, ids


@pytest.mark.parametrize("rule", ["token", "first", "first-labelled"])
@given(case=labelled())
def test_entities_are_in_order(rule: str, case: tuple[str, Encoding, str, list[str], list[int]]) -> None:
    """For any labels, entities are spans of the text, in order, without overlap, and with a known type."""
    text, encoding, scheme, names, ids = case
    scores = [0.25 + 0.5 * (index % 2) for index in range(len(ids))]
    tags = parse_labels(names, scheme)
    entities = decode_entities(text, encoding, ids, scores, tags=tags, word_labels=rule)
    end = 0
    for entity in entities:
        assert end <= entity.start < entity.end <= len(text)
        assert text[entity.start : entity.end] == entity.text
        assert entity.label in ("X", "Y")
        assert 0.25 <= entity.score <= 0.75
        end = entity.end


@pytest.mark.parametrize("rule", ["token", "first", "first-labelled"])
@given(case=labelled())
def test_outside_tokens_are_in_no_entity(rule: str, case: tuple[str, Encoding, str, list[str], list[int]]) -> None:
    """A token without a label is in no entity; with labels per token, each labelled token is in one."""
    text, encoding, scheme, names, ids = case
    entities = decode_entities(
        text, encoding, ids, [1.0] * len(ids), tags=parse_labels(names, scheme), word_labels=rule
    )
    covered = {place for entity in entities for place in range(entity.start, entity.end)}
    for label, (start, end), word in zip(ids, encoding.offsets, encoding.word_ids, strict=True):
        if word is None:
            continue
        labels = [label] if rule == "token" else [i for i, w in zip(ids, encoding.word_ids, strict=True) if w == word]
        if not any(labels):
            assert covered.isdisjoint(range(start, end))
        elif rule == "token":
            assert covered.issuperset(range(start, end))


@pytest.mark.parametrize(
    ("text", "end", "expected"),
    [
        pytest.param("e\u0301 a", 1, 2, id="accent"),
        pytest.param("e\u0301\u0323", 1, 3, id="two-accents"),
        pytest.param("☺\ufe0f!", 1, 2, id="variation-selector"),
        pytest.param("👍\U0001f3fd", 1, 2, id="skin-tone"),
        pytest.param("\u1112\u1161\u11ab\u1100", 1, 3, id="jamo-after-the-consonant"),
        pytest.param("\u1112\u1161\u11ab\u1100", 2, 3, id="jamo-after-the-vowel"),
        pytest.param("\u1112\u1161\u11ab\u1100", 3, 3, id="whole-syllable"),
        pytest.param("\ud558\u11ab\u1100", 1, 2, id="syllable-and-trailing-consonant"),
        pytest.param("ㅎㅏㄴ", 1, 1, id="letters-that-form-no-syllable"),
        pytest.param("한국", 1, 1, id="syllables"),
        pytest.param("Vie\u0323\u0302t", 3, 5, id="vietnamese"),
        pytest.param("\u0928\u093f x", 1, 2, id="devanagari-vowel"),
        pytest.param("\u0915\u094d\u0937", 1, 2, id="devanagari-conjunct"),
        pytest.param("👩\u200d💻 x", 1, 3, id="joined-emoji"),
        pytest.param("👩🏽\u200d❤\ufe0f\u200d👩x", 1, 7, id="joined-emoji-with-styles"),
        pytest.param("👩\u200dx", 1, 1, id="joiner-and-letter"),
        pytest.param("\u0645\u06cc\u200c\u062e", 2, 2, id="non-joiner"),
        pytest.param("🇰🇷🇫🇷", 1, 2, id="flag"),
        pytest.param("🇰🇷🇫🇷", 2, 2, id="whole-flag"),
        pytest.param("王\u200b", 1, 1, id="zero-width-space"),
        pytest.param("ab", 1, 1, id="letter"),
        pytest.param("ab", 2, 2, id="end-of-text"),
    ],
)
def test_end_with_combining_marks(text: str, end: int, expected: int) -> None:
    """A span is extended by the combining marks after it, and by nothing else."""
    assert end_with_combining_marks(text, end) == expected


@pytest.mark.parametrize(
    ("label_ids", "message"),
    [
        pytest.param(lambda _: np.full((1, 4), 5), r"label_ids outside \[0, 5\)", id="label-too-high"),
        pytest.param(lambda _: np.full((1, 4), -1), r"label_ids outside \[0, 5\)", id="label-negative"),
        pytest.param(lambda _: np.zeros((1, 2), int), "of shapes .* for 3 tokens", id="too-short"),
        pytest.param(lambda _: np.zeros((1, 4, 5), int), "of shapes .* for 3 tokens", id="rank"),
    ],
)
def test_malformed_label_ids(label_ids: Output, message: str) -> None:
    """Label ids that do not fit the tokens or the manifest raise ServerError."""
    with pytest.raises(ServerError, match=message):
        connect(FakeTransport(Model(overrides={"label_ids": label_ids}))).entities("wang")


def test_scores_that_are_nan() -> None:
    """NaN as the score of a token raises ServerError: its label means nothing; that of padding does not matter."""

    def scores(inputs: Any) -> Any:
        return np.where(inputs["attention_mask"] > 0, 0.5, np.nan)

    def nan(inputs: Any) -> Any:
        return np.full(inputs["input_ids"].shape, np.nan)

    (entity,) = connect(FakeTransport(Model(overrides={"label_scores": scores}))).entities("wang")
    assert (entity.label, entity.score) == ("PER", 0.5)
    with pytest.raises(ServerError, match="label_scores that are NaN"):
        connect(FakeTransport(Model(overrides={"label_scores": nan}))).entities("wang")
