"""Added tokens that stand in a text: the model's own special tokens are text, others are recognized."""

from __future__ import annotations

import json

import pytest
from tokenizers import AddedToken

from bertbundle.text.added_tokens import own_tokens, recognize_added_tokens
from bertbundle.text.tokenizer import Tokenizer
from fakes import make_tokenizer

TEXT = "a [E1] b <e> c [SEP] [MASK] [PAD]"


def with_markers() -> str:
    """Return a tokenizer with special tokens of its own, and one marker added in each way."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<S>", "</s>"])
    tokenizer.add_special_tokens(["[E1]"])
    tokenizer.add_tokens([AddedToken("<e>", normalized=False)])
    return str(tokenizer.to_str())


def encode(definition: str) -> tuple[str, ...]:
    """Return the tokens as a client encodes the text."""
    (encoding,) = Tokenizer(definition, max_length=64).encode([TEXT])
    return encoding.tokens


def test_match() -> None:
    """Markers are recognized, whichever way they were added; [SEP], [MASK] and [PAD] in a text are not."""
    definition, matched = recognize_added_tokens(with_markers(), pad_id=0)
    assert matched == ("[E1]", "<e>")
    tokens = encode(definition)
    assert tokens[:6] == ("[CLS]", "a", "[E1]", "b", "<e>", "c")
    assert "[MASK]" not in tokens
    assert "[PAD]" not in tokens
    assert tokens.count("[SEP]") == 1


def test_text() -> None:
    """Without recognition all added tokens are tokenized like any other text."""
    definition, matched = recognize_added_tokens(with_markers(), pad_id=0, match=False)
    assert matched == ()
    assert not {"[E1]", "<e>", "[MASK]"} & set(encode(definition))


def test_ids_stay() -> None:
    """Every token keeps its id, and a definition without added tokens stays as it is."""
    before, after = (json.loads(text) for text in (with_markers(), recognize_added_tokens(with_markers(), pad_id=0)[0]))
    assert [(t["id"], t["content"]) for t in before["added_tokens"]] == [
        (t["id"], t["content"]) for t in after["added_tokens"]
    ]
    plain = json.dumps({**json.loads(make_tokenizer().to_str()), "added_tokens": []})
    assert recognize_added_tokens(plain, pad_id=0) == (plain, ())


@pytest.mark.parametrize("pad_id", [0, 10_000])
def test_own_tokens(pad_id: int) -> None:
    """A model's own tokens are those around a text, the padding, and those with usual names."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens(["<MASK>", "[bos]", "[E1]"])
    assert {"[CLS]", "[SEP]", "[UNK]", "<MASK>", "[bos]"} <= own_tokens(tokenizer)
    assert recognize_added_tokens(tokenizer.to_str(), pad_id=pad_id)[1] == ("[E1]",)
