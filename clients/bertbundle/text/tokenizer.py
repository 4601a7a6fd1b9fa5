"""Turn text into tokens with character offsets."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

import tokenizers

from bertbundle.contract.manifest import TOKENIZER_FILE
from bertbundle.contract.types import Encoding
from bertbundle.errors import InputError, ManifestError, TextTooLong
from bertbundle.text.windows import truncate

__all__ = ["TRUNCATIONS", "AnyText", "Text", "Tokenizer"]

Text: TypeAlias = "str | tuple[str, str]"
"""A text, or a pair of texts."""
AnyText = TypeVar("AnyText", bound=Sequence[str])
"""Text to a type checker, which takes a list of str for no list of Text; str and pairs both are sequences of str."""
TRUNCATIONS = ("error", "truncate", "window")


class Tokenizer:
    """A bundle's tokenizer, from the text of its tokenizer.json.

    What a text says is text: a "[SEP]" that somebody typed is not the special token.
    """

    def __init__(self, definition: str, *, max_length: int, mask_token: str = "") -> None:
        """Read a tokenizer.

        Args:
            definition: the text of tokenizer.json.
            max_length: most tokens that the model takes, special tokens included.
            mask_token: the one special token that a text may hold; "" for none.

        Raises:
            ManifestError: not a tokenizer definition.
        """
        try:
            definition = _with_mask(definition, mask_token) if mask_token else definition
            self._tokenizer = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:
            raise ManifestError(f"{TOKENIZER_FILE} cannot be read: {error}. Export the bundle again.") from error
        # Padding and truncation are stated by the caller, never by a setting inside a file.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # as text
        self.max_length = max_length

    def encode(self, texts: Sequence[Text], *, truncation: str = "error") -> list[Encoding]:
        """Encode texts or pairs of texts.

        Args:
            texts: the texts.
            truncation: what becomes of a text with more than `max_length` tokens: "error" raises, "truncate" keeps
                its beginning (of a pair: cuts the longer one), "window" leaves it as long as it is, for `split`.

        Raises:
            InputError: an empty text, one that is not valid Unicode, or one that is too long under "error".
        """
        encodings = []
        for encoding in self.encode_each(texts, truncation=truncation):
            if isinstance(encoding, InputError):
                raise encoding
            encodings.append(encoding)
        return encodings

    def encode_each(
        self,
        texts: Sequence[Text | list[str]],
        *,
        truncation: str = "error",
        side: int | None = None,
        split_words: bool = False,
    ) -> list[Encoding | InputError]:
        """Encode texts as `encode` does, with an error in the place of each text that is refused.

        Args:
            texts: the texts.
            truncation: as for `encode`.
            side: text of a pair that "truncate" cuts, None for the longer one.
            split_words: each text is a list of its words; offsets are those of the words joined by single spaces.
        """
        if truncation not in TRUNCATIONS:
            raise ValueError(f"truncation must be 'error', 'truncate' or 'window', got {truncation!r}")
        refusals = [_refusal(text, index, split_words) for index, text in enumerate(texts)]
        kept = [index for index, error in enumerate(refusals) if error is None]
        encodings = iter(self._encode_batch([texts[index] for index in kept], split_words))
        return [
            error or self._fit(texts[index], next(encodings), index, truncation, side)
            for index, error in enumerate(refusals)
        ]

    def _encode_batch(self, texts: list[Text | list[str]], split_words: bool) -> list[Encoding]:
        encodings = self._tokenizer.encode_batch(texts, is_pretokenized=split_words)
        if not split_words:
            return [_encoding(item) for item in encodings]
        return [_joined(_encoding(item), words) for item, words in zip(encodings, texts, strict=True)]

    def _fit(
        self, text: Text | list[str], encoding: Encoding, index: int, truncation: str, side: int | None
    ) -> Encoding | InputError:
        sides = set(encoding.sequence_ids) - {None}
        if len(sides) < (2 if isinstance(text, tuple) else 1):
            return InputError(f"text {index} holds nothing the tokenizer keeps: {_excerpt(text)}. Leave it out.")
        if len(encoding) <= self.max_length or truncation == "window":
            return encoding
        if truncation == "truncate":
            return truncate(encoding, self.max_length, side=side)
        return TextTooLong(
            f"text {index} has {len(encoding)} tokens, this model takes at most {self.max_length}: {_excerpt(text)}. "
            "Split it, or pass truncation='window' (overlapping windows) or 'truncate' (its beginning only)."
        )

    def token_id(self, token: str) -> int:
        """Return the id of a token of the vocabulary.

        Raises:
            ManifestError: it has no such token.
        """
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None:
            raise ManifestError(f"{TOKENIZER_FILE} has no token {token!r}. Export the bundle again.")
        return found

    def first_token_id(self, word: str) -> int:
        """Return the id of a token of the vocabulary, or of the first of those that spell a word.

        Raises:
            InputError: nothing of the word is in the vocabulary.
        """
        found: int | None = self._tokenizer.token_to_id(word)
        ids = [found] if found is not None else self._tokenizer.encode(word, add_special_tokens=False).ids
        if not ids:
            raise InputError(f"no token spells {word!r}. Leave it out.")
        return int(ids[0])

    def decode(self, token_id: int) -> str:
        """Return a token of the vocabulary as text.

        Raises:
            InputError: it has no such token.
        """
        if not 0 <= token_id < self._tokenizer.get_vocab_size():
            raise InputError(f"no token {token_id}, the vocabulary has {self._tokenizer.get_vocab_size()}.")
        return str(self._tokenizer.decode([token_id], skip_special_tokens=False))

    def join(self, tokens: Sequence[str]) -> str:
        """Return the text that tokens of the vocabulary spell: ``["ber", "##lin"]`` is "berlin" to BERT."""
        decoder = self._tokenizer.decoder or tokenizers.decoders.WordPiece()
        return str(decoder.decode(list(tokens)))

    @property
    def subword_prefix(self) -> str:
        """What the vocabulary writes before a piece that continues a word; "" if nothing."""
        return str(getattr(self._tokenizer.model, "continuing_subword_prefix", None) or "")

    @property
    def unknown_token(self) -> str | None:
        """The token for what is not in the vocabulary, if it has one."""
        unknown: str | None = getattr(self._tokenizer.model, "unk_token", None)
        return unknown


def _with_mask(definition: str, mask_token: str) -> str:
    """Make the mask a token that texts may hold: other special tokens are read as the text they are."""
    data = json.loads(definition)
    for token in data["added_tokens"]:
        token["special"] = token["special"] and token["content"] != mask_token
    return json.dumps(data, ensure_ascii=False)


def _refusal(text: object, index: int, split_words: bool) -> InputError | None:
    """Return why a text cannot be tokenized at all.

    Raises:
        TypeError: it is neither a text nor a pair, or not a list of words where that is meant.
    """
    parts = _words(text, index) if split_words else _parts(text, index)
    if not all(part.strip() for part in parts):
        return InputError(f"text {index} is empty. Leave it out, or give it some text.")
    return next((error for part in parts if (error := _unicode_error(part, index))), None)


def _parts(text: object, index: int) -> Sequence[str]:
    parts = text if isinstance(text, tuple) else (text,)
    if not all(isinstance(part, str) for part in parts) or (isinstance(text, tuple) and len(text) != 2):
        raise TypeError(f"text {index} must be a str or a pair of str, got {type(text).__name__}: {text!r:.60}")
    return parts


def _words(text: object, index: int) -> Sequence[str]:
    if not isinstance(text, list) or not all(isinstance(word, str) for word in text):
        raise TypeError(f"text {index} must be a list of words (is_split_into_words), got {text!r:.60}")
    return [" ".join(text)]


def _unicode_error(text: str, index: int) -> InputError | None:
    """Refuse half a surrogate pair: a str may hold one, UTF-8 and so the tokenizer cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return InputError(
            f"text {index} is not valid Unicode: lone surrogate {text[error.start]!a} at position {error.start}. "
            "Decode it from its bytes again, or drop the character."
        )
    return None


def _excerpt(text: Text | list[str]) -> str:
    joined = text if isinstance(text, str) else (" " if isinstance(text, list) else " / ").join(text)
    return repr(joined if len(joined) <= 60 else joined[:57] + "...")


def _joined(encoding: Encoding, words: Sequence[str]) -> Encoding:
    """Move offsets within each word to offsets within the words joined by spaces."""
    starts = list(itertools.accumulate((len(word) + 1 for word in words), initial=0))
    offsets = tuple(
        offset if word is None else (starts[word] + offset[0], starts[word] + offset[1])
        for offset, word in zip(encoding.offsets, encoding.word_ids, strict=True)
    )
    return replace(encoding, offsets=offsets)


def _encoding(encoding: tokenizers.Encoding) -> Encoding:
    return Encoding(
        ids=tuple(encoding.ids),
        type_ids=tuple(encoding.type_ids),
        tokens=tuple(encoding.tokens),
        offsets=tuple(encoding.offsets),
        word_ids=tuple(encoding.word_ids),
        sequence_ids=tuple(encoding.sequence_ids),
    )
