"""Character offsets of entities, from the tokenizer through the windows, for any text."""

from __future__ import annotations

import itertools
import os
import unicodedata
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertbundle import Client, Entity, InputError
from fakes import LABELS, VOCABULARY, FakeTransport, Model, connect, make_manifest, make_tokenizer

TRICKY = (
    "e\u0301", "ｆｕｌｌ", "１２",
    "👩\u200d💻", "🇰🇷", "\u1112\u1161\u11ab", "Vie\u0323\u0302t", "👍🏽", "☺\ufe0f", "\u200b", "\ufeff", "\r\n",
    "  ", "\t", "\x00", "한", "ที่", "İ", "ß",
    "ﬁ", "王建国", "北京", "Berlin", "[SEP]", "[CLS]", "[MASK]", "[UNK]", "##lin", "𠮷", "\u0301", "नि", "a" * 120,
)  # fmt: skip
ANY_TEXT = st.lists(st.sampled_from(TRICKY) | st.characters(exclude_categories=["Cs"]), max_size=25).map("".join)
EXAMPLES = int(os.environ.get("BERTBUNDLE_EXAMPLES", "2000"))


@pytest.fixture(scope="module", params=["cased", "uncased"])
def client(request: pytest.FixtureRequest) -> Client:
    """A client of a model that labels the tokens with all labels in turn."""
    tokenizer = make_tokenizer(lowercase=request.param == "uncased").to_str()
    labels = {"label_ids": lambda inputs: inputs["input_ids"].cumsum(axis=1) % len(LABELS)}
    return connect(FakeTransport(Model(tokenizer=tokenizer, overrides=labels)))


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
def test_tricky_texts(text: str, expected: str) -> None:
    """An entity includes combining marks and variation selectors, but no whitespace around it."""
    assert [entity.text for entity in connect(FakeTransport()).entities(text)] == [expected]


@pytest.mark.parametrize("lowercase", [True, False], ids=["uncased", "cased"])
@pytest.mark.parametrize(
    "text",
    ["\ud55c\uad6d x", "Vi\u1ec7t x", "\u00e9\u00e8 x", "\u0928\u093f x", "\u304c x", "\u0958 x"],
    ids=["hangul", "vietnamese", "french", "devanagari", "kana", "nukta"],
)
def test_composed_and_decomposed_texts(text: str, lowercase: bool) -> None:
    """No entity cuts a character, whether it is composed or decomposed, and whatever label each of its parts has."""
    characters = sorted({*text, *unicodedata.normalize("NFD", text)} - {" ", "x"})
    tokens = [*VOCABULARY, *characters, *(f"##{character}" for character in characters)]
    tokenizer = make_tokenizer({token: index for index, token in enumerate(tokens)}, lowercase=lowercase).to_str()
    manifest = make_manifest(inputs=tuple(replace(spec, size=len(tokens)) for spec in make_manifest().inputs))
    for written, first in itertools.product((text, unicodedata.normalize("NFD", text)), range(len(LABELS))):
        outputs: dict[str, Any] = {
            "label_ids": lambda inputs, first=first: (inputs["input_ids"].cumsum(axis=1) + first) % len(LABELS),
            "label_scores": lambda inputs: np.ones(inputs["input_ids"].shape, np.float32),
        }
        for entity in connect(FakeTransport(Model(manifest, tokenizer, overrides=outputs))).entities(written):
            parts = written[: entity.start], entity.text, written[entity.end :]
            joined = "".join(unicodedata.normalize("NFC", part) for part in parts)
            assert joined == unicodedata.normalize("NFC", text)


def test_typed_special_tokens_are_text() -> None:
    """A "[SEP]" in a text is encoded as ordinary text."""
    transport = FakeTransport()
    connect(transport).entities("wang [SEP] [MASK]")
    ids = transport.calls[-1].inputs["input_ids"][0].tolist()
    assert ids.count(VOCABULARY["[SEP]"]) == 1
    assert VOCABULARY["[MASK]"] not in ids


def test_mask_token() -> None:
    """For fill-mask the mask token is recognized, and other special tokens are ordinary text."""
    transport = FakeTransport(Model(make_manifest("fill-mask")))
    masks = connect(transport).fill_mask("[MASK] [SEP]")
    ids = transport.calls[-1].inputs["input_ids"][0].tolist()
    assert (len(masks), ids.count(VOCABULARY["[SEP]"])) == (1, 1)


def test_split_words() -> None:
    """With `is_split_into_words`, offsets refer to the words joined by spaces, for one text or a list."""
    words = ["wang", "lives", "in", "Berlin"]
    client = connect(FakeTransport())
    assert [entity.text for entity in client.entities(words, is_split_into_words=True)] == ["wang", "Berlin"]
    results = client.entities([words, ["a"]], is_split_into_words=True)
    assert [[entity.text for entity in entities] for entities in results] == [["wang", "Berlin"], []]
    assert results[0][1].start == len("wang lives in ")


@pytest.mark.parametrize("texts", [["a", "b"], [["a", 1]], ["ab", ["c"]]])
def test_invalid_split_words(texts: Any) -> None:
    """With `is_split_into_words`, texts that are not lists of words raise a TypeError."""
    client = connect(FakeTransport())
    with pytest.raises(TypeError, match="list of words"):
        client.entities([*texts, ["a"]] if isinstance(texts[0], list) else [["a"], *texts], is_split_into_words=True)
