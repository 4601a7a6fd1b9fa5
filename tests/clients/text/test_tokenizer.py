"""The tokenizer: tokens, offsets, truncation and invalid texts."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from bertbundle import InputError, ManifestError, TextTooLong
from bertbundle.contract.types import Encoding
from bertbundle.contract.word_segmenter import WORD_SEGMENTER, WordSegmenter
from bertbundle.text.tokenizer import Tokenizer
from fakes import make_tokenizer
from japanese_texts import lookup
from optional import require_package


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A tokenizer with a maximum length of 12 tokens."""
    return Tokenizer(make_tokenizer().to_str(), max_length=12)


def test_encode(tokenizer: Tokenizer) -> None:
    """Tokens have ids, spellings, word ids, and offsets into the original text; special tokens have no offsets."""
    (encoding,) = tokenizer.encode([" Wang lives in Bérlin"])
    assert encoding.tokens == ("[CLS]", "wang", "lives", "in", "ber", "##lin", "[SEP]")
    assert encoding.ids == (2, 4, 5, 6, 7, 8, 3)
    assert encoding.type_ids == (0,) * 7
    assert encoding.word_ids == (None, 0, 1, 2, 3, 3, None)
    assert encoding.offsets == ((0, 0), (1, 5), (6, 11), (12, 14), (15, 18), (18, 21), (0, 0))


def test_pairs(tokenizer: Tokenizer) -> None:
    """The second text of a pair, and the [SEP] after it, have type id 1."""
    (encoding,) = tokenizer.encode([("wang", "in ber")])
    assert encoding.tokens == ("[CLS]", "wang", "[SEP]", "in", "ber", "[SEP]")
    assert encoding.type_ids == (0, 0, 0, 1, 1, 1)


def test_offsets_count_characters(tokenizer: Tokenizer) -> None:
    """Offsets count characters, not bytes or UTF-16 code units."""
    (encoding,) = tokenizer.encode(["😀é 王"])
    assert encoding.offsets[-2] == (3, 4)


@pytest.mark.parametrize("truncation", ["error", "truncate"])
def test_settings_in_the_file_are_ignored(truncation: str) -> None:
    """Truncation and padding settings that are stored in tokenizer.json are ignored.

    Otherwise texts could be truncated silently: sentence-transformers stores a truncation to 128 tokens in the file.
    """
    stored = make_tokenizer()
    stored.enable_truncation(4)
    stored.enable_padding(length=10)
    text = "a b c a b c"
    assert len(stored.encode(text)) == 10
    assert stored.encode(text).tokens[4:] == ["[PAD]"] * 6
    (encoding,) = Tokenizer(stored.to_str(), max_length=12).encode([text], truncation=truncation)
    assert encoding.tokens == ("[CLS]", "a", "b", "c", "a", "b", "c", "[SEP]")


def test_a_batch_is_not_padded(tokenizer: Tokenizer) -> None:
    """Each text of a batch keeps its own length."""
    assert [len(encoding) for encoding in tokenizer.encode(["a", "a b c"])] == [3, 5]


def test_longest_text(tokenizer: Tokenizer) -> None:
    """A text of exactly max_length tokens, including special tokens, is not too long."""
    (encoding,) = tokenizer.encode(["a " * 10])
    assert len(encoding) == 12


def test_too_long(tokenizer: Tokenizer) -> None:
    """The error for a text that is too long has its index, both lengths, its beginning, and the next step."""
    with pytest.raises(InputError) as caught:
        tokenizer.encode(["a", "a " * 99])
    assert str(caught.value) == (
        f"text 1 has 101 tokens, this model takes at most 12: {('a ' * 99)[:57] + '...'!r}. "
        "Split it, or pass truncation='window' (overlapping windows) or 'truncate' (its beginning only)."
    )


def test_truncation_keeps_special_tokens(tokenizer: Tokenizer) -> None:
    """A truncated text has max_length tokens: the beginning of the text, and [SEP] at the end."""
    (encoding,) = tokenizer.encode(["wang " + "a " * 99], truncation="truncate")
    assert encoding.tokens == ("[CLS]", "wang", *"a" * 9, "[SEP]")


def test_truncation_of_a_pair(tokenizer: Tokenizer) -> None:
    """The longer text of a pair is truncated, and both texts keep their [SEP]."""
    (encoding,) = tokenizer.encode([("wang in", "a " * 99)], truncation="truncate")
    assert encoding.tokens == ("[CLS]", "wang", "in", "[SEP]", *"a" * 7, "[SEP]")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(" ", id="space"),
        pytest.param("\n\t\r\u00a0\u3000", id="whitespace"),
        pytest.param(("a", ""), id="second-of-pair"),
        pytest.param((" ", "a"), id="first-of-pair"),
    ],
)
def test_empty_texts(tokenizer: Tokenizer, text: Any) -> None:
    """The error for an empty or blank text, also in a pair, has its index and the next step."""
    with pytest.raises(InputError) as caught:
        tokenizer.encode(["a", text])
    assert str(caught.value) == "text 1 is empty. Leave it out, or pass a non-empty text."


@pytest.mark.parametrize("text", ["\u200b", "\x00", "\u0301", "\ufffd"])
def test_text_without_tokens(tokenizer: Tokenizer, text: str) -> None:
    """The error for a text without tokens shows the text."""
    with pytest.raises(InputError) as caught:
        tokenizer.encode([text])
    assert str(caught.value) == f"text 0 has no tokens: {text!r}. Leave it out."


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param("a\ud800b", r"lone surrogate '\\ud800' at position 1", id="high"),
        pytest.param("\udcff", r"lone surrogate '\\udcff' at position 0", id="from-surrogateescape"),
        pytest.param("\ude00\ud83d", r"lone surrogate '\\ude00' at position 0", id="swapped"),
        pytest.param(("a", "bc\ud800"), r"lone surrogate '\\ud800' at position 2", id="second-of-pair"),
    ],
)
def test_lone_surrogates(tokenizer: Tokenizer, text: Any, place: str) -> None:
    """The error for a lone surrogate has the index of the text, the character and its position."""
    with pytest.raises(InputError, match=f"^text 1 is not valid Unicode: {place}. Decode it from its bytes again"):
        tokenizer.encode(["a", text])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param(b"a", "bytes", id="bytes"),
        pytest.param(None, "NoneType", id="none"),
        pytest.param(["a"], "list", id="list"),
        pytest.param(("a",), "tuple", id="one-tuple"),
        pytest.param(("a", "b", "c"), "tuple", id="three-tuple"),
        pytest.param((), "tuple", id="empty-tuple"),
        pytest.param(("a", 1), "tuple", id="pair-with-int"),
    ],
)
def test_other_types(tokenizer: Tokenizer, text: Any, kind: str) -> None:
    """A value that is neither a str nor a pair of str raises a TypeError with its index and type."""
    with pytest.raises(TypeError, match=f"text 1 must be a str or a pair of str, got {kind}: "):
        tokenizer.encode(["a", text])


def test_unknown_truncation(tokenizer: Tokenizer) -> None:
    """An unknown truncation raises a ValueError that lists the known ones."""
    with pytest.raises(ValueError, match="truncation must be 'error', 'truncate' or 'window', got True"):
        tokenizer.encode(["a"], truncation=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("definition", ["", "{}", "[PAD]\n[UNK]\n", '{"model": null}'])
def test_not_a_tokenizer(definition: str) -> None:
    """A malformed tokenizer.json raises a ManifestError with the file name and the next step."""
    with pytest.raises(ManifestError, match=r"^tokenizer.json cannot be read: .*Export the bundle again\.$"):
        Tokenizer(definition, max_length=8)


@pytest.mark.parametrize("pair", [("\u200b", "wang"), ("wang", "\u200b")], ids=["first", "second"])
def test_pair_with_a_text_without_tokens(tokenizer: Tokenizer, pair: tuple[str, str]) -> None:
    """Each text of a pair must have tokens."""
    with pytest.raises(InputError, match="has no tokens"):
        tokenizer.encode([pair])


# ---- texts that are split into words first


def segmented(settings: WordSegmenter, definition: str = "") -> Tokenizer:
    """Return a tokenizer with a segmenter."""
    return Tokenizer(definition or lookup().to_str(), max_length=12, mask_token="[MASK]", word_segmenter=settings)  # noqa: S106


def test_words_and_offsets_of_a_segmenter() -> None:
    """Offsets are those of the text, also of a text that is split into words; the mask token is recognized."""
    tokenizer = segmented(WordSegmenter("basic"))
    (encoding,) = tokenizer.encode(["か\u3099 [MASK]猫[SEP]"])
    assert encoding.tokens[1:4] == ("[UNK]", "[MASK]", "猫")
    assert encoding.offsets[1:4] == ((0, 2), (3, 9), (9, 10))
    assert encoding.tokens.count("[SEP]") == 1
    (words,) = tokenizer.try_encode([["猫 猫", "東京"]], is_split_into_words=True)
    assert isinstance(words, Encoding)
    assert words.offsets[1:4] == ((0, 1), (2, 3), (4, 6))
    assert words.word_ids == (None, 0, 0, 1, None)
    assert tokenizer.first_token_id("猫 東京") == tokenizer.token_id("猫")
    with pytest.raises(InputError, match="text 0 has no tokens"):
        tokenizer.encode(["\u200b"])
    with pytest.raises(TextTooLong):
        tokenizer.encode(["猫" * 10 + "。" * 10])


def test_a_text_that_the_analyzer_cannot_read() -> None:
    """A text that MeCab cannot read is refused with its number; others of the batch are encoded."""
    require_package("fugashi")
    tokenizer = segmented(WordSegmenter("mecab", "ipadic", metadata.version("ipadic")))
    found = tokenizer.try_encode(["東京", "東\0京", ("東京", "\0")])
    assert [type(item) for item in found] == [Encoding, InputError, InputError]
    assert str(found[1]) == "text 1 has a NUL character, where MeCab stops reading. Remove it."


def test_a_definition_that_needs_a_segmenter() -> None:
    """The tokenizer.json of such a bundle is read only with its segmenter."""
    definition = json.dumps(json.loads(lookup().to_str()) | {"pre_tokenizer": {"type": WORD_SEGMENTER}})
    assert segmented(WordSegmenter("basic"), definition).encode(["猫"])[0].tokens == ("[CLS]", "猫", "[SEP]")
    with pytest.raises(ManifestError, match=r"tokenizer\.json cannot be read"):
        Tokenizer(definition, max_length=8)


# ---- any text


@pytest.mark.parametrize("lowercase", [pytest.param(True, id="uncased"), pytest.param(False, id="cased")])
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from("abcé王 北京.한글\u0301 \n")))
def test_offsets_of_any_text(lowercase: bool, text: str) -> None:
    """For any text, the offsets of the tokens are non-empty spans in order, or the text is refused."""
    tokenizer = Tokenizer(make_tokenizer(lowercase=lowercase).to_str(), max_length=10_000)
    try:
        (encoding,) = tokenizer.encode([text])
    except InputError:
        assert not any(char in "abcé王北京.한글" for char in text)
        return
    reached = 0
    for word, (start, end) in zip(encoding.word_ids, encoding.offsets, strict=True):
        if word is None:
            assert (start, end) == (0, 0)
            continue
        assert reached <= start < end <= len(text)
        reached = start


@given(text=st.text())
def test_any_text_is_encoded_or_refused(tokenizer: Tokenizer, text: str) -> None:
    """Any str, even with lone surrogates, is encoded or refused with an InputError."""
    try:
        (encoding,) = tokenizer.encode([text], truncation="truncate")
    except InputError as error:
        assert str(error).startswith("text 0 ")  # noqa: PT017 - either outcome is right
    else:
        assert len(encoding) <= 12


def metaspace() -> tokenizers.Tokenizer:
    """Return a tokenizer like ALBERT's or XLM-RoBERTa's, whose tokens begin with the space in front of a word."""
    words = ["<unk>", "\u2581", "\u2581hello", "\u2581world", *"helowrd."]
    model = tokenizers.models.Unigram([(word, -float(index)) for index, word in enumerate(words)], unk_id=0)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens([tokenizers.AddedToken("[MASK]", lstrip=True)])
    return tokenizer


def byte_level() -> tokenizers.Tokenizer:
    """Return a tokenizer like RoBERTa's with trim_offsets false."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    trainer = tokenizers.trainers.BpeTrainer(show_progress=False)
    tokenizer.train_from_iterator(["hello world"] * 9, trainer)
    tokenizer.add_special_tokens([tokenizers.AddedToken("[MASK]", lstrip=True)])
    return tokenizer


@pytest.mark.parametrize("make", [metaspace, byte_level])
def test_offsets_exclude_spaces(make: Any) -> None:
    """Offsets never include the white space that a token begins with; tokens of white space have no length."""
    mask = "[MASK]"
    tokenizer = Tokenizer(make().to_str(), max_length=12, mask_token=mask)
    text = f"hello world {mask}"
    (encoding,) = tokenizer.encode([text])
    assert any(text[start:end] != text[start:end].strip() for start, end in make().encode(text).offsets)
    assert [text[start:end] for start, end in encoding.offsets] == ["hello", "world", mask]
    (pair,) = tokenizer.encode([("hello", "  hello\n world")])
    second = [offsets for offsets, number in zip(pair.offsets, pair.sequence_ids, strict=True) if number == 1]
    assert "".join("  hello\n world"[start:end] for start, end in second) == "helloworld"
