"""Added tokens, such as entity markers: which of them are recognized in a text."""

from __future__ import annotations

import json
import re

import tokenizers

__all__ = ["own_tokens", "recognize_added_tokens"]

_OWN_NAMES = re.compile(r"[\[<](?:pad|unk|cls|sep|mask|bos|eos|/?s)[\]>]", re.IGNORECASE)


def recognize_added_tokens(definition: str, *, pad_id: int, match: bool = True) -> tuple[str, tuple[str, ...]]:
    """Choose whether the tokens that were added to a model's own are recognized in a text.

    The model's own special tokens never are, because a stranger could type them.

    Args:
        definition: the content of tokenizer.json.
        pad_id: id of the padding token.
        match: whether added tokens are recognized; otherwise they are tokenized like any other text.

    Returns:
        The definition, in which exactly the tokens that `Tokenizer` encodes as text are special, and the tokens that it
        recognizes. A definition without added tokens is returned as it is.

    Raises:
        Exception: not a tokenizer definition; this is what the tokenizers library raises.
    """
    tokenizer = tokenizers.Tokenizer.from_str(definition)
    data = json.loads(definition)
    if not data.get("added_tokens"):
        return definition, ()
    own = own_tokens(tokenizer) | {tokenizer.id_to_token(pad_id)}
    for token in data["added_tokens"]:
        token["special"] = not match or token["content"] in own
    matched = tuple(token["content"] for token in data["added_tokens"] if not token["special"])
    return json.dumps(data, ensure_ascii=False), matched


def own_tokens(tokenizer: tokenizers.Tokenizer) -> set[str | None]:
    """Return the tokens around a text, the unknown token, and added tokens with the usual names of special tokens."""
    around: set[str | None] = {*tokenizer.encode("").tokens, getattr(tokenizer.model, "unk_token", None)}
    names = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    return around | {name for name in names if _OWN_NAMES.fullmatch(name)}
