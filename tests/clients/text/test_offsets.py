"""Character offsets of entities, from the tokenizer through the windows, for any text."""

from __future__ import annotations

import os
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbundle import Client, Entity, InputError

TRICKY = (
    "e\u0301", "ｆｕｌｌ", "１２",
    "👩\u200d💻", "👍🏽", "☺\ufe0f", "\u200b", "\ufeff", "\r\n",
    "  ", "\t", "\x00", "한", "ที่", "İ", "ß",
    "ﬁ", "王建国", "北京", "Berlin", "[SEP]", "[CLS]", "[MASK]", "[UNK]", "##lin", "𠮷", "\u0301", "नि", "a" * 120,
)  # fmt: skip
ANY_TEXT = st.lists(st.sampled_from(TRICKY) | st.characters(exclude_categories=["Cs"]), max_size=25).map("".join)
EXAMPLES = int(os.environ.get("BERTBUNDLE_EXAMPLES", "2000"))


@pytest.fixture(scope="module", params=["cased", "uncased"])
def client(request: pytest.FixtureRequest, fakes: Any) -> Client:
    """A client of a model that labels the tokens with all labels in turn."""
    tokenizer = fakes.make_tokenizer(lowercase=request.param == "uncased").to_str()
    labels = {"label_ids": lambda inputs: inputs["input_ids"].cumsum(axis=1) % len(fakes.LABELS)}
    return Client("nowhere:1", "tiny", transport=fakes.FakeTransport(fakes.Model(tokenizer=tokenizer, change=labels)))


def check(text: str, entities: list[Entity]) -> None:
    """Check that entities are spans of the text, in order, without overlap, including combining marks."""
    end = 0
    for entity in entities:
        assert text[entity.start : entity.end] == entity.text
        assert end <= entity.start < entity.end
        end = entity.end
        assert entity.end == len(text) or unicodedata.category(text[entity.end])[0] != "M"


@settings(max_examples=EXAMPLES)
@given(text=ANY_TEXT)
def test_any_text(client: Client, text: str) -> None:
    """For any text, in one window or several, an entity is ``text[start:end]``, including combining marks."""
    try:
        check(text, client.entities(text))
    except InputError as error:
        assert "empty" in str(error) or "has no tokens" in str(error)  # noqa: PT017 - either is right


@settings(max_examples=EXAMPLES // 10)
@given(words=st.lists(st.sampled_from(TRICKY), min_size=1, max_size=12))
def test_any_words(client: Client, words: list[str]) -> None:
    """The offsets of a text that is split into words refer to the words joined by spaces."""
    try:
        entities = client.entities([words], is_split_into_words=True)[0]
    except InputError:
        return
    check(" ".join(words), entities)


def entities(fakes: Any, text: Any, **options: Any) -> list[tuple[str, str]]:
    """Return label and text of the entities of a text."""
    client = Client("nowhere:1", "tiny", transport=fakes.FakeTransport())
    return [(entity.label, entity.text) for entity in client.entities(text, **options)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("BERLI\u0301N\u0301 x", "BERLI\u0301N\u0301", id="combining-marks-at-the-end"),
        pytest.param("bérlin\r\nx", "bérlin", id="accent-and-crlf"),
        pytest.param("x\u3000王建国\ufe0f\u200b", "王建国\ufe0f", id="variation-selector-not-zero-width"),
        pytest.param("  王  建\n国", "王  建\n国", id="runs-of-spaces"),
        pytest.param("😀😀王", "王", id="beyond-the-basic-plane"),
    ],
)
def test_tricky_texts(fakes: Any, text: str, expected: str) -> None:
    """An entity includes combining marks and variation selectors, but no whitespace around it."""
    assert [text for _, text in entities(fakes, text)] == [expected]


def test_typed_special_tokens_are_text(fakes: Any) -> None:
    """A "[SEP]" in a text is encoded as ordinary text."""
    transport = fakes.FakeTransport()
    Client("nowhere:1", "tiny", transport=transport).entities("wang [SEP] [MASK]")
    ids = transport.calls[-1].inputs["input_ids"][0].tolist()
    assert ids.count(fakes.VOCABULARY["[SEP]"]) == 1
    assert fakes.VOCABULARY["[MASK]"] not in ids


def test_mask_token(fakes: Any) -> None:
    """For fill-mask the mask token is recognized, and other special tokens are ordinary text."""
    transport = fakes.FakeTransport(fakes.Model(fakes.make_manifest("fill-mask")))
    masks = Client("nowhere:1", "tiny", transport=transport).fill_mask("[MASK] [SEP]")
    ids = transport.calls[-1].inputs["input_ids"][0].tolist()
    assert (len(masks), ids.count(fakes.VOCABULARY["[SEP]"])) == (1, 1)


def test_split_words(fakes: Any) -> None:
    """With `is_split_into_words`, offsets refer to the words joined by spaces, for one text or a list."""
    words = ["wang", "lives", "in", "Berlin"]
    client: Any = Client("nowhere:1", "tiny", transport=fakes.FakeTransport())
    assert [entity.text for entity in client.entities(words, is_split_into_words=True)] == ["wang", "Berlin"]
    one = client.entities([words, ["a"]], is_split_into_words=True)
    assert [[entity.text for entity in each] for each in one] == [["wang", "Berlin"], []]
    assert one[0][1].start == len("wang lives in ")


@pytest.mark.parametrize("texts", [["a", "b"], [["a", 1]], ["ab", ["c"]]])
def test_invalid_split_words(fakes: Any, texts: Any) -> None:
    """With `is_split_into_words`, texts that are not lists of words raise a TypeError."""
    client: Any = Client("nowhere:1", "tiny", transport=fakes.FakeTransport())
    with pytest.raises(TypeError, match="list of words"):
        client.entities([*texts, ["a"]] if isinstance(texts[0], list) else [["a"], *texts], is_split_into_words=True)
