"""Texts that are split into words by MeCab, Sudachi or BERT's rules in front of a tokenizer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from typing import Any

import pytest
from tokenizers import AddedToken

from bertbundle.contract.word_segmenter import WordSegmenter
from bertbundle.errors import InputError, ManifestError
from bertbundle.text.aligned_text import aligned
from bertbundle.text.japanese import SegmentedTokenizer, dictionary_version
from japanese_texts import lookup, sentences
from optional import require_package

FORK = """
from importlib.metadata import version
from multiprocessing import get_context

from bertbundle.contract.word_segmenter import WordSegmenter
from bertbundle.text.japanese import SegmentedTokenizer
from japanese_texts import lookup, sentences

tokenizer = SegmentedTokenizer(lookup(), WordSegmenter("mecab", "ipadic", version("ipadic")))
expected = tokenizer.encode_batch(sentences(20))

def is_equal(_):
    return tokenizer.encode_batch(sentences(20)) == expected

with get_context("fork").Pool(2) as pool:
    assert pool.map(is_equal, range(4)) == [True] * 4
"""


def mecab(**changes: Any) -> WordSegmenter:
    """Return MeCab with its dictionary IPAdic, or skip the test."""
    require_package("fugashi")
    require_package("ipadic")
    return replace(WordSegmenter("mecab", "ipadic", metadata.version("ipadic")), **changes)


def sudachi(**changes: Any) -> WordSegmenter:
    """Return Sudachi with its small dictionary, or skip the test."""
    require_package("sudachipy")
    require_package("sudachidict_small")
    version = metadata.version("sudachidict_small")
    settings = WordSegmenter("sudachi", "sudachidict_small", version, split_mode="A", projection="surface")
    return replace(settings, **changes)


def parts(tokenizer: SegmentedTokenizer, text: Any, **options: Any) -> list[tuple[str, tuple[int, int], int | None]]:
    """Return the tokens of a text with their offsets and words."""
    (found,) = tokenizer.encode_batch([text], add_special_tokens=False, **options)
    return list(zip(found.tokens, found.offsets, found.word_ids, strict=True))


def test_offsets_are_those_of_the_text() -> None:
    """MeCab reads the normalized text without its spaces; the offsets are those of the text as it was given."""
    text = "ﾊﾟｿｺﾝ は\n㋿ 東京"
    assert parts(SegmentedTokenizer(lookup(), mecab()), text) == [
        ("パソコン", (0, 5), 0),
        ("は", (6, 7), 1),
        ("令", (8, 9), 2),
        ("和", (8, 9), 3),
        ("東京", (10, 12), 4),
    ]


def test_characters() -> None:
    """A model of characters gets each character of a word, and knows the word it belongs to."""
    tokenizer = SegmentedTokenizer(lookup(), mecab(characters=True))
    assert parts(tokenizer, "東京 ㍻") == [
        ("東", (0, 1), 0),
        ("京", (1, 2), 0),
        ("平", (3, 4), 1),
        ("成", (3, 4), 1),
    ]


def test_projection() -> None:
    """A token of a word that Sudachi writes otherwise has the offsets of the word; none is empty."""
    reading = SegmentedTokenizer(lookup(), sudachi(projection="reading", normalize=False))
    assert parts(reading, "附属")[0] == ("フゾク", (0, 2), 0)
    assert {offsets for _, offsets, _ in parts(reading, "①㋿")} == {(0, 1), (1, 2)}


def test_white_space() -> None:
    """Sudachi returns white space as words, which characters keep unless `trim_whitespace` removes it."""
    kept = SegmentedTokenizer(lookup(), sudachi(characters=True))
    trimmed = SegmentedTokenizer(lookup(), sudachi(characters=True, trim_whitespace=True))
    assert parts(kept, "東 京") == [("東", (0, 1), 0), ("[UNK]", (1, 2), 1), ("京", (2, 3), 2)]
    assert [(token, offsets) for token, offsets, _ in parts(trimmed, "東 京")] == [("東", (0, 1)), ("京", (2, 3))]


def test_pairs_and_words() -> None:
    """Each text of a pair has its own offsets; words that are given are split further, and keep their numbers."""
    tokenizer = SegmentedTokenizer(lookup(), mecab())
    (pair,) = tokenizer.encode_batch([("東京に行きました", " 猫")])
    assert pair.tokens == ("[CLS]", "東京", "に", "行", "##き", "まし", "た", "[SEP]", "猫", "[SEP]")
    assert pair.sequence_ids == (None, 0, 0, 0, 0, 0, 0, None, 1, None)
    assert pair.type_ids == (0, 0, 0, 0, 0, 0, 0, 0, 1, 1)
    assert pair.offsets[1:3] == ((0, 2), (2, 3))
    assert pair.offsets[8] == (1, 2)
    words = parts(tokenizer, ["東京に", "猫"], is_pretokenized=True)
    assert words == [("東京", (0, 2), 0), ("に", (2, 3), 0), ("猫", (0, 1), 1)]


def test_added_tokens() -> None:
    """Added tokens are found before the text is split, the longest first; the model's own are text."""
    tokens = [AddedToken("人々", normalized=False), AddedToken("[E1]", normalized=False, lstrip=True, rstrip=True)]
    tokenizer = SegmentedTokenizer(lookup(*tokens, AddedToken("[E", normalized=False)), sudachi(characters=True))
    found = [(token, offsets) for token, offsets, _ in parts(tokenizer, "東 [E1] 人々[E[SEP]")]
    assert found[:4] == [("東", (0, 1)), ("[E1]", (2, 6)), ("人々", (7, 9)), ("[E", (9, 11))]
    assert [offsets for _, offsets in found[4:]] == [(index, index + 1) for index in range(11, 16)]
    assert "[SEP]" not in {token for token, _ in found}


@pytest.mark.parametrize("settings", [mecab, sudachi, lambda **_: WordSegmenter("basic")])
def test_typed_special_tokens_are_text(settings: Callable[..., WordSegmenter]) -> None:
    """A special token of the model that is typed in a text is ordinary text, alone or in a word."""
    tokenizer = SegmentedTokenizer(lookup(), settings())
    for special in ("[SEP]", "[CLS]", "[MASK]", "[PAD]"):
        for text in (special, f"東京{special}", f"{special}{special} {special}.", f"a{special}1"):
            (found,) = tokenizer.encode_batch([text], add_special_tokens=False)
            assert special not in found.tokens, text


def test_lower_case() -> None:
    """Texts are lower-cased before they are split, words again after it; a normalized added token matches in both."""
    tokens = [AddedToken("[E1]", normalized=False), AddedToken("[Ab]", normalized=True)]
    tokenizer = SegmentedTokenizer(lookup(*tokens), mecab(lowercase=True, never_split=("TEL",)))
    found = [(token, offsets) for token, offsets, _ in parts(tokenizer, "Ｂert[E1][e1][AB]BERT")]
    assert found[:2] == [("bert", (0, 4)), ("[E1]", (4, 8))]
    assert found[-2:] == [("[Ab]", (12, 16)), ("bert", (16, 20))]
    words = [word.text for found in tokenizer._words(aligned("℡ ㎏ ㏗ ａ𝚺")) for word in found]
    assert words == ["TEL", "kg", "ph", "a", "σ"]


def test_basic() -> None:
    """BERT's own words need no analyzer."""
    tokenizer = SegmentedTokenizer(lookup(), WordSegmenter("basic", never_split=("(^o^)",)))
    offsets = [offsets for _, offsets, _ in parts(tokenizer, "猫(笑) (^o^) は\u309a")]
    assert offsets == [(0, 1), (1, 2), (2, 3), (3, 4), (5, 10), (11, 13)]


@pytest.mark.parametrize("settings", [mecab, sudachi])
def test_threads(settings: Callable[..., WordSegmenter]) -> None:
    """Threads that encode at once get the encodings of one after another; no more analyzers are made than threads."""
    texts, tokenizer = sentences(100), SegmentedTokenizer(lookup(), settings())
    expected = SegmentedTokenizer(lookup(), settings()).encode_batch(texts)
    barrier = threading.Barrier(8)

    def encode(_: int) -> Any:
        barrier.wait()
        return [tokenizer.encode(text) for text in texts]

    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(encode, range(8)))
    assert 1 <= len(tokenizer._idle) <= 8


def test_forked_processes() -> None:
    """A tokenizer that a process has used works in its forks."""
    mecab()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", FORK], check=True, env=environment, timeout=60)


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error names it; nothing is imported before the first text."""
    tokenizer = SegmentedTokenizer(lookup(), WordSegmenter("mecab", "ipadic", "1.0.0"))
    monkeypatch.setitem(sys.modules, "fugashi", None)
    with pytest.raises(InputError, match=r"fugashi is not installed.* pip install 'bertbundle\[japanese\]'"):
        tokenizer.encode("東京")
    monkeypatch.setitem(sys.modules, "ipadic", None)
    with pytest.raises(InputError, match=r"ipadic is not installed.* dictionary ipadic"):
        dictionary_version("ipadic")


@pytest.mark.parametrize(
    ("dictionary", "command"),
    [
        ("ipadic", "pip install 'bertbundle[japanese]'"),
        ("sudachidict_core", "pip install 'bertbundle[japanese]'"),
        ("sudachidict_small", "pip install sudachidict_small"),
        ("sudachidict_full", "pip install sudachidict_full"),
        ("unidic", "pip install unidic, then python -m unidic download"),
    ],
)
def test_missing_dictionary(monkeypatch: pytest.MonkeyPatch, dictionary: str, command: str) -> None:
    """The error for a missing dictionary has the command that installs it: not all are in the extra."""
    monkeypatch.setitem(sys.modules, dictionary, None)
    with pytest.raises(InputError) as caught:
        dictionary_version(dictionary)
    assert str(caught.value).endswith(f"with the dictionary {dictionary}: {command}.")


@pytest.mark.parametrize(
    ("analyzer", "dictionary"),
    [("jumanpp", "jumandic"), ("mecab", "antigravity"), ("sudachi", "ipadic"), ("basic", "os")],
)
def test_unknown_analyzers(analyzer: str, dictionary: str) -> None:
    """A server's manifest cannot make the client import other packages; a newer analyzer needs a newer client."""
    with pytest.raises(ManifestError, match=f"'{analyzer}' with the dictionary '{dictionary}', .* Upgrade bertbundle"):
        SegmentedTokenizer(lookup(), WordSegmenter(analyzer, dictionary))
    assert "antigravity" not in sys.modules


def test_another_version_of_the_dictionary() -> None:
    """A dictionary of another version than in the export is used with a warning that names both."""
    tokenizer = SegmentedTokenizer(lookup(), mecab(dictionary_version="0.9"))
    with pytest.warns(RuntimeWarning, match=r"exported with ipadic 0\.9, version 1\.\S+ is installed"):
        assert tokenizer.encode("東京").tokens == ("[CLS]", "東京", "[SEP]")


def test_texts_that_an_analyzer_cannot_read() -> None:
    """A NUL character, where MeCab stops reading, and texts that are too long for Sudachi are named."""
    assert SegmentedTokenizer(lookup(), mecab()).problem("東\0京").startswith("has a NUL character")
    assert SegmentedTokenizer(lookup(), mecab()).problem("東" * 100_000) == ""
    tokenizer = SegmentedTokenizer(lookup(), sudachi())
    assert tokenizer.problem("㍻" * 8191) == ""  # 16382 characters of 3 bytes
    assert tokenizer.problem("㍻" * 8192) == "has 49152 bytes, Sudachi takes at most 49149. Split it."
    assert len(tokenizer.encode("㍻" * 8191)) > 3
    assert SegmentedTokenizer(lookup(), sudachi(normalize=False)).problem("㍻" * 16383) == ""
    assert SegmentedTokenizer(lookup(), WordSegmenter("basic")).problem("\0" * 50_000) == ""
