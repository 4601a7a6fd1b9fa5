"""Read character-labelled sentences, turn them into arrays, and score predictions by strict span F1."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from bertbundle.errors import BertBundleError

__all__ = [
    "IGNORED",
    "DataError",
    "Ints",
    "Row",
    "Sentence",
    "SentenceEncoder",
    "Span",
    "batches",
    "bio_labels",
    "f1",
    "mask_characters",
    "pad",
    "read_sentences",
    "spans",
    "split_sentence",
    "to_bio",
]

Ints: TypeAlias = npt.NDArray[np.int32]
Row: TypeAlias = tuple[list[int], list[int]]
"""Ids and label ids of one piece of text, including [CLS] and [SEP]."""

Span: TypeAlias = tuple[str, int, int]
"""Label without its prefix, start, end: characters ``[start, end)`` of a sentence."""

IGNORED = -1
"""Label id of tokens that the loss ignores: [CLS], [SEP] and padding."""

TOKENS_PER_BATCH = 1024
MASK_RATE = 0.1

_Line: TypeAlias = tuple[str, str]
_LABEL = re.compile(r"O|[BIMES]-\S+")
# Ends of clauses: not the enumeration comma, and not . and , which also occur in dates and numbers.
_CLAUSE_ENDS = frozenset("。！？；，!?;")


class DataError(BertBundleError):
    """A data file is invalid. The message has the line and what was expected."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """Characters with one BIO label each."""

    chars: list[str]
    labels: list[str]

    def __post_init__(self) -> None:
        if len(self.chars) != len(self.labels):
            raise ValueError(f"{len(self.chars)} characters but {len(self.labels)} labels")


def read_sentences(path: Path) -> list[Sentence]:
    """Read a file of ``character label`` lines with an empty line after each sentence.

    Columns are separated by tabs or spaces: the first is the character, the last the label (BIO, BIOES or BMES).
    A token of several characters is split, and its label continued. If every token is a character and a digit, as in
    Weibo NER (``科0``: the first character of its word), the digit is dropped.

    Raises:
        DataError: the file is unreadable, not UTF-8, has no sentence or a malformed line.
    """
    blocks = list(_blocks(path))
    if not blocks:
        raise DataError(
            f"{path} contains no sentence. Expected lines 'character label', an empty line after a sentence."
        )
    if all(len(token) == 2 and token[1].isdecimal() for rows in blocks for token, _ in rows):
        blocks = [[(token[0], label) for token, label in rows] for rows in blocks]
    return [_to_sentence(rows) for rows in blocks]


def _blocks(path: Path) -> Iterator[list[_Line]]:
    rows: list[_Line] = []
    for number, line in enumerate([*_read_text(path).split("\n"), ""], start=1):
        if line.strip(" \t"):
            rows.append(_parse(line, f"{path}, line {number}"))
        elif rows:
            yield rows
            rows = []


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}). Convert it to UTF-8 first.") from error


def _parse(line: str, location: str) -> _Line:
    # Not str.split(): it would treat an ideographic space, which is part of the text, as a separator.
    fields = re.split(r"[ \t]+", line.rstrip(" \t"))
    if len(fields) < 2 or not fields[0]:
        raise DataError(f"{location}: expected 'character label' separated by a tab or spaces, got {line!r}.")
    if not _LABEL.fullmatch(fields[-1]):
        raise DataError(
            f"{location}: label {fields[-1]!r} is neither BIO nor BMES. Expected O, or B-, I-, M-, E- or S- and a name."
        )
    return fields[0], fields[-1]


def _to_sentence(rows: Iterable[_Line]) -> Sentence:
    chars, labels = [], []
    for (token, _), label in zip(rows, to_bio([label for _, label in rows]), strict=True):
        chars += list(token)
        labels += [label] + [label.replace("B-", "I-", 1)] * (len(token) - 1)
    return Sentence(chars, labels)


def to_bio(labels: Sequence[str]) -> list[str]:
    """Convert BMES, BIOES or BIO labels to BIO; a span without a first label gets one.

    >>> to_bio(["B-ORG", "M-ORG", "E-ORG", "S-LOC", "O", "I-PER"])
    ['B-ORG', 'I-ORG', 'I-ORG', 'B-LOC', 'O', 'B-PER']
    """
    bio: list[str] = []
    for label in labels:
        prefix, _, name = label.partition("-")
        continues = prefix in {"I", "M", "E"} and bool(bio) and bio[-1] in {f"B-{name}", f"I-{name}"}
        bio.append("O" if label == "O" else f"{'I' if continues else 'B'}-{name}")
    return bio


def bio_labels(sentences: Iterable[Sentence]) -> list[str]:
    """Return the labels of a model for these sentences: O, then B- and I- of each entity type in order."""
    names = sorted({label[2:] for sentence in sentences for label in sentence.labels if label != "O"})
    return ["O", *(f"{prefix}-{name}" for name in names for prefix in "BI")]


def split_sentence(sentence: Sentence, size: int) -> list[Sentence]:
    """Split a sentence into pieces of at most `size` characters, after the last clause that fits if there is one.

    >>> ["".join(piece.chars) for piece in split_sentence(Sentence(list("你好，世界"), ["O"] * 5), 4)]
    ['你好，', '世界']
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    pieces = []
    start = 0
    while start < len(sentence.chars):
        end = _piece_end(sentence.chars, start, size)
        pieces.append(Sentence(sentence.chars[start:end], to_bio(sentence.labels[start:end])))
        start = end
    return pieces


def _piece_end(chars: Sequence[str], start: int, size: int) -> int:
    limit = start + size
    if limit >= len(chars):
        return len(chars)
    return next((end for end in range(limit, start, -1) if chars[end - 1] in _CLAUSE_ENDS), limit)


def spans(labels: Sequence[str]) -> set[Span]:
    """Return the spans of BIO labels, strictly: a span starts with B- and continues with I- of the same type.

    >>> sorted(spans(["B-PER", "I-PER", "B-LOC", "I-ORG", "O"]))
    [('LOC', 2, 3), ('PER', 0, 2)]
    """
    starts = [index for index, label in enumerate(labels) if label.startswith("B-")]
    return {(labels[start][2:], start, _span_end(labels, start)) for start in starts}


def _span_end(labels: Sequence[str], start: int) -> int:
    inside = f"I-{labels[start][2:]}"
    return next((end for end in range(start + 1, len(labels)) if labels[end] != inside), len(labels))


def f1(gold: Sequence[set[Span]], predicted: Sequence[set[Span]]) -> float:
    """Return the micro-averaged F1 of predicted spans, in [0, 1]: label and both ends must be correct.

    >>> f1([{("PER", 0, 2), ("LOC", 5, 7)}], [{("PER", 0, 2)}])
    0.6666666666666666
    """
    correct = sum(len(expected & found) for expected, found in zip(gold, predicted, strict=True))
    total = sum(map(len, gold)) + sum(map(len, predicted))
    return 2 * correct / total if total else 0.0


class SentenceEncoder:
    """Encodes sentences as rows of ids: each character is a token, [UNK] if the vocabulary lacks it."""

    def __init__(self, tokenizer: Tokenizer, labels: Sequence[str], max_length: int) -> None:
        self.labels = list(labels)
        self.max_length = max_length
        names = ("[CLS]", "[SEP]", "[UNK]", "[MASK]")
        self._cls, self._sep, self._unknown, self.mask_id = (_token_id(tokenizer, name) for name in names)
        self._tokenizer = tokenizer
        self._label_ids = {label: index for index, label in enumerate(labels)}
        self._ids: dict[str, int] = {}

    def pieces(self, sentence: Sentence) -> list[Sentence]:
        """Split a sentence into pieces that fit between [CLS] and [SEP]."""
        return split_sentence(sentence, self.max_length - 2)

    def encode(self, piece: Sentence) -> Row:
        """Return ids and label ids of a piece; the loss ignores labels outside `labels`."""
        targets = [self._label_ids.get(label, IGNORED) for label in piece.labels]
        return [self._cls, *map(self._id, piece.chars), self._sep], [IGNORED, *targets, IGNORED]

    def _id(self, char: str) -> int:
        # With the tokenizer of the bundle, so that training and serving normalize case and accents in the same way.
        if char not in self._ids:
            ids = self._tokenizer.encode(char, add_special_tokens=False).ids
            self._ids[char] = ids[0] if ids else self._unknown
        return self._ids[char]


def _token_id(tokenizer: Tokenizer, token: str) -> int:
    vocabulary: dict[str, int] = tokenizer.get_vocab(
        with_added_tokens=False
    )  # transformers adds special tokens that vocab.txt lacks
    if token not in vocabulary:
        raise DataError(f"the vocabulary has no {token}. Use the vocab.txt of a BERT.")
    return vocabulary[token]


def batches(rows: Sequence[Row], random: np.random.Generator | None = None) -> list[list[int]]:
    """Return batches of indices of rows with similar length, about 1024 tokens each; shuffled if `random` is given."""
    lengths = np.array([len(ids) for ids, _ in rows])
    order = np.argsort(lengths + (random.uniform(0, 4, len(rows)) if random else 0), kind="stable")
    found: list[list[int]] = [[]]
    for index in order.tolist():
        if found[-1] and (len(found[-1]) + 1) * lengths[index] > TOKENS_PER_BATCH:
            found.append([])
        found[-1].append(index)
    if random:
        random.shuffle(found)
    return found


def pad(rows: Sequence[Sequence[int]], value: int) -> Ints:
    """Return rows as one array ``[rows, longest]``.

    >>> pad([[5, 6], [7]], 0).tolist()
    [[5, 6], [7, 0]]
    """
    padded = np.full((len(rows), max(map(len, rows))), value, np.int32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


def mask_characters(ids: Ints, targets: Ints, mask_id: int, random: np.random.Generator) -> Ints:
    """Replace 10 % of the characters by [MASK], so that a model also learns from the context."""
    chosen = (random.random(ids.shape) < MASK_RATE) & (targets != IGNORED)
    return np.where(chosen, np.int32(mask_id), ids)
