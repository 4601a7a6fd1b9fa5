"""Reading, converting, splitting and scoring labelled sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from ner_data import (
    IGNORED,
    DataError,
    Sentence,
    SentenceEncoder,
    Span,
    batches,
    bio_labels,
    f1,
    mask_characters,
    pad,
    read_sentences,
    spans,
    split_sentence,
    to_bio,
)

WANG = Sentence(list("王五去北京"), ["B-PER", "I-PER", "O", "B-LOC", "I-LOC"])
Entities = list[tuple[str | None, int]]


def write(directory: Path, text: str) -> Path:
    path = directory / "train.bmes"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("王 B-PER\n五 E-PER\n去 O\n北 B-LOC\n京 E-LOC\n", id="bmes"),
        pytest.param("王\tB-PER\n五\tI-PER\n去\tO\n北\tB-LOC\n京\tI-LOC\n\n", id="bio, tabs"),
        pytest.param("王 B-PER\r\n五 E-PER\r\n去 O\r\n北 B-LOC\r\n京 E-LOC\r\n\r\n", id="crlf"),
        pytest.param("\ufeff\n\n王  B-PER \n五 I-PER\n去 O\n北 B-LOC\n京 I-LOC\n \n", id="bom, empty lines, spaces"),
        pytest.param("王五 B-PER\n去 O\n北京 B-LOC\n", id="tokens of several characters"),
        pytest.param("王0 B-PER\n五1 I-PER\n去0 O\n北0 B-LOC\n京1 I-LOC\n", id="position in the word, as in Weibo NER"),
        pytest.param("王 NR x B-PER\n五 NR x I-PER\n去 V x O\n北 NR x B-LOC\n京 NR x I-LOC\n", id="more columns"),
        pytest.param("王 I-PER\n五 I-PER\n去 O\n北 M-LOC\n京 E-LOC\n", id="first labels missing"),
    ],
)
def test_every_format_reads_as_the_same_bio(tmp_path: Path, text: str) -> None:
    """Scheme, separator and line endings of a file do not change the sentences."""
    assert read_sentences(write(tmp_path, text)) == [WANG]


def test_an_ideographic_space_is_a_character(tmp_path: Path) -> None:
    """Only tabs and spaces separate columns, only line feeds separate lines."""
    (sentence,) = read_sentences(write(tmp_path, "甲 O\n\u3000 O\n\u2028 O\n"))
    assert sentence.chars == ["甲", "\u3000", "\u2028"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("王 B-PER\n五\n", "line 2: expected 'character label'", id="no label"),
        pytest.param("王 B-PER\n O\n", "line 2: expected 'character label'", id="no character"),
        pytest.param("王 O\n\n\n五 PER\n", "line 4: label 'PER' is neither BIO nor BMES", id="no scheme"),
        pytest.param("王 X-PER\n", "line 1: label 'X-PER' is neither", id="other prefix"),
        pytest.param("王 B-\n", "line 1: label 'B-' is neither", id="no name"),
        pytest.param("", "contains no sentence", id="empty"),
        pytest.param(" \n\t\n\n", "contains no sentence", id="blank"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    """The message names the file, the line and what was expected."""
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        read_sentences(path)
    assert str(path) in str(caught.value)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    """A missing or binary file is a DataError with the path."""
    with pytest.raises(DataError, match=r"cannot read .*none\.bmes: No such file"):
        read_sentences(tmp_path / "none.bmes")
    with pytest.raises(DataError, match="cannot read"):
        read_sentences(tmp_path)
    (tmp_path / "gbk.txt").write_bytes("王 O\n".encode("gbk"))
    with pytest.raises(DataError, match="is not UTF-8"):
        read_sentences(tmp_path / "gbk.txt")


def bmes(entities: Entities) -> list[str]:
    """Write entities (None for outside) of some length as BMES labels."""
    labels: list[str] = []
    for name, length in entities:
        inside = ["S"] if length == 1 else ["B", *"M" * (length - 2), "E"]
        labels += ["O"] * length if name is None else [f"{prefix}-{name}" for prefix in inside]
    return labels


def expected_spans(entities: Entities) -> set[Span]:
    starts = np.cumsum([0, *(length for _, length in entities)]).tolist()
    rows = zip(entities, starts, strict=False)
    return {(name, start, start + length) for (name, length), start in rows if name is not None}


@given(st.lists(st.tuples(st.sampled_from(["PER", "ORG", None]), st.integers(1, 4))))
def test_bmes_to_bio_keeps_the_entities(entities: Entities) -> None:
    """Entities in BMES have the same spans in BIO, and BIO labels are unchanged."""
    labels = to_bio(bmes(entities))
    assert spans(labels) == expected_spans(entities)
    assert to_bio(labels) == labels


@given(
    st.lists(st.sampled_from([*"甲乙丙。，"]), max_size=40),
    st.integers(1, 15),
)
def test_splitting_loses_nothing(chars: list[str], size: int) -> None:
    """The pieces fit, are not empty, and join to the sentence."""
    pieces = split_sentence(Sentence(chars, ["O"] * len(chars)), size)
    assert [char for piece in pieces for char in piece.chars] == chars
    assert all(0 < len(piece.chars) <= size for piece in pieces)


def test_splitting_prefers_ends_of_clauses_and_keeps_bio() -> None:
    """Splits come after a clause where possible; a piece that starts within an entity starts with B-."""
    pieces = split_sentence(Sentence(list("我是，王五六"), ["O"] * 3 + ["B-PER", "I-PER", "I-PER"]), 4)
    assert [piece.chars for piece in pieces] == [list("我是，"), list("王五六")]
    pieces = split_sentence(WANG, 4)
    assert [piece.labels for piece in pieces] == [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC"]]


def test_invalid_sizes_and_sentences_are_refused() -> None:
    """Invalid arguments raise ValueError."""
    with pytest.raises(ValueError, match="size must be at least 1"):
        split_sentence(WANG, 0)
    with pytest.raises(ValueError, match="2 characters but 1 labels"):
        Sentence(["甲", "乙"], ["O"])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(["B-A", "B-A"], {("A", 0, 1), ("A", 1, 2)}, id="neighbours"),
        pytest.param(["B-A", "I-B", "I-A"], {("A", 0, 1)}, id="another type ends the span"),
        pytest.param(["I-A", "O", "I-A"], set(), id="no span without a B-"),
        pytest.param([], set(), id="nothing"),
    ],
)
def test_spans_are_strict(labels: Sequence[str], expected: set[Span]) -> None:
    """A span is a B- and the I- of the same name that follow."""
    assert spans(labels) == expected


def test_f1_by_hand() -> None:
    """Of 4 gold and 3 predicted spans 2 agree: precision 2/3, recall 1/2, F1 4/7."""
    gold: list[set[Span]] = [{("PER", 0, 2), ("LOC", 3, 5)}, {("ORG", 0, 4), ("PER", 5, 6)}]
    predicted: list[set[Span]] = [{("PER", 0, 2), ("ORG", 3, 5)}, {("ORG", 0, 4)}]
    assert f1(gold, predicted) == pytest.approx(4 / 7)
    assert f1(gold, gold) == 1.0
    assert f1([set()], [set()]) == 0.0


def tokenizer() -> Tokenizer:
    vocab = {token: index for index, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "王", "a"])}
    made = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))  # noqa: S106 - a token of text, not a password
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def test_a_row_has_one_id_per_character() -> None:
    """Characters are looked up in lower case; [CLS], [SEP] and unknown labels are left out of the loss."""
    encoder = SentenceEncoder(tokenizer(), ["O", "B-PER", "I-PER"], max_length=8)
    ids, targets = encoder.encode(Sentence(list("王A五\u3000"), ["B-PER", "I-PER", "O", "B-LOC"]))
    assert ids == [2, 5, 6, 1, 1, 3]
    assert targets == [IGNORED, 1, 2, 0, IGNORED, IGNORED]
    assert [len(piece.chars) for piece in encoder.pieces(Sentence(list("王") * 8, ["O"] * 8))] == [6, 2]


def test_a_vocabulary_without_special_tokens_is_refused() -> None:
    """The message says which token is missing."""
    with pytest.raises(DataError, match=r"no \[CLS\]"):
        SentenceEncoder(Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")), ["O"], 8)  # noqa: S106 - likewise


def test_labels_of_a_model() -> None:
    """O comes first, then both labels of each entity type, even if the data has no I- of it."""
    assert bio_labels([Sentence(["x", "y"], ["B-PER", "O"]), WANG]) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


@given(st.lists(st.integers(1, 1500), min_size=1, max_size=60), st.booleans())
def test_batches_contain_every_row_once(lengths: list[int], shuffled: bool) -> None:
    """Every row is in one batch; a padded batch has at most about 1024 tokens, unless a single row has more."""
    rows = [([0] * length, [0] * length) for length in lengths]
    found = batches(rows, np.random.default_rng(0) if shuffled else None)
    assert sorted(index for batch in found for index in batch) == list(range(len(rows)))
    padded = [len(batch) * max(lengths[index] for index in batch) for batch in found]
    slack = 4 if shuffled else 0  # rows whose lengths differ by at most 4 tokens are shuffled
    assert all(size <= 1024 + slack * len(batch) or len(batch) == 1 for size, batch in zip(padded, found, strict=True))


def test_special_tokens_are_not_masked() -> None:
    """About 10 % of the characters become [MASK]; [CLS], [SEP] and padding are unchanged."""
    ids, targets = pad([[7] * 500], 0), pad([[0] * 400 + [IGNORED] * 100], IGNORED)
    masked = mask_characters(ids, targets, 4, np.random.default_rng(0))
    assert 20 < (masked[0, :400] == 4).sum() < 60
    assert (masked[0, 400:] == 7).all()
