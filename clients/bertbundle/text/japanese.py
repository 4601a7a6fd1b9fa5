"""Split Japanese texts into words by MeCab, Sudachi or BERT's rules, as transformers' BertJapaneseTokenizer does."""

from __future__ import annotations

import importlib
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeAlias

import tokenizers

from bertbundle.contract.types import Encoding
from bertbundle.contract.word_segmenter import WordSegmenter
from bertbundle.errors import InputError, ManifestError
from bertbundle.text.aligned_text import AlignedText, aligned, map_characters, normalize
from bertbundle.text.basic_words import basic_words, lower

__all__ = ["SegmentedTokenizer", "dictionary_version"]

_INSTALL = "pip install 'bertbundle[japanese]'"
_INSTALL_OTHERS: Mapping[str, str] = {
    "unidic": "pip install unidic, then python -m unidic download",
    "sudachidict_small": "pip install sudachidict_small",
    "sudachidict_full": "pip install sudachidict_full",
}
"""How to get the dictionaries that are not in the extra."""
_DICTIONARIES: Mapping[str, tuple[str, ...]] = {
    "basic": ("",),
    "mecab": ("ipadic", "unidic_lite", "unidic"),
    "sudachi": ("sudachidict_small", "sudachidict_core", "sudachidict_full"),
}
"""The dictionaries of each analyzer. A manifest comes from a server: no other package that it names is imported."""
_SUDACHI_MAX_BYTES = 49149  # it refuses longer texts
_Word: TypeAlias = tuple[int, int, str]
"""Start and end of a word in the text, and the word as the analyzer writes it."""
_Analyzer: TypeAlias = Callable[[str], Iterable[_Word]]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a text that the tokenizer looks up on its own, and the index of its word."""

    text: AlignedText
    word: int


class SegmentedTokenizer:
    """A tokenizer in front of which texts are split into words.

    It may be used by several threads at once, and in a forked process. The analyzer and its dictionary are loaded when
    the first text is split.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer, settings: WordSegmenter) -> None:
        """Put a segmenter in front of a tokenizer, which looks up the parts of words.

        Raises:
            ManifestError: the analyzer or its dictionary is unknown.
        """
        if settings.dictionary not in _DICTIONARIES.get(settings.analyzer, ()):
            raise ManifestError(
                f"the manifest has the analyzer {settings.analyzer!r} with the dictionary {settings.dictionary!r}, "
                "which this bertbundle does not know. Upgrade bertbundle."
            )
        self._tokenizer = tokenizer
        self._settings = settings
        added = [token for token in tokenizer.get_added_tokens_decoder().values() if not token.special]
        added.sort(key=lambda token: -len(token.content))  # where several are found, the longest
        self._added = [[token for token in added if token.normalized == normalized] for normalized in (False, True)]
        self._patterns = [_pattern(tokens) for tokens in self._added]
        # An analyzer serves one thread at a time. Neither a lock, which a fork could leave locked, nor one analyzer per
        # thread: a thread takes an idle one, or makes another.
        self._idle: list[_Analyzer] = []

    def problem(self, text: str) -> str:
        """Return why the analyzer cannot read a text, for a message that begins with its number; "" if it can."""
        if self._settings.analyzer == "mecab" and "\0" in text:
            return "has a NUL character, where MeCab stops reading. Remove it."
        if self._settings.analyzer != "sudachi":
            return ""
        size = len((unicodedata.normalize("NFKC", text) if self._settings.normalize else text).encode())
        too_long = size > _SUDACHI_MAX_BYTES
        return f"has {size} bytes, Sudachi takes at most {_SUDACHI_MAX_BYTES}. Split it." if too_long else ""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> Encoding:
        """Encode a text, see `encode_batch`."""
        return self.encode_batch([text], add_special_tokens=add_special_tokens)[0]

    def encode_batch(
        self, texts: Sequence[Any], *, is_pretokenized: bool = False, add_special_tokens: bool = True
    ) -> list[Encoding]:
        """Encode texts as `tokenizers.Tokenizer.encode_batch` does.

        Args:
            texts: str or pairs of str without a `problem`; lists of words if `is_pretokenized`.
            is_pretokenized: whether texts are split into words; offsets are then those within each word.
            add_special_tokens: whether [CLS] and [SEP] are added.

        Raises:
            InputError: the extra ``japanese`` is not installed.
        """
        pieces = [self._split(text, is_pretokenized=is_pretokenized) for text in texts]
        encodings = self._tokenizer.encode_batch(
            [_as_input(parts) for parts in pieces], is_pretokenized=True, add_special_tokens=add_special_tokens
        )
        return list(map(_with_original_offsets, encodings, pieces))

    def _split(self, text: Any, *, is_pretokenized: bool) -> list[list[_Piece]]:
        """Return the pieces of a text, or of both texts of a pair."""
        if is_pretokenized:
            return [_pieces((index, parts) for index, word in enumerate(text) for parts in self._words(aligned(word)))]
        parts = text if isinstance(text, tuple) else (text,)
        return [_pieces(enumerate(self._words(aligned(part)))) for part in parts]

    def _words(self, text: AlignedText) -> Iterator[Sequence[AlignedText]]:
        """Yield the parts of each word, or an added token; the text between added tokens is analyzed on its own."""
        for section, is_token in self._sections(text, normalized=False):
            if is_token:
                yield [section]
                continue
            lowered = map_characters(section, str.lower) if self._settings.lowercase else section
            for part, is_normalized_token in self._sections(lowered, normalized=True):
                yield from [[part]] if is_normalized_token else map(self._parts, self._analyzed(part))

    def _sections(self, text: AlignedText, *, normalized: bool) -> Iterator[tuple[AlignedText, bool]]:
        """Yield the added tokens of one kind, and what stands between them."""
        end = 0
        for found in self._patterns[normalized].finditer(text.text):
            group = found.lastindex or 0
            yield text[end : found.start()], False
            yield text[found.start(group) : found.end(group)].replaced(self._added[normalized][group - 1].content), True
            end = found.end()
        yield text[end:], False

    def _analyzed(self, text: AlignedText) -> Iterator[AlignedText]:
        settings = self._settings
        if settings.analyzer == "basic":
            yield from basic_words(text, lowercase=settings.lowercase, never_split=settings.never_split)
            return
        text = normalize(text, "NFKC") if settings.normalize else text
        for start, end, surface in self._analyze(text.text):
            word = text[start:end]
            word = word if word.text == surface else word.replaced(surface)
            word = lower(word) if settings.lowercase and surface not in settings.never_split else word
            yield word.strip() if settings.trim_whitespace else word

    def _parts(self, word: AlignedText) -> Sequence[AlignedText]:
        """Return the characters of a word, or the words that WordPiece makes of it, which splits at white space."""
        if not self._settings.characters:
            if word.text.split() == [word.text]:
                return [word]
            return [word[found.start() : found.end()] for found in re.finditer(r"\S+", word.text)]
        word = normalize(word, "NFKC")
        return [word[index : index + 1] for index in range(len(word.text))]

    def _analyze(self, text: str) -> list[_Word]:
        try:
            analyzer = self._idle.pop()
        except IndexError:
            analyzer = _load_analyzer(self._settings)
        words = list(analyzer(text))
        self._idle.append(analyzer)
        return words


def _pieces(words: Iterable[tuple[int, Sequence[AlignedText]]]) -> list[_Piece]:
    return [_Piece(part, index) for index, parts in words for part in parts]


def _as_input(texts: Sequence[Sequence[_Piece]]) -> Any:
    """Return the pieces of a text, or the pair of those of two, as the tokenizers library takes them."""
    parts = tuple([piece.text.text for piece in pieces] for pieces in texts)
    return parts if len(parts) > 1 else parts[0]


def _with_original_offsets(encoding: tokenizers.Encoding, texts: Sequence[Sequence[_Piece]]) -> Encoding:
    """Convert offsets within pieces to offsets in the original texts, and indices of pieces to those of words."""
    offsets, words = list(encoding.offsets), list(encoding.word_ids)
    for row, (piece, text) in enumerate(zip(encoding.word_ids, encoding.sequence_ids, strict=True)):
        if piece is not None and text is not None:
            found = texts[text][piece]
            start, end = offsets[row]
            offsets[row] = (found.text.starts[start], found.text.ends[end - 1])
            words[row] = found.word
    return Encoding(
        ids=tuple(encoding.ids),
        type_ids=tuple(encoding.type_ids),
        tokens=tuple(encoding.tokens),
        offsets=tuple(offsets),
        word_ids=tuple(words),
        sequence_ids=tuple(encoding.sequence_ids),
    )


# ---- added tokens


def _pattern(tokens: Sequence[tokenizers.AddedToken]) -> re.Pattern[str]:
    """Return a pattern with a group for each token; without tokens, it never matches."""
    return re.compile("|".join(map(_token_pattern, tokens)) or r"(?!)")


def _token_pattern(token: tokenizers.AddedToken) -> str:
    content = re.escape(token.content.lower() if token.normalized else token.content)
    before, after = (r"\s*" if strip else "" for strip in (token.lstrip, token.rstrip))
    return f"{before}({content}){after}"


# ---- analyzers


def dictionary_version(dictionary: str) -> str:
    """Return the version of an installed dictionary.

    Raises:
        InputError: it is not installed.
    """
    package = _import(dictionary, dictionary)
    return str(getattr(package, "VERSION", "") or metadata.version(dictionary))


def _load_analyzer(settings: WordSegmenter) -> _Analyzer:
    analyzer = _ANALYZERS[settings.analyzer](settings)
    version = dictionary_version(settings.dictionary)
    if version != settings.dictionary_version:
        warnings.warn(
            f"the model was exported with {settings.dictionary} {settings.dictionary_version}, version {version} is "
            "installed and may split some words differently. Install the other version, or export the model again.",
            RuntimeWarning,
            stacklevel=2,
        )
    return analyzer


def _mecab(settings: WordSegmenter) -> _Analyzer:
    fugashi = _import("fugashi", settings.dictionary)
    directory = _import(settings.dictionary, settings.dictionary).DICDIR
    tagger = fugashi.GenericTagger(f'-d "{directory}" -r "{directory}/mecabrc"')

    def analyze(text: str) -> Iterator[_Word]:
        end = 0
        for node in tagger(text):
            start = text.index(node.surface, end)  # MeCab leaves out white space
            end = start + len(node.surface)
            yield start, end, node.surface

    return analyze


def _sudachi(settings: WordSegmenter) -> _Analyzer:
    sudachi = _import("sudachipy", settings.dictionary)
    dictionary = sudachi.Dictionary(dict=settings.dictionary.removeprefix("sudachidict_"))
    mode = getattr(sudachi.SplitMode, settings.split_mode)
    make = getattr(dictionary, "tokenizer", None) or dictionary.create  # its name before sudachipy 0.7
    tokenizer = make(mode, projection=settings.projection or None)

    def analyze(text: str) -> Iterator[_Word]:
        for word in tokenizer.tokenize(text):
            # Sudachi may split a character that it expands, such as "㋿": the words after the first are empty.
            yield min(word.begin(), max(word.end() - 1, 0)), word.end(), word.surface()

    return analyze


_ANALYZERS: Mapping[str, Callable[[WordSegmenter], _Analyzer]] = {"mecab": _mecab, "sudachi": _sudachi}


def _import(name: str, dictionary: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{name} is not installed; the model splits Japanese texts into words with the dictionary {dictionary}: "
            f"{_INSTALL_OTHERS.get(name, _INSTALL)}."
        ) from error
