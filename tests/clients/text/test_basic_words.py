"""The words of BERT's original tokenizer, with their origin in the text."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbundle.text.aligned_text import aligned
from bertbundle.text.basic_words import basic_words, lower
from japanese_texts import FRAGMENTS
from optional import require_package

KEPT = ["(^o^)", "bert", "BERT", "a.b", "。"]
TEXTS = st.lists(st.sampled_from([*FRAGMENTS, *KEPT, "á.b", "\x00", "\ufffd", " "]) | st.characters(), max_size=10)


@pytest.fixture(scope="module")
def slow() -> Any:
    """The class of transformers."""
    return require_package("transformers.models.bert.tokenization_bert").BasicTokenizer


@pytest.mark.parametrize("kept", [(), KEPT], ids=["all", "never-split"])
@pytest.mark.parametrize("lowercase", [True, False])
@settings(max_examples=300)
@given(text=TEXTS.map("".join))
def test_words_of_transformers(slow: Any, text: str, kept: list[str], *, lowercase: bool) -> None:
    """The words are those of transformers' BasicTokenizer."""
    reference = slow(do_lower_case=lowercase, never_split=kept, tokenize_chinese_chars=False)
    words = list(basic_words(aligned(text), lowercase=lowercase, never_split=kept))
    assert [word.text for word in words] == reference.tokenize(text)
    assert all(
        0 <= start < end <= len(text) for word in words for start, end in zip(word.starts, word.ends, strict=True)
    )


def test_origins_of_words() -> None:
    """Removed characters, composed ones and stripped accents are followed back to the text."""
    words = list(basic_words(aligned("a\u200bb\u3000か\u3099.É"), lowercase=True))
    assert [(word.text, word.starts[0], word.ends[-1]) for word in words] == [
        ("ab", 0, 3),
        ("か", 4, 6),
        (".", 6, 7),
        ("e", 7, 8),
    ]


def test_punctuation_of_all_characters() -> None:
    """All characters that BERT separates are separated: Unicode's punctuation, and ASCII but letters and digits."""
    ascii_signs = {chr(code) for code in range(33, 127) if not chr(code).isalnum()}
    for char in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.category(char) in ("Cs", "Cc", "Cf", "Co", "Cn") or char.isspace():
            continue
        separated = len(list(basic_words(aligned(f"a{char}a"), lowercase=False))) == 3
        char = unicodedata.normalize("NFC", char)  # U+1FEF becomes "`"
        assert separated == (char in ascii_signs or unicodedata.category(char[0])[0] == "P"), f"{char!a}"


@given(text=st.text(alphabet=st.sampled_from("ΑΣσςİIéA. ")))
def test_lower(text: str) -> None:
    """A text is lower-cased as `str.lower` does, each character where it was."""
    found = lower(aligned(text))
    assert found.text == text.lower()
    assert len(found.text) == len(found.starts) == len(found.ends)
    for char, start, end in zip(found.text, found.starts, found.ends, strict=True):
        assert end == start + 1
        assert char in text[start].lower() or (char, text[start]) == ("ς", "Σ")
