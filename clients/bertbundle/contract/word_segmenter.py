"""How a text is split into words before its words are split into tokens, for languages without spaces."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WORD_SEGMENTER", "WordSegmenter"]

WORD_SEGMENTER = "WordSegmenter"
"""The type of pre-tokenizer in a bundle's tokenizer.json that stands for the manifest's `word_segmenter`. The
tokenizers library does not have it: a program that does not split texts into words cannot read the file."""


@dataclass(frozen=True, slots=True)
class WordSegmenter:
    """The settings of transformers' BertJapaneseTokenizer, which a tokenizer.json cannot contain.

    Attributes:
        analyzer: "mecab", "sudachi", or "basic" (BERT's words: white space and punctuation).
        dictionary: Python package with the analyzer's dictionary: ipadic, unidic_lite, unidic, sudachidict_small,
            sudachidict_core or sudachidict_full; "" for "basic".
        dictionary_version: version of the dictionary in the export.
        split_mode: Sudachi's length of words: "A", "B" or "C".
        projection: the form of its words that Sudachi returns, such as "surface" or "normalized".
        normalize: whether texts are normalized by NFKC first.
        lowercase: whether texts are lower-cased.
        trim_whitespace: whether white space is removed from words.
        never_split: words that are not lower-cased, and that "basic" does not split.
        characters: whether words are split into characters, instead of being looked up by WordPiece.
    """

    analyzer: str
    dictionary: str = ""
    dictionary_version: str = ""
    split_mode: str = ""
    projection: str = ""
    normalize: bool = True
    lowercase: bool = False
    trim_whitespace: bool = False
    never_split: tuple[str, ...] = ()
    characters: bool = False
