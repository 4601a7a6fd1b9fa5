"""Turn text into the fixed-length tensors that a bundle's signatures take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import tokenizers

from bertbundle.errors import InputError, ManifestError
from bertbundle.manifest import TOKENIZER_FILE, InputSpec
from bertbundle.primitives import Encoding, InputFeatures

__all__ = ["Text", "Tokenizer", "choose_signature", "pack"]

Text: TypeAlias = "str | tuple[str, str]"
"""A text, or a pair of texts."""


class Tokenizer:
    """A bundle's tokenizer, from the text of its tokenizer.json."""

    def __init__(self, definition: str, *, max_length: int) -> None:
        """Read a tokenizer.

        Args:
            definition: the text of tokenizer.json.
            max_length: most tokens a text may have, special tokens included.

        Raises:
            ManifestError: not a tokenizer definition.
        """
        try:
            self._full = tokenizers.Tokenizer.from_str(definition)
            self._cut = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:
            raise ManifestError(f"{TOKENIZER_FILE} cannot be read: {error}. Export the bundle again.") from error
        # Padding and truncation are stated by the caller, never by a setting inside a file.
        self._full.no_truncation()
        for tokenizer in (self._full, self._cut):
            tokenizer.no_padding()
        self._cut.enable_truncation(max_length)
        self.max_length = max_length

    def encode(self, texts: Sequence[Text], *, truncation: str = "error") -> list[Encoding]:
        """Encode texts or pairs of texts.

        Args:
            texts: the texts.
            truncation: what becomes of a text with more than `max_length` tokens: "error" raises, "truncate" keeps
                its beginning (of a pair: cuts the longer one).

        Raises:
            InputError: an empty text, one that is not valid Unicode, or one that is too long under "error".
        """
        if truncation not in ("error", "truncate"):
            raise ValueError(f"truncation must be 'error' or 'truncate', got {truncation!r}")
        for index, text in enumerate(texts):
            _check_text(text, index)
        tokenizer = self._full if truncation == "error" else self._cut
        encodings = [_encoding(item) for item in tokenizer.encode_batch(list(texts))]
        for index, encoding in enumerate(encodings):
            self._check_length(texts[index], encoding, index)
        return encodings

    def _check_length(self, text: Text, encoding: Encoding, index: int) -> None:
        if len(encoding) > self.max_length:
            raise InputError(
                f"text {index} has {len(encoding)} tokens, this model takes at most {self.max_length}: "
                f"{_excerpt(text)}. Split it, or pass truncation='truncate' to answer from its beginning only."
            )
        sides_kept = {side for side in encoding.sequence_ids if side is not None}
        if len(sides_kept) < (2 if isinstance(text, tuple) else 1):
            raise InputError(f"text {index} holds nothing the tokenizer keeps: {_excerpt(text)}. Leave it out.")

    def token_id(self, token: str) -> int:
        """Return the id of a token of the vocabulary.

        Raises:
            ManifestError: it has no such token.
        """
        found: int | None = self._full.token_to_id(token)
        if found is None:
            raise ManifestError(f"{TOKENIZER_FILE} has no token {token!r}. Export the bundle again.")
        return found

    def decode(self, token_id: int) -> str:
        """Return a token of the vocabulary as text.

        Raises:
            InputError: it has no such token.
        """
        if not 0 <= token_id < self._full.get_vocab_size():
            raise InputError(f"no token {token_id}, the vocabulary has {self._full.get_vocab_size()}.")
        return str(self._full.decode([token_id], skip_special_tokens=False))


def _check_text(text: object, index: int) -> None:
    parts = text if isinstance(text, tuple) else (text,)
    if not all(isinstance(part, str) for part in parts) or (isinstance(text, tuple) and len(text) != 2):
        raise TypeError(f"text {index} must be a str or a pair of str, got {type(text).__name__}: {text!r:.60}")
    if not all(part.strip() for part in parts if isinstance(part, str)):
        raise InputError(f"text {index} is empty. Leave it out, or give it some text.")
    for part in parts:
        _check_unicode(str(part), index)


def _check_unicode(text: str, index: int) -> None:
    """Refuse half a surrogate pair: a str may hold one, UTF-8 and so the tokenizer cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"text {index} is not valid Unicode: lone surrogate {text[error.start]!a} at position {error.start}. "
            "Decode it from its bytes again, or drop the character."
        ) from error


def _excerpt(text: Text) -> str:
    joined = text if isinstance(text, str) else " / ".join(text)
    return repr(joined if len(joined) <= 60 else joined[:57] + "...")


def _encoding(encoding: tokenizers.Encoding) -> Encoding:
    return Encoding(
        ids=tuple(encoding.ids),
        type_ids=tuple(encoding.type_ids),
        tokens=tuple(encoding.tokens),
        offsets=tuple(encoding.offsets),
        word_ids=tuple(encoding.word_ids),
        sequence_ids=tuple(encoding.sequence_ids),
    )


def choose_signature(length: int, signatures: Mapping[str, int]) -> str:
    """Return the name of the shortest signature that holds `length` tokens.

    Raises:
        InputError: none does.

    >>> choose_signature(20, {"serving_default": 128, "length_16": 16, "length_32": 32})
    'length_32'
    """
    holding = [name for name, size in signatures.items() if size >= length]
    if not holding:
        raise InputError(f"no signature holds {length} tokens, the longest takes {max(signatures.values())}.")
    return min(holding, key=lambda name: (signatures[name], name))


_VALUES: Mapping[str, Callable[[Encoding], Sequence[int] | int]] = {
    "input_ids": lambda encoding: encoding.ids,
    "attention_mask": lambda encoding: 1,  # noqa: ARG005 - one shape for all rows
    "token_type_ids": lambda encoding: encoding.type_ids,
}


def pack(encodings: Sequence[Encoding], signature: str, *, length: int, inputs: Sequence[InputSpec]) -> InputFeatures:
    """Pad encodings to one length with the model's own pad values.

    Returns:
        Features with an int32 array of shape ``[len(encodings), length]`` for each input.

    Raises:
        ManifestError: the model takes an input that is not one of `input_ids`, `attention_mask`, `token_type_ids`.
    """
    unknown = [spec.name for spec in inputs if spec.name not in _VALUES]
    if unknown:
        raise ManifestError(f"the model takes an input {unknown[0]!r} that is not known here. Upgrade bertbundle.")
    arrays = {spec.name: np.full((len(encodings), length), spec.pad_value, np.int32) for spec in inputs}
    for row, encoding in enumerate(encodings):
        for name, array in arrays.items():
            array[row, : len(encoding)] = _VALUES[name](encoding)
    return InputFeatures(signature, arrays)
