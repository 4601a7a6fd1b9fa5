"""Tokenize text, with character offsets."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

import tokenizers

from bertbundle.contract.manifest import TOKENIZER_FILE
from bertbundle.contract.types import Encoding
from bertbundle.contract.word_segmenter import WORD_SEGMENTER, WordSegmenter
from bertbundle.errors import InputError, ManifestError, TextTooLong
from bertbundle.text.japanese import SegmentedTokenizer
from bertbundle.text.windows import truncate

__all__ = ["TRUNCATIONS", "AnyText", "Text", "Tokenizer"]

Text: TypeAlias = "str | tuple[str, str]"
"""A text, or a pair of texts."""
AnyText = TypeVar("AnyText", bound=Sequence[str])
"""Type variable for `Text`, bound to what str and pairs have in common: list is invariant, so a parameter of type
``list[Text]`` would not accept ``list[str]``."""
TRUNCATIONS = ("error", "truncate", "window")
_TOO_LONG_ADVICE = "Split it, or pass truncation='window' (overlapping windows) or 'truncate' (its beginning only)."


class Tokenizer:
    """A bundle's tokenizer, created from the content of its tokenizer.json.

    Special tokens that occur in a text, such as "[SEP]", are encoded as ordinary text.
    """

    def __init__(
        self, definition: str, *, max_length: int, mask_token: str = "", word_segmenter: WordSegmenter | None = None
    ) -> None:
        """Parse a tokenizer definition.

        Args:
            definition: the content of tokenizer.json.
            max_length: maximum number of tokens of the model, including special tokens.
            mask_token: the only special token that is recognized in a text; "" for none.
            word_segmenter: how texts are split into words; None if the definition says so.

        Raises:
            ManifestError: not a tokenizer definition.
        """
        try:
            definition = _without_marker(definition) if word_segmenter else definition
            definition = _with_mask(definition, mask_token) if mask_token else definition
            self._tokenizer = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:
            raise ManifestError(f"{TOKENIZER_FILE} cannot be read: {error}. Export the bundle again.") from error
        # The caller decides about truncation, and `pad_encodings` pads: ignore the settings stored in the file.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # as text
        # A token of these models may begin with the white space in front of a word; its offsets then include it.
        self._has_spaces = isinstance(self._tokenizer.model, tokenizers.models.BPE | tokenizers.models.Unigram)
        self._segmented = SegmentedTokenizer(self._tokenizer, word_segmenter) if word_segmenter else None
        self._encoder = self._segmented or self._tokenizer
        self.max_length = max_length

    def encode(self, texts: Sequence[Text], *, truncation: str = "error") -> list[Encoding]:
        """Encode texts or pairs of texts.

        Args:
            texts: the texts.
            truncation: what to do with a text of more than `max_length` tokens: "error" raises, "truncate" keeps its
                beginning (for a pair, truncates the longer text), "window" keeps all tokens, for `split_into_windows`.

        Raises:
            InputError: a text is empty, not valid Unicode, or too long with "error".
        """
        encodings = []
        for encoding in self.try_encode(texts, truncation=truncation):
            if isinstance(encoding, InputError):
                raise encoding
            encodings.append(encoding)
        return encodings

    def try_encode(
        self,
        texts: Sequence[Text | list[str]],
        *,
        truncation: str = "error",
        sequence_id: int | None = None,
        is_split_into_words: bool = False,
    ) -> list[Encoding | InputError]:
        """Encode texts like `encode`, but return an InputError in place of a text that cannot be encoded.

        Args:
            texts: the texts.
            truncation: see `encode`.
            sequence_id: which text of a pair to truncate, 0 or 1; None for the longer one.
            is_split_into_words: each text is a list of words; offsets refer to the words joined by single spaces.
        """
        if truncation not in TRUNCATIONS:
            raise ValueError(f"truncation must be 'error', 'truncate' or 'window', got {truncation!r}")
        errors = [
            _text_error(text, index, is_split_into_words) or self._analyzer_error(text, index)
            for index, text in enumerate(texts)
        ]
        valid = [text for text, error in zip(texts, errors, strict=True) if error is None]
        encodings = iter(self._encode_batch(valid, is_split_into_words))
        return [
            error or self._fit(texts[index], next(encodings), index, truncation, sequence_id)
            for index, error in enumerate(errors)
        ]

    def _encode_batch(self, texts: list[Text | list[str]], is_split_into_words: bool) -> list[Encoding]:
        encodings = self._encoder.encode_batch(texts, is_pretokenized=is_split_into_words)
        if not is_split_into_words:
            converted = [_to_encoding(encoding) for encoding in encodings]
            return list(map(_with_trimmed_offsets, converted, texts)) if self._has_spaces else converted
        return [
            _with_joined_offsets(_to_encoding(encoding), words)
            for encoding, words in zip(encodings, texts, strict=True)
        ]

    def _analyzer_error(self, text: Text | list[str], index: int) -> InputError | None:
        if self._segmented is None:
            return None
        problems = map(self._segmented.problem, (text,) if isinstance(text, str) else text)
        return next((InputError(f"text {index} {problem}") for problem in problems if problem), None)

    def _fit(
        self, text: Text | list[str], encoding: Encoding, index: int, truncation: str, sequence_id: int | None
    ) -> Encoding | InputError:
        """Return the encoding, truncated if requested, or an error if it has no tokens or too many."""
        nonempty = set(encoding.sequence_ids) - {None}
        if len(nonempty) < (2 if isinstance(text, tuple) else 1):
            return InputError(f"text {index} has no tokens{(quoted := _quote(text))}. Leave it out.", quoted=quoted)
        if len(encoding.ids) <= self.max_length or truncation == "window":
            return encoding
        if truncation == "truncate":
            try:
                return truncate(encoding, self.max_length, sequence_id=sequence_id)
            except InputError as error:  # the other text of the pair leaves no room
                return error
        problem = f"text {index} has {len(encoding)} tokens, this model takes at most {self.max_length}"
        return TextTooLong(f"{problem}{(quoted := _quote(text))}. {_TOO_LONG_ADVICE}", quoted=quoted)

    def token_id(self, token: str) -> int:
        """Return the id of a token.

        Raises:
            ManifestError: the vocabulary has no such token.
        """
        token_id: int | None = self._tokenizer.token_to_id(token)
        if token_id is None:
            raise ManifestError(f"{TOKENIZER_FILE} has no token {token!r}. Export the bundle again.")
        return token_id

    def first_token_id(self, word: str) -> int:
        """Return the id of the word if it is a token, else the id of its first token.

        Raises:
            InputError: the word has no tokens.
        """
        token_id: int | None = self._tokenizer.token_to_id(word)
        ids = [token_id] if token_id is not None else self._encoder.encode(word, add_special_tokens=False).ids
        if not ids:
            raise InputError(f"the word {word!r} has no tokens. Leave it out.")
        return int(ids[0])

    def decode(self, token_id: int) -> str:
        """Return a token as text.

        Raises:
            InputError: the vocabulary has no token with this id.
        """
        size = self._tokenizer.get_vocab_size()
        if not 0 <= token_id < size:
            raise InputError(f"no token with id {token_id}, the vocabulary has {size} tokens.")
        return str(self._tokenizer.decode([token_id], skip_special_tokens=False))

    def join(self, tokens: Sequence[str]) -> str:
        """Join tokens to text: ``["ber", "##lin"]`` becomes "berlin" with a BERT tokenizer."""
        decoder = self._tokenizer.decoder or tokenizers.decoders.WordPiece()
        return str(decoder.decode(list(tokens)))

    @property
    def subword_prefix(self) -> str:
        """The prefix of tokens that continue a word, "##" for BERT; "" if there is none."""
        return str(getattr(self._tokenizer.model, "continuing_subword_prefix", None) or "")

    @property
    def padding_id(self) -> int | None:
        """The id of the token named [PAD] or <pad>, or None."""
        ids = [self._tokenizer.token_to_id(name) for name in ("[PAD]", "<pad>")]
        return next((token_id for token_id in ids if token_id is not None), None)

    @property
    def unknown_token(self) -> str | None:
        """The token for text that is not in the vocabulary, or None."""
        token: str | None = getattr(self._tokenizer.model, "unk_token", None)
        return token


def _without_marker(definition: str) -> str:
    """Remove the pre-tokenizer of a tokenizer.json that needs a word segmenter; the tokenizers library has no such."""
    data = json.loads(definition)
    if (data.get("pre_tokenizer") or {}).get("type") == WORD_SEGMENTER:
        data["pre_tokenizer"] = None
    return json.dumps(data, ensure_ascii=False)


def _with_mask(definition: str, mask_token: str) -> str:
    """Mark the mask token as not special, so that it is recognized in texts, unlike other special tokens."""
    data = json.loads(definition)
    for token in data["added_tokens"]:
        token["special"] = token["special"] and token["content"] != mask_token
    return json.dumps(data, ensure_ascii=False)


def _text_error(text: object, index: int, is_split_into_words: bool) -> InputError | None:
    """Return an error if a text is empty or not valid Unicode.

    Raises:
        TypeError: the text is neither a str nor a pair, or not a list of words if `is_split_into_words`.
    """
    parts = _joined_words(text, index) if is_split_into_words else _parts(text, index)
    if not all(part.strip() for part in parts):
        return InputError(f"text {index} is empty. Leave it out, or pass a non-empty text.")
    return next((error for part in parts if (error := _unicode_error(part, index))), None)


def _parts(text: object, index: int) -> Sequence[str]:
    parts = text if isinstance(text, tuple) else (text,)
    if not all(isinstance(part, str) for part in parts) or (isinstance(text, tuple) and len(text) != 2):
        raise TypeError(f"text {index} must be a str or a pair of str, got {type(text).__name__}: {text!r:.60}")
    return parts


def _joined_words(text: object, index: int) -> Sequence[str]:
    if not isinstance(text, list) or not all(isinstance(word, str) for word in text):
        raise TypeError(f"text {index} must be a list of words (is_split_into_words), got {text!r:.60}")
    return [" ".join(text)]


def _unicode_error(text: str, index: int) -> InputError | None:
    """Return an error for a lone surrogate, which cannot be encoded in UTF-8 and so cannot be tokenized."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return InputError(
            f"text {index} is not valid Unicode: lone surrogate {text[error.start]!a} at position {error.start}. "
            "Decode it from its bytes again, or drop the character."
        )
    return None


def _quote(text: Text | list[str]) -> str:
    joined = text if isinstance(text, str) else (" " if isinstance(text, list) else " / ").join(text)
    return f": {joined if len(joined) <= 60 else joined[:57] + '...'!r}"


def _with_trimmed_offsets(encoding: Encoding, text: Text | list[str]) -> Encoding:
    """Exclude white space from the offsets of tokens."""
    parts = (text,) if isinstance(text, str) else text
    offsets = tuple(
        offset if sequence is None else _trim(parts[sequence], *offset)
        for offset, sequence in zip(encoding.offsets, encoding.sequence_ids, strict=True)
    )
    return replace(encoding, offsets=offsets)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _with_joined_offsets(encoding: Encoding, words: Sequence[str]) -> Encoding:
    """Convert offsets within each word to offsets within the words joined by single spaces."""
    starts = list(itertools.accumulate((len(word) + 1 for word in words), initial=0))
    offsets = tuple(
        offset if word is None else (starts[word] + offset[0], starts[word] + offset[1])
        for offset, word in zip(encoding.offsets, encoding.word_ids, strict=True)
    )
    return replace(encoding, offsets=offsets)


def _to_encoding(encoding: tokenizers.Encoding) -> Encoding:
    return Encoding(
        ids=tuple(encoding.ids),
        type_ids=tuple(encoding.type_ids),
        tokens=tuple(encoding.tokens),
        offsets=tuple(encoding.offsets),
        word_ids=tuple(encoding.word_ids),
        sequence_ids=tuple(encoding.sequence_ids),
    )
