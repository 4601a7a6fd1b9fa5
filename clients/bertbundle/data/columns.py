"""Read a file with a token and its tag in each line: CoNLL, BIO, BMES."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bertbundle.contract.labels import OUTSIDE, Tag, detect_scheme, find_roles, is_no_entity, parse_labels
from bertbundle.data.examples import DataOptions, Dataset, DataTask, Example, Span
from bertbundle.data.labels import rename_label
from bertbundle.data.places import Places
from bertbundle.data.tags import SCHEMES, lenient_spans, strict_spans
from bertbundle.data.text_files import read_text
from bertbundle.errors import InputError

__all__ = ["TaggedText", "looks_like_columns", "read_columns", "tagged_dataset"]

_DOCUMENT_START = "-DOCSTART-"
_TAG = re.compile(r"O|[BIMESLU]-\S+|\S+-[BIMESLU]")
_SPACES = re.compile(r"[ \t]+")  # not str.split(): an ideographic space is part of the text
_POSITIONED = re.compile(r"(.|\ufffd+)\d+", re.ASCII)
"""A token of Weibo NER: a character, or what is left of one, and its position within its word, from 0."""
_SNIFFED_LINES = 50
_FEW = 0.15
"""The share of tokens of several characters below which a file may have been meant as characters."""


@dataclass(frozen=True, slots=True)
class TaggedText:
    """The tokens of one text with their tags, and the line of each token (or of the row that has them all)."""

    tokens: list[str]
    tags: list[str]
    lines: list[int]


def looks_like_columns(text: str) -> bool:
    """Return whether the last column of each of the first lines is a tag, as no plain text has it."""
    lines = [line for line in text.split("\n")[:_SNIFFED_LINES] if line.strip()]
    rows = [_SPACES.split(line.strip(" \t")) for line in lines]
    return bool(rows) and all(len(row) > 1 and _TAG.fullmatch(row[-1]) for row in rows)


def read_columns(path: str, task: DataTask, options: DataOptions) -> Dataset:
    """Read a file of lines ``token ... tag``, separated by tabs or spaces, with an empty line after each text.

    Raises:
        InputError: a line is malformed, or has a label that the model does not have.
    """
    lines = list(enumerate(read_text(path).split("\n"), start=1))
    first = next((line for _, line in lines if _is_token(line)), "")
    rows = _Columns(path, "\t" in first, options)
    texts = [rows.to_text(block) for block in _blocks(lines)]
    if not texts:
        raise InputError(f"{path} has no token. Expected lines 'token tag', with an empty line after each text.")
    return tagged_dataset(Places(path), texts, task, options)


def _is_token(line: str) -> bool:
    return bool(line.strip(" \t")) and not line.startswith(_DOCUMENT_START)


def _blocks(lines: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    for is_token, block in itertools.groupby(lines, lambda item: _is_token(item[1])):
        if is_token:
            yield list(block)


class _Columns:
    """Splits the lines of one file, which all have the same number of columns."""

    def __init__(self, path: str, has_tabs: bool, options: DataOptions) -> None:
        self._path, self._has_tabs = path, has_tabs
        self._columns = [_number(options.text, 1), _number(options.label, -1)]
        self._ignore_labels = options.ignore_labels
        self._first: tuple[int, int] | None = None

    def to_text(self, block: list[tuple[int, str]]) -> TaggedText:
        rows = [self._row(number, line) for number, line in block]
        tags = [OUTSIDE if self._ignore_labels else tag for _, tag in rows]
        return TaggedText([token for token, _ in rows], tags, [number for number, _ in block])

    def _row(self, number: int, line: str) -> tuple[str, str]:
        cells = line.split("\t") if self._has_tabs else _SPACES.split(line.rstrip(" \t"))
        self._first = self._first or (number, len(cells))
        place, expected = f"{self._path}, line {number}", self._first[1]
        if len(cells) != expected:
            raise InputError(
                f"{place} has {len(cells)} columns, line {self._first[0]} has {expected}: {line[:60]!r}. Give each "
                "token one line with the same columns, and separate texts by an empty line."
            )
        try:
            token, tag = (cells[column - 1 if column > 0 else column] for column in self._columns)
        except IndexError as error:
            wanted = " and ".join(map(str, self._columns))
            raise InputError(
                f"{place} has {expected} columns, expected columns {wanted}: {line[:60]!r}. Choose them with "
                "--text and --label."
            ) from error
        if not tag or (not token and tag != OUTSIDE):
            raise InputError(f"{place} has an empty {'token' if tag else 'tag'}: {line!r}. Correct the line.")
        return token, tag


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    if re.fullmatch(r"-?[1-9]\d*", text, re.ASCII):
        return int(text)
    raise InputError(f"{text!r} is not a column of a CoNLL file: pass a number from 1, or -1 for the last column.")


# ---- tagged tokens to examples


def tagged_dataset(places: Places, texts: Sequence[TaggedText], task: DataTask, options: DataOptions) -> Dataset:
    """Return texts whose tokens have tags as a dataset; `places` says where their lines are.

    Raises:
        InputError: a tag does not belong to the scheme, or its label is not one of the model's.
    """
    if task.name not in ("token-classification", "span-classification"):
        raise InputError(f"{places.path} has tagged tokens, the model is for {task.name}. Pass data for this task.")
    reader = _TagReader(places, texts, task, options)
    join = _unit_joiner(texts, options.units)
    examples = [_example(text, reader.spans(text), join) for text in texts]
    notes = (*reader.notes(), *(_note_words(places.path, texts) if join is None and options.units == "auto" else ()))
    return Dataset(places, tuple(examples), is_split_into_words=join is None, notes=notes)


class _TagReader:
    """Converts the tags of one file to spans."""

    def __init__(self, places: Places, texts: Sequence[TaggedText], task: DataTask, options: DataOptions) -> None:
        self._places, self._task, self._options = places, task, options
        renamed = {tag: options.rename.get(tag, tag) or OUTSIDE for text in texts for tag in text.tags}
        forms = list(dict.fromkeys(renamed.values()))
        self._suggested = detect_scheme(forms)
        self.scheme = options.scheme or self._suggested
        if self.scheme not in SCHEMES:
            raise InputError(f"unknown label scheme {self.scheme!r}, expected one of {', '.join(SCHEMES)}.")
        contract = {"IOB1": "BIO", "IOE2": "BIOES"}.get(self.scheme, self.scheme)
        parsed = dict(zip(forms, parse_labels(forms, contract), strict=True))
        first_lines = {
            tag: line for text in reversed(texts) for tag, line in reversed([*zip(text.tags, text.lines, strict=True)])
        }
        ordered = dict(sorted(first_lines.items(), key=lambda item: item[1]))
        if options.scheme is None and self.scheme == "IO":
            self._check_roles(ordered, renamed)
        self._tags = {tag: self._convert(tag, parsed[renamed[tag]], line) for tag, line in ordered.items()}
        if options.scheme is None and self._suggested == "BIO" and self._is_iob1(texts):
            self.scheme = "IOB1"
        self._irregular: list[tuple[int, str]] = []

    def _check_roles(self, lines: Mapping[str, int], renamed: Mapping[str, str]) -> None:
        """Check that tags that suggest no scheme have no roles: read as IO, adjacent spans would be one.

        Args:
            lines: the line of each tag's first occurrence, in order.
            renamed: what each tag is replaced by.
        """
        seen: list[str] = []
        for tag, line in lines.items():
            seen.append(renamed[tag])
            roles = find_roles(seen)
            if not roles <= {"I"} and detect_scheme(seen) == "IO":
                raise InputError(
                    f"{self._places.at(line)}: tag {tag!r} does not go with those before it: no label scheme has the "
                    f"roles {', '.join(sorted(roles))}. Correct the tags, or pass --scheme."
                )

    def _convert(self, tag: str, parsed: Tag, line: int) -> Tag:
        """Return a tag with the model's label; outside if the label is left out."""
        outside = parsed.role == OUTSIDE and is_no_entity(self._options.rename.get(tag, tag) or OUTSIDE)
        if not outside and parsed.role not in SCHEMES[self.scheme].roles:
            advice = f". Correct the line, or pass --rename={tag}=O if it is outside any entity"
            if self.scheme != self._suggested:
                advice = f"; the file's tags suggest {self._suggested}. Omit --scheme, or correct it"
            raise InputError(f"{self._places.at(line)}: tag {tag!r} is not one of scheme {self.scheme}{advice}.")
        if outside:
            return parsed
        label = rename_label(parsed.type, self._task, self._options.rename, self._places.at(line))
        return Tag(parsed.role, label) if label else Tag(OUTSIDE, "")

    def _is_iob1(self, texts: Sequence[TaggedText]) -> bool:
        """Return whether all tags follow IOB1, and some of them not BIO."""
        tags = [[self._tags[tag] for tag in text.tags] for text in texts]
        spans = [lenient_spans(of_text) for of_text in tags]
        followed = {scheme: [strict_spans(of_text, scheme) for of_text in tags] == spans for scheme in ("IOB1", "BIO")}
        return followed["IOB1"] and not followed["BIO"]

    def spans(self, text: TaggedText) -> list[tuple[str, int, int]]:
        """Return the spans of a text as label, first token and end."""
        tags = [self._tags[tag] for tag in text.tags]
        self._note_irregular(text, tags)
        return strict_spans(tags, self.scheme) if self._options.strict else lenient_spans(tags)

    def _note_irregular(self, text: TaggedText, tags: Sequence[Tag]) -> None:
        if self.scheme == "IO":
            return
        followed = {(start, end) for _, start, end in strict_spans(tags, self.scheme)}
        self._irregular += [
            (text.lines[start], text.tags[start])
            for _, start, end in lenient_spans(tags)
            if (start, end) not in followed
        ]

    def notes(self) -> Iterator[str]:
        """Say where tags do not follow the scheme, and how they were read."""
        if self._irregular:
            (line, tag), count = self._irregular[0], len(self._irregular)
            how = "form no span (strict)" if self._options.strict else "start a span, as in conlleval and seqeval"
            yield (f"{self._places.at(line)}: {tag} begins no span of scheme {self.scheme}. Such tags ({count}) {how}.")


def _unit_joiner(texts: Sequence[TaggedText], units: str) -> Callable[[str], str] | None:
    """Return what of a token is a character of the text, or None if tokens are words."""
    if units == "words":
        return None
    tokens = {token for text in texts for token in text.tokens}
    if all(map(_POSITIONED.fullmatch, tokens)) and all(text.tokens[0].endswith("0") for text in texts):
        return lambda token: _POSITIONED.sub(r"\1", token)
    return str if units == "characters" or all(len(token) <= 1 for token in tokens) else None


def _note_words(path: str, texts: Sequence[TaggedText]) -> Iterator[str]:
    """Say that tokens are words because of a few that are not single characters."""
    tokens = [token for text in texts for token in text.tokens]
    longer = [token for token in tokens if len(token) > 1]
    if longer and len(longer) <= _FEW * len(tokens):
        yield (
            f"{path}: {len(longer)} of {len(tokens)} tokens have several characters, the first is {longer[0]!r}, so "
            "tokens are read as words, with spaces between them. Pass --units characters to join them."
        )


def _example(text: TaggedText, spans: Sequence[tuple[str, int, int]], join: Callable[[str], str] | None) -> Example:
    """Return a text with its spans in characters."""
    tokens = text.tokens if join is None else [join(token) for token in text.tokens]
    gap = 1 if join is None else 0
    starts = list(itertools.accumulate((len(token) + gap for token in tokens), initial=0))
    gold = tuple(Span(label, starts[start], starts[end] - gap) for label, start, end in spans)
    return Example(tokens if join is None else "".join(tokens), gold, text.lines[0])
