"""Build BERT's tokenizer from a vocab.txt and its settings, as transformers' slow tokenizer follows them."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.added_tokens import check_added_ids, follow_slow_tokenizer
from bertbundle_export.source.setting import FOLLOWED
from bertbundle_export.source.settings import SETTINGS
from bertbundle_export.source.tokenizer_settings import settings_of_version_5

__all__ = ["convert_vocabulary", "load_wordpiece", "read_vocabulary"]

_COPIED = ("added_tokens.json", "special_tokens_map.json")
_OWN_SETTINGS = {
    "never_split",
    "do_basic_tokenize",
    "tokenizer_class",
    "model_input_names",
    "word_tokenizer_type",
    "subword_tokenizer_type",
    "mecab_kwargs",
    "sudachi_kwargs",
}
# What BERT's pre-tokenizer separates from words: Unicode's punctuation, and the other ASCII characters that are neither
# letters nor digits.
_PUNCTUATION = r"\p{P}$+<=>^`|~"
_IS_PUNCTUATION = re.compile(r"[^\w\s]|_")
_MISSING_CHINESE = "[\U0002b820-\U0002b91f]"  # the tokenizers library's block of extension E begins at 2B920
_PYTHON_SPACE = r"[\s\x1c-\x1f]"  # what str.split splits at
_MAX_WORD = 100  # longer words are unknown to WordPiece


def load_wordpiece(vocab: Path, settings: Mapping[str, Any], *, lowercase: bool | None) -> tokenizers.Tokenizer:
    """Load a vocab.txt, the settings of its tokenizer_config.json, and the added tokens beside it.

    Args:
        vocab: the vocabulary, a token per line. A byte order mark and blank lines at its end are ignored.
        settings: the content of tokenizer_config.json, checked; empty if there is none.
        lowercase: overrides `do_lower_case`; None without settings lower-cases if no token has a capital letter.

    Raises:
        CheckpointError: the settings contradict each other, or cannot be followed.
    """
    tokens = read_vocabulary(vocab)
    options = _casing(tokens, vocab.parent, lowercase)
    if options.get("do_lower_case") and not (vocab.parent / "tokenizer_config.json").is_file():
        _check_accents(tokens, vocab)
    tokenizer = convert_vocabulary(vocab.parent, tokens, settings, options)
    if settings.get("do_basic_tokenize") is False:
        if lowercase:
            raise CheckpointError(
                f"{vocab.parent / 'tokenizer_config.json'} has do_basic_tokenize false, which never lower-cases: leave "
                "--lowercase out."
            )
        tokenizer.normalizer = None
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PYTHON_SPACE), "removed")
        return follow_slow_tokenizer(tokenizer, lowercase=False, where=vocab.parent)
    lowers = tokenizer.normalizer.lowercase
    tokenizer = follow_slow_tokenizer(tokenizer, lowercase=lowers, where=vocab.parent)
    words = _effective_words(tokenizer, settings.get("never_split") or (), vocab.parent)
    tokenizer.normalizer = _like_slow(tokenizer.normalizer)
    _keep_words(tokenizer, words)
    return tokenizer


def read_vocabulary(vocab: Path) -> list[str]:
    """Return the tokens of a vocab.txt, without a byte order mark and blank lines at its end."""
    lines = vocab.read_text(encoding="utf-8-sig").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _casing(tokens: Collection[str], directory: Path, lowercase: bool | None) -> dict[str, bool]:
    if lowercase is not None:
        return {"do_lower_case": lowercase}
    if (directory / "tokenizer_config.json").is_file():
        return {}
    return {"do_lower_case": all(token == token.lower() for token in tokens if token[:1] not in ("[", "<"))}


def _check_accents(tokens: Collection[str], vocab: Path) -> None:
    """Refuse a lower-case vocabulary with accents if nothing says that texts keep them.

    Vocabularies of Google's uncased models have none, because its tokenizer removes them from all texts.
    """
    for token in tokens:
        if any(unicodedata.category(character) == "Mn" for character in unicodedata.normalize("NFD", token)):
            raise CheckpointError(
                f"{vocab} is lower-cased and has tokens with accents, such as {token!r}, which Google's tokenizer "
                "removes from texts that it lower-cases: the model may have been trained with another one. Write a "
                'tokenizer_config.json beside it: {"do_lower_case": true, "strip_accents": false} keeps them, true '
                "removes them."
            )


def convert_vocabulary(
    directory: Path, tokens: Collection[str], settings: Mapping[str, Any], options: Mapping[str, bool]
) -> tokenizers.Tokenizer:
    """Convert the vocabulary by transformers; it sees nothing but the files that are followed."""
    from transformers import BertTokenizerFast

    followed = {name for row in SETTINGS["tokenizer_config.json"] if row.outcome == FOLLOWED for name in row.names}
    kept = {name: value for name, value in settings.items() if name in followed - _OWN_SETTINGS}
    kept |= settings_of_version_5(settings)
    kept["tokenizer_class"] = "BertTokenizer"  # else transformers guesses it by the path and warns of the difference
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary)
        (target / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8", newline="")
        (target / "tokenizer_config.json").write_text(json.dumps(kept), encoding="utf-8")
        for name in _COPIED:
            if (directory / name).is_file():
                shutil.copyfile(directory / name, target / name)
        tokenizer: tokenizers.Tokenizer = BertTokenizerFast.from_pretrained(
            temporary, local_files_only=True, **options
        ).backend_tokenizer
        check_added_ids(tokenizer, target, where=directory)
    return tokenizer


# ---- characters that transformers' slow and fast tokenizers treat in different ways


def _like_slow(normalizer: normalizers.Normalizer) -> normalizers.Normalizer:
    """Return a BertNormalizer that also composes characters (NFC), and separates the Chinese ones that it leaves out.

    Where accents are stripped, characters are decomposed in the end, so composing them makes no difference.
    """
    steps = [normalizer]
    if not (normalizer.strip_accents or (normalizer.strip_accents is None and normalizer.lowercase)):
        steps.append(normalizers.NFC())
    if normalizer.handle_chinese_chars:
        steps.append(normalizers.Replace(Regex(f"(?<={_MISSING_CHINESE})|(?={_MISSING_CHINESE})"), " "))
    return normalizers.Sequence(steps)


# ---- never_split


def _effective_words(tokenizer: tokenizers.Tokenizer, words: Collection[str], where: Path) -> list[str]:
    """Return the words of `never_split` that a text can contain after cleaning, lower-casing and separation.

    Raises:
        CheckpointError: a word loses its accents before it could be kept.
    """
    normalizer, effective = tokenizer.normalizer, []
    strips = normalizer.strip_accents or (normalizer.strip_accents is None and normalizer.lowercase)
    plain = _like_slow(
        normalizers.BertNormalizer(
            handle_chinese_chars=normalizer.handle_chinese_chars, strip_accents=False, lowercase=normalizer.lowercase
        )
    )
    for word in dict.fromkeys(words):
        cleaned = plain.normalize_str(word)
        if not word or cleaned.strip() != word or len(cleaned.split()) != 1:
            continue  # never equals a word of a text
        if len(word) > _MAX_WORD or (strips and unicodedata.normalize("NFD", word) != word):
            raise CheckpointError(
                f"{where / 'tokenizer_config.json'} has never_split {word!r}, whose accents are stripped or which has "
                f"over {_MAX_WORD} characters: it cannot be kept. Remove it if no text contains it, or pass "
                "--tokenizer with a tokenizer.json that produces the same tokens."
            )
        effective.append(word)
    return effective


def _keep_words(tokenizer: tokenizers.Tokenizer, words: Collection[str]) -> None:
    """Keep words whole: those with punctuation between white space, others also between punctuation.

    A word that the vocabulary does not have becomes one unknown token: each of its characters is replaced by one that
    the vocabulary does not have either.
    """
    if not words:
        return
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    unknown = "|".join(_characters(word) for word in words if word not in vocabulary)
    if unknown:
        tokenizer.normalizer = normalizers.Sequence(
            [tokenizer.normalizer, normalizers.Replace(Regex(unknown), _unused_character(vocabulary))]
        )
    longest_first = sorted((word for word in words if _IS_PUNCTUATION.search(word)), key=len, reverse=True)
    kept = "".join(rf"(?<!\S){re.escape(word)}(?!\S)|" for word in longest_first)
    pattern = Regex(rf"{kept}[{_PUNCTUATION}]|[^\s{_PUNCTUATION}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, "removed", invert=True)


def _characters(word: str) -> str:
    """Return a pattern of each single character of a word, where it stands alone."""
    edge = r"\s" if _IS_PUNCTUATION.search(word) else r"\s" + _PUNCTUATION
    return "|".join(
        f"(?<=^{before}|[{edge}]{before}){re.escape(character)}(?={after}(?:[{edge}]|$))"
        for index, character in enumerate(word)
        for before, after in [(re.escape(word[:index]), re.escape(word[index + 1 :]))]
    )


def _unused_character(vocabulary: Collection[str]) -> str:
    used = {character for token in vocabulary for character in token}
    return next(chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in used)
