"""Kashgari's tokenizer: how texts are split, and what is unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertbundle.contract.types import Encoding
from bertbundle.text.tokenizer import Tokenizer
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.kashgari_tokenizer import describe_splitting, load_kashgari_tokenizer
from bertbundle_export.source.tokenization import split_characters

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
CHINESE = [*SPECIAL, *"上海是市", "A", "a", "["]
ENGLISH = [*SPECIAL, "Ann", "ann", "lives", "##s", "a"]


def _write(path: Path, tokens: list[str], **changes: Any) -> Path:
    settings = {"vocab2idx": {token: index for index, token in enumerate(tokens)}, **changes}
    file = path / "model_config.json"
    file.write_text(json.dumps({"text_processor": {"config": settings}}), encoding="utf-8")
    return file


def _look_up(words: list[str], vocabulary: list[str]) -> list[int]:
    """Return ids as Kashgari 2.0.2 does: [CLS], each word or [UNK], [SEP]."""
    return [2, *(vocabulary.index(word) if word in vocabulary else 1 for word in words), 3]


@pytest.mark.parametrize("text", ["上海是 A市", " Xa\n上", "上\u3000海", "é上", "👍🏽上", "[上"])
def test_characters(tmp_path: Path, text: str) -> None:
    """With a Chinese vocabulary, every character is looked up, white space included, as in list(text)."""
    tokenizer = load_kashgari_tokenizer(_write(tmp_path, CHINESE))
    encoding = tokenizer.encode(text)
    assert encoding.ids == _look_up(list(text), CHINESE)
    assert encoding.offsets[1:-1] == [(index, index + 1) for index in range(len(text))]
    assert describe_splitting(tmp_path / "model_config.json") == "into single characters"


@pytest.mark.parametrize("text", ["Ann lives a", "ann\tLIVES  a\n", "Ann's", "lives."])
def test_words(tmp_path: Path, text: str) -> None:
    """With another vocabulary, words between white space are looked up whole, as in text.split()."""
    tokenizer = load_kashgari_tokenizer(_write(tmp_path, ENGLISH))
    assert tokenizer.encode(text).ids == _look_up(text.split(), ENGLISH)
    assert describe_splitting(tmp_path / "model_config.json") == "at white space"


def test_characters_on_request(tmp_path: Path) -> None:
    """`--characters` splits words into characters, too."""
    tokenizer = split_characters(load_kashgari_tokenizer(_write(tmp_path, ENGLISH)))
    assert tokenizer.encode("a Ann").ids == _look_up(list("a Ann"), ENGLISH)


def test_list_of_words(tmp_path: Path) -> None:
    """A list of words, as Kashgari takes it, is looked up word by word."""
    definition = load_kashgari_tokenizer(_write(tmp_path, ENGLISH)).to_str()
    tokenizer = Tokenizer(definition, max_length=16)
    (encoding,) = tokenizer.try_encode([["Ann", "lives", "!"]], is_split_into_words=True)
    assert isinstance(encoding, Encoding)
    assert list(encoding.ids) == _look_up(["Ann", "lives", "!"], ENGLISH)


@pytest.mark.parametrize("name", ["[PAD]", "[CLS]", "[SEP]"])
def test_typed_special_token(tmp_path: Path, name: str) -> None:
    """The name of a special token that stands in a text is an unknown word: padding would be masked."""
    tokenizer = Tokenizer(load_kashgari_tokenizer(_write(tmp_path, ENGLISH)).to_str(), max_length=16)
    (encoding,) = tokenizer.encode([f"a {name} a"])
    assert list(encoding.ids) == [2, ENGLISH.index("a"), 1, ENGLISH.index("a"), 3]


def test_lowercase(tmp_path: Path) -> None:
    """Texts are lower-cased on request only."""
    file = _write(tmp_path, ENGLISH)
    assert load_kashgari_tokenizer(file).encode("Ann").ids == _look_up(["Ann"], ENGLISH)
    assert load_kashgari_tokenizer(file, lowercase=True).encode("Ann").ids == _look_up(["ann"], ENGLISH)


def test_without_vocabulary(tmp_path: Path) -> None:
    """A configuration without a vocabulary, or without a special token, is refused."""
    with pytest.raises(CheckpointError, match=r"no token token_bos '\[CLS\]', token_eos '\[SEP\]' in its vocabulary"):
        load_kashgari_tokenizer(_write(tmp_path, ["[PAD]", "[UNK]", "a"]))
    (tmp_path / "model_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="has no vocabulary"):
        load_kashgari_tokenizer(tmp_path / "model_config.json")
