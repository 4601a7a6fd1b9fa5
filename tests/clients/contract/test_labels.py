"""Label schemes, and labelled tokens as entities."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbundle.contract.labels import SCHEMES, Tag, detect_scheme, parse_labels
from bertbundle.contract.types import Encoding
from bertbundle.decoding.entities import decode_entities


def encoding_of(words: list[list[str]]) -> tuple[str, Encoding]:
    """Return a text of words given as their tokens, a space between words, and its encoding with [CLS] and [SEP]."""
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
    """Return label and text of the entities of one-token words; the special tokens carry the first label."""
    names = sorted({"O", *labels.split()})
    text, encoding = encoding_of([[token] for token in tokens.split()])
    ids = [1, *(names.index(label) for label in labels.split()), 1]
    entities = decode_entities(text, encoding, ids, [1.0] * len(ids), tags=parse_labels(names, scheme), **options)
    assert all(text[entity.start : entity.end] == entity.text for entity in entities)
    return [(entity.label, entity.text) for entity in entities]


@pytest.mark.parametrize(
    ("labels", "scheme"),
    [
        pytest.param("O B-PER I-PER", "BIO", id="bio"),
        pytest.param("B-PER I-PER", "BIO", id="bio-without-o"),
        pytest.param("O B_PER I_PER", "BIO", id="underscore"),
        pytest.param("O B-PER", "BIO", id="only-b"),
        pytest.param("O B-PER I-PER E-PER S-PER", "BIOES", id="bioes"),
        pytest.param("O S-PER", "BIOES", id="only-s"),
        pytest.param("O B-NAME M-NAME E-NAME S-NAME", "BMES", id="bmes"),
        pytest.param("O B-PER I-PER L-PER U-PER", "BILOU", id="bilou"),
        pytest.param("O I-PER I-LOC", "IO", id="io"),
        pytest.param("O PER LOC", "IO", id="bare-types"),
        pytest.param("O", "IO", id="only-o"),
        pytest.param("[CLS] [SEP] X O B-PER I-PER", "BIO", id="extra-labels"),
        pytest.param("O Q-PER R-PER", "IO", id="unknown-prefixes"),
        pytest.param("LABEL_0 LABEL_1", "IO", id="unnamed"),
    ],
)
def test_detect_scheme(labels: str, scheme: str) -> None:
    """The scheme is the smallest that has all prefixes."""
    assert detect_scheme(labels.split()) == scheme
    parse_labels(labels.split(), scheme)


@pytest.mark.parametrize(
    ("labels", "scheme", "tags"),
    [
        pytest.param("O B-PER I-PER", "BIO", "O: B:PER I:PER", id="bio"),
        pytest.param("B-A M-A E-A S-A", "BMES", "B:A I:A E:A S:A", id="bmes"),
        pytest.param("B-A I-A L-A U-A", "BILOU", "B:A I:A E:A S:A", id="bilou"),
        pytest.param("O B-PER I-PER", "IO", "O: I:PER I:PER", id="bio-read-as-io"),
        pytest.param("O PER LOC", "IO", "O: I:PER I:LOC", id="bare-types"),
        pytest.param("O X [CLS] B-PER", "BIO", "O: O: O: B:PER", id="bare-among-prefixed"),
        pytest.param("O B-I-PER", "BIO", "O: B:I-PER", id="type-with-dash"),
        pytest.param("O B-PER E-PER", "BIO", "O: B:PER O:", id="prefix-of-another-scheme"),
    ],
)
def test_parse_labels(labels: str, scheme: str, tags: str) -> None:
    """A label is taken apart into a role and a type; what the scheme does not know is outside."""
    expected = tuple(Tag(*tag.split(":")) for tag in tags.split())
    assert parse_labels(labels.split(), scheme) == expected


def test_unknown_scheme() -> None:
    """An unknown scheme is a ValueError that lists the known ones."""
    with pytest.raises(ValueError, match="unknown label scheme 'BIOX', expected one of IO, BIO, BIOES, BMES, BILOU"):
        parse_labels(["O"], "BIOX")


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
    """Labels become entities as the scheme says, and leniently where they break it."""
    assert decode("a b c d", labels, scheme) == entities


TAGS = parse_labels(["O", "B-P", "I-P"], "BIO")


def test_special_tokens_are_skipped() -> None:
    """The label of a special token counts for nothing, and does not come between the tokens around it."""
    text, encoding = encoding_of([["a"]])
    assert decode_entities(text, encoding, [1, 0, 1], [1.0] * 3, tags=TAGS) == []


def test_score_is_the_mean() -> None:
    """An entity's score is the mean of its tokens' scores, the special tokens' left out."""
    text, encoding = encoding_of([["a", "b"], ["c"]])
    (entity,) = decode_entities(text, encoding, [1, 1, 2, 2, 1], [0.1, 0.5, 0.75, 1.0, 0.1], tags=TAGS)
    assert entity.text == "ab c"
    assert entity.score == pytest.approx(0.75)


def test_padding_is_ignored() -> None:
    """Labels beyond the tokens are padding."""
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
    """A word takes the label and score of its first token, or of its first token that has one, and is whole."""
    text, encoding = encoding_of([["ab", "c"], ["d", "e"]])
    entities = decode_entities(
        text, encoding, [0, *label_ids, 0], [1.0, 0.8, 0.7, 0.6, 0.5, 1.0], tags=TAGS, word_labels=rule
    )
    assert [entity.text for entity in entities] == [text for text, _ in expected]
    assert [entity.score for entity in entities] == pytest.approx([score for _, score in expected])


def test_pieces_of_one_character() -> None:
    """Where several tokens are of one character, the first one labels it: no two entities share a character.

    A tokenizer that decomposes Hangul gives each letter of a syllable the syllable's offsets.
    """
    encoding = Encoding((0,) * 3, (0,) * 3, ("ㅎ", "##ㅏ", "##ㄴ"), ((0, 1),) * 3, (0,) * 3, (0,) * 3)
    entities = decode_entities("한", encoding, [1, 1, 0], [0.5, 0.7, 1.0], tags=TAGS)
    assert [(entity.text, entity.start, entity.end, entity.score) for entity in entities] == [("한", 0, 1, 0.5)]


@st.composite
def labelled(draw: st.DrawFn) -> tuple[str, Encoding, str, list[str], list[int]]:
    """Draw a text of words, a scheme with its labels, and a label per token."""
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
    """Whatever the labels, entities are spans of the text, in order, without overlap, of known types."""
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
def test_what_is_outside_is_in_no_entity(rule: str, case: tuple[str, Encoding, str, list[str], list[int]]) -> None:
    """By token, a character is in an entity exactly if its token is labelled; by word, never if no token is."""
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
