"""Text to tokens with offsets, and to the arrays of a signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertbundle import InputError, ManifestError
from bertbundle.contract.labels import Tag
from bertbundle.contract.manifest import InputSpec
from bertbundle.contract.types import Encoding
from bertbundle.decoding.entities import decode_entities
from bertbundle.text.features import choose_signature, pad_encodings
from bertbundle.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    Fakes = Any


@pytest.fixture(scope="module")
def tokenizer(fakes: Fakes) -> Tokenizer:
    """A tokenizer of up to 12 tokens."""
    return Tokenizer(fakes.make_tokenizer().to_str(), max_length=12)


def test_encode(tokenizer: Tokenizer) -> None:
    """Tokens have ids, spelling, words, and offsets into the text as given; special tokens have none."""
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
    """Offsets count characters, not bytes or UTF-16 units, whatever comes before."""
    (encoding,) = tokenizer.encode(["😀é 王"])
    assert encoding.offsets[-2] == (3, 4)


@pytest.mark.parametrize("truncation", ["error", "truncate"])
def test_settings_in_the_file_are_ignored(fakes: Fakes, truncation: str) -> None:
    """Truncation and padding that are stored in tokenizer.json neither cut nor pad anything.

    The trap: sentence-transformers stores a truncation of 128 tokens in the file, and texts are cut without a word.
    """
    stored = fakes.make_tokenizer()
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
    """A text of exactly max_length tokens, special tokens included, is not too long."""
    (encoding,) = tokenizer.encode(["a " * 10])
    assert len(encoding) == 12


def test_too_long(tokenizer: Tokenizer) -> None:
    """A text that is too long is an error with its place, both numbers, its beginning, and the next step."""
    with pytest.raises(InputError) as caught:
        tokenizer.encode(["a", "a " * 99])
    assert str(caught.value) == (
        f"text 1 has 101 tokens, this model takes at most 12: {('a ' * 99)[:57] + '...'!r}. "
        "Split it, or pass truncation='window' (overlapping windows) or 'truncate' (its beginning only)."
    )


def test_truncate_keeps_the_end_token(tokenizer: Tokenizer) -> None:
    """A text that is cut has max_length tokens, its beginning, and [SEP] at the end."""
    (encoding,) = tokenizer.encode(["wang " + "a " * 99], truncation="truncate")
    assert encoding.tokens == ("[CLS]", "wang", *"a" * 9, "[SEP]")


def test_truncate_cuts_the_longer_of_a_pair(tokenizer: Tokenizer) -> None:
    """Of a pair the longer text is cut, and both keep their [SEP]."""
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
    """A text that is empty or whitespace, also as one of a pair, is an error with its place and the next step."""
    with pytest.raises(InputError) as caught:
        tokenizer.encode(["a", text])
    assert str(caught.value) == "text 1 is empty. Leave it out, or give it some text."


@pytest.mark.parametrize("text", ["\u200b", "\x00", "\u0301", "\ufffd"])
def test_text_of_which_nothing_is_left(tokenizer: Tokenizer, text: str) -> None:
    """A text of which the tokenizer keeps nothing is an error that shows it."""
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
    """Half a surrogate pair is not text: the error names the text, the character and its position."""
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
        pytest.param((), "tuple", id="no-tuple"),
        pytest.param(("a", 1), "tuple", id="pair-with-int"),
    ],
)
def test_other_types(tokenizer: Tokenizer, text: Any, kind: str) -> None:
    """What is neither a text nor a pair of texts is a TypeError with its place and type."""
    with pytest.raises(TypeError, match=f"text 1 must be a str or a pair of str, got {kind}: "):
        tokenizer.encode(["a", text])


def test_unknown_truncation(tokenizer: Tokenizer) -> None:
    """An unknown truncation is a ValueError that lists the known ones."""
    with pytest.raises(ValueError, match="truncation must be 'error', 'truncate' or 'window', got True"):
        tokenizer.encode(["a"], truncation=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("definition", ["", "{}", "[PAD]\n[UNK]\n", '{"model": null}'])
def test_not_a_tokenizer(definition: str) -> None:
    """What is not a tokenizer.json is a ManifestError that names the file and the next step."""
    with pytest.raises(ManifestError, match=r"^tokenizer.json cannot be read: .*Export the bundle again\.$"):
        Tokenizer(definition, max_length=8)


# ---- any text


@pytest.mark.parametrize("lowercase", [pytest.param(True, id="uncased"), pytest.param(False, id="cased")])
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from("abcé王 北京.한글\u0301 \n")))
def test_offsets_of_any_text(fakes: Fakes, lowercase: bool, text: str) -> None:
    """Whatever the text, a token's offsets are a span of it that is not empty, in order; or the text is refused."""
    tokenizer = Tokenizer(fakes.make_tokenizer(lowercase=lowercase).to_str(), max_length=10_000)
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
def test_any_str_is_encoded_or_refused(tokenizer: Tokenizer, text: str) -> None:
    """Whatever the str, lone surrogates included, it is encoded or refused with an InputError."""
    try:
        (encoding,) = tokenizer.encode([text], truncation="truncate")
    except InputError as error:
        assert str(error).startswith("text 0 ")  # noqa: PT017 - either outcome is right
    else:
        assert len(encoding) <= 12


def test_letters_of_one_syllable(fakes: Fakes) -> None:
    """An uncased tokenizer takes a Hangul syllable apart: its tokens share one character, their entities must not."""
    vocabulary = fakes.VOCABULARY | {letter: 100 + index for index, letter in enumerate(("ᄒ", "##ᅡ", "##ᆫ"))}
    tokenizer = Tokenizer(fakes.make_tokenizer(vocabulary).to_str(), max_length=12)
    (encoding,) = tokenizer.encode(["한"])
    assert encoding.offsets[1:-1] == ((0, 1),) * 3
    entities = decode_entities("한", encoding, [0] * 5, [1.0] * 5, tags=[Tag("B", "X")])
    assert [entity.text for entity in entities] == ["한"]


# ---- signatures and padding


@pytest.mark.parametrize(
    ("length", "signature"),
    [
        pytest.param(1, "length_16", id="shortest"),
        pytest.param(16, "length_16", id="exactly"),
        pytest.param(17, "length_32", id="one-more"),
        pytest.param(33, "length_64", id="two-of-64"),
    ],
)
def test_choose_signature(length: int, signature: str) -> None:
    """The shortest signature that holds the tokens is chosen, whatever their order; of equals the first by name."""
    lengths = {"serving_default": 64, "length_32": 32, "length_64": 64, "length_16": 16}
    assert choose_signature(length, lengths) == signature


def test_no_signature_holds_it() -> None:
    """If none holds the tokens, the error has both numbers."""
    with pytest.raises(InputError, match="no signature fits 65 tokens, the longest takes 64"):
        choose_signature(65, {"serving_default": 64, "length_16": 16})


INPUTS = (
    InputSpec("input_ids", "int32", 9, 100),
    InputSpec("attention_mask", "int32", 0, 2),
    InputSpec("token_type_ids", "int32", 1, 2),
)


def test_pack() -> None:
    """Rows are filled with each input's own pad value; the mask is 1 exactly where tokens are."""
    encodings = [
        Encoding((2, 5, 3), (0, 0, 0), ("", "", ""), ((0, 0),) * 3, (None, 0, None), (None, 0, None)),
        Encoding((2, 3), (0, 1), ("", ""), ((0, 0),) * 2, (None, None), (None, None)),
    ]
    features = pad_encodings(encodings, "length_4", length=4, inputs=INPUTS)
    assert features.signature == "length_4"
    assert {name: array.tolist() for name, array in features.inputs.items()} == {
        "input_ids": [[2, 5, 3, 9], [2, 3, 9, 9]],
        "attention_mask": [[1, 1, 1, 0], [1, 1, 0, 0]],
        "token_type_ids": [[0, 0, 0, 1], [0, 1, 1, 1]],
    }
    assert {array.dtype for array in features.inputs.values()} == {np.dtype(np.int32)}


def test_pack_only_what_the_model_takes(tokenizer: Tokenizer) -> None:
    """A model without token types gets none, and an input that is not known is an error."""
    encodings = tokenizer.encode(["a"])
    assert list(pad_encodings(encodings, "s", length=4, inputs=INPUTS[:2]).inputs) == ["input_ids", "attention_mask"]
    with pytest.raises(ManifestError, match="has an unknown input 'position_ids'"):
        pad_encodings(encodings, "s", length=4, inputs=(InputSpec("position_ids", "int32", 0, 4),))


@pytest.mark.parametrize("pair", [("\u200b", "wang"), ("wang", "\u200b")], ids=["first", "second"])
def test_pair_of_which_a_side_is_not_left(tokenizer: Tokenizer, pair: tuple[str, str]) -> None:
    """Each side of a pair must hold something, as a single text must."""
    with pytest.raises(InputError, match="has no tokens"):
        tokenizer.encode([pair])
