"""Added tokens: their ids, and where they are found in a text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from bertbundle.text.added_tokens import own_tokens
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.tokenizer_settings import read_object

__all__ = ["check_added_ids", "follow_slow_tokenizer"]


def follow_slow_tokenizer(tokenizer: tokenizers.Tokenizer, *, lowercase: bool, where: object) -> tokenizers.Tokenizer:
    """Return a copy that finds added tokens where transformers' slow tokenizer finds them.

    If that one lower-cases, it finds special tokens with capital letters in the text as it is, and others in the
    lower-cased text.

    Args:
        tokenizer: made of files without a tokenizer.json.
        lowercase: whether it lower-cases.
        where: the files, for messages.

    Raises:
        CheckpointError: a token that the two kinds of tokenizers find in different places.
    """
    data = json.loads(tokenizer.to_str())
    own = own_tokens(tokenizer)
    for token in data["added_tokens"]:
        if token["content"] not in own:
            _check_token(tokenizer, token, lowercase=lowercase, where=where)
            as_is = token["special"] and _has_capitals(token["content"])
            token["normalized"] = lowercase and not as_is
    return tokenizers.Tokenizer.from_str(json.dumps(data, ensure_ascii=False))


def check_added_ids(tokenizer: tokenizers.Tokenizer, path: Path, *, where: Path | None = None) -> None:
    """Check that added tokens have the ids that the files of a tokenizer state.

    The tokenizers library numbers them without gaps, whatever the files say.

    Args:
        tokenizer: made of these files.
        path: a tokenizer.json, or a directory with one or with added_tokens.json or tokenizer_config.json.
        where: the directory for messages, if `path` is a copy of it.

    Raises:
        CheckpointError: one has another id.
    """
    for file, ids in _stated_ids(path).items():
        wrong = {token: index for token, index in ids.items() if tokenizer.token_to_id(token) != index}
        for token, index in wrong.items():
            raise CheckpointError(
                f"{(where or file.parent) / file.name} gives the added token {token!r} the id {index}, the tokenizers "
                f"library {tokenizer.token_to_id(token)}: ids must follow each other without gaps, beginning after the "
                "vocabulary. Add the missing tokens to the file, or add tokens to the vocabulary instead."
            )


def _stated_ids(path: Path) -> dict[Path, dict[str, int]]:
    """Return the ids of added tokens by file."""
    definition = path if path.suffix == ".json" else path / "tokenizer.json"
    if definition.is_file():
        stored = read_object(definition).get("added_tokens") or []
        return {definition: {token["content"]: token["id"] for token in stored}}
    config = read_object(path / "tokenizer_config.json").get("added_tokens_decoder") or {}
    return {
        path / "added_tokens.json": read_object(path / "added_tokens.json"),
        path / "tokenizer_config.json": {token["content"]: int(index) for index, token in config.items()},
    }


def _check_token(tokenizer: tokenizers.Tokenizer, token: Mapping[str, Any], *, lowercase: bool, where: object) -> None:
    content, special, problem = token["content"], token["special"], ""
    if token["single_word"]:
        problem = "single_word true"
    elif lowercase and _has_capitals(content) and not special and not token["normalized"]:
        problem = "capital letters and normalized false, while texts are lower-cased"
    elif lowercase and not (special and _has_capitals(content)) and _is_changed(tokenizer, content.lower()):
        problem = "characters that the tokenizer changes"
    if problem:
        raise CheckpointError(
            f"{where} has the added token {content!r} with {problem}: transformers' slow and fast tokenizers find it "
            "in different places. Pass --tokenizer with the tokenizer.json that the model was trained with."
        )


def _has_capitals(content: str) -> bool:
    return content != content.lower()


def _is_changed(tokenizer: tokenizers.Tokenizer, content: str) -> bool:
    """Return whether a text is changed by more than white space, such as that around Chinese characters."""
    return "".join(tokenizer.normalizer.normalize_str(content).split()) != "".join(content.split())
