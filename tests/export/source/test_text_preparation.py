"""What sentence-transformers does with a text in front of the tokenizer, as part of the tokenizer."""

from __future__ import annotations

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from bertbundle.text.tokenizer import Tokenizer
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.text_preparation import add_prompt, lowercase_texts

TOKENS = ["[UNK]", "[CLS]", "[SEP]", *"abcABCéÉσςΣ的:,", "##a", "##b", "##é", "##σ", "##ς"]


def make_tokenizer(*, post: str = "template", lowercase: bool = False) -> tokenizers.Tokenizer:
    """Return a small BERT tokenizer with one of the two kinds of post-processor."""
    tokenizer = tokenizers.Tokenizer(WordPiece({token: i for i, token in enumerate(TOKENS)}, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = {
        "template": processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
        ),
        "bert": processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1)),
        "bytes": processors.ByteLevel(),
    }[post]
    return tokenizer


@pytest.mark.parametrize("post", ["template", "bert"])
@settings(deadline=None)
@given(prompt=st.text("abcAé: ,").map(lambda text: text + ": "), text=st.text("abcAé的: ,σ"))
def test_prompt(post: str, prompt: str, text: str) -> None:
    """A text has the tokens of prompt and text joined, as sentence-transformers encodes them."""
    tokenizer = make_tokenizer(post=post)
    prompted = add_prompt(tokenizer, prompt)
    assert prompted.encode(text).ids == tokenizer.encode(prompt + text).ids
    assert prompted.encode(text, "a").ids == tokenizer.encode(prompt + text, "a").ids


def test_offsets_and_windows() -> None:
    """A prompt has no offsets, and is kept in front of a text that is truncated."""
    tokenizer = Tokenizer(add_prompt(make_tokenizer(), "a: ").to_str(), max_length=6)
    (encoding,) = tokenizer.encode(["b c b c"], truncation="truncate")
    assert encoding.tokens == ("[CLS]", "a", ":", "b", "c", "[SEP]")
    assert encoding.offsets == ((0, 0), (0, 0), (0, 0), (0, 1), (2, 3), (0, 0))


def test_prompts_that_cannot_be_added() -> None:
    """A prompt whose last word grows together with a text, and an unknown kind of post-processor, are refused."""
    with pytest.raises(CheckpointError, match="default prompt 'a', whose last word grows together"):
        add_prompt(make_tokenizer(), "a")
    with pytest.raises(CheckpointError, match="post_processor ByteLevel"):
        add_prompt(make_tokenizer(post="bytes"), "a: ")


def test_lower_case_and_added_tokens() -> None:
    """Lower-casing in front of a tokenizer with added tokens is refused: they would be found in the wrong text."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<e>"])
    with pytest.raises(CheckpointError, match="do_lower_case true, and the tokenizer has the added tokens <e>"):
        lowercase_texts(tokenizer)


@pytest.mark.parametrize("lowercase", [False, True])
@settings(deadline=None)
@given(text=st.text("abABéÉσςΣ的:, '"))
def test_lower_case(text: str, *, lowercase: bool) -> None:
    """Texts are lower-cased as by `str.lower`, which keeps accents and makes a final sigma."""
    tokenizer = make_tokenizer(lowercase=lowercase)
    assert lowercase_texts(tokenizer).encode(text).ids == tokenizer.encode(text.lower()).ids
