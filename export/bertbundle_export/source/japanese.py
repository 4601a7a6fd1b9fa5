"""Tokenizers of Japanese models: transformers' BertJapaneseTokenizer, which splits texts by MeCab or Sudachi."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, normalizers

from bertbundle.contract.word_segmenter import WordSegmenter
from bertbundle.errors import InputError
from bertbundle.text.japanese import dictionary_version
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.added_tokens import follow_slow_tokenizer
from bertbundle_export.source.settings import check_settings
from bertbundle_export.source.tokenizer_settings import JAPANESE, is_japanese, read_object, read_tokenizer_settings
from bertbundle_export.source.wordpiece import convert_vocabulary, read_vocabulary

__all__ = ["check_no_segmenter", "load_japanese", "load_segmenter", "segmenter_notes"]


def load_japanese(vocab: Path, settings: Mapping[str, Any], *, lowercase: bool | None) -> tokenizers.Tokenizer:
    """Load the part of a BertJapaneseTokenizer that follows `load_segmenter`: it looks up what it gets.

    Args:
        vocab: the vocabulary, a token per line.
        settings: the content of tokenizer_config.json, checked.
        lowercase: overrides `do_lower_case`.

    Raises:
        CheckpointError: added tokens cannot be followed.
    """
    lowers = _lowercase(settings, lowercase)
    tokenizer = convert_vocabulary(vocab.parent, read_vocabulary(vocab), settings, {"do_lower_case": lowers})
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer = follow_slow_tokenizer(tokenizer, lowercase=lowers, where=vocab.parent)
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = None
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer


def load_segmenter(path: Path, *, lowercase: bool | None = None) -> WordSegmenter | None:
    """Return how a tokenizer splits texts into words, if it is a BertJapaneseTokenizer.

    Args:
        path: as for `load_tokenizer`.
        lowercase: overrides `do_lower_case`.

    Raises:
        CheckpointError: a setting cannot be followed, or a dictionary is not installed.
    """
    settings = read_tokenizer_settings(path)
    if not is_japanese(path, settings):
        return None
    where = (path if path.is_dir() else path.parent) / "tokenizer_config.json"
    analyzer = settings.get("word_tokenizer_type") or "basic"
    options = _ANALYZERS[analyzer](where, settings)
    return WordSegmenter(
        analyzer=analyzer,
        lowercase=_lowercase(settings, lowercase),
        never_split=tuple(settings.get("never_split") or ()),
        characters=settings.get("subword_tokenizer_type") == "character",
        **options,
    )


def segmenter_notes(path: Path, segmenter: WordSegmenter | None) -> tuple[str, ...]:
    """Return a note for the manifest if no file names the class of a tokenizer with a segmenter."""
    directory = path if path.is_dir() else path.parent
    files = [read_object(directory / name) for name in ("tokenizer_config.json", "config.json")]
    if segmenter is None or any(file.get("tokenizer_class") for file in files):
        return ()
    note = f"no file of {directory.name} names the class of its tokenizer; its settings are those of {JAPANESE}."
    return (note,)


def check_no_segmenter(segmenter: WordSegmenter | None, setting: str, next_step: str) -> None:
    """Refuse a setting that concerns the tokenizer of a checkpoint with a segmenter.

    Raises:
        CheckpointError: there is a segmenter.
    """
    if segmenter is not None:
        raise CheckpointError(f"{setting} is not supported with a {JAPANESE}. {next_step}")


def _lowercase(settings: Mapping[str, Any], lowercase: bool | None) -> bool:
    return bool(settings.get("do_lower_case")) if lowercase is None else lowercase


def _basic(where: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    del where, settings
    return {"normalize": False}


def _mecab(where: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    options = _options(where, settings, "mecab_kwargs")
    dictionary = options.get("mecab_dic")
    if dictionary is None:
        raise CheckpointError(
            f"{where} states no mecab_dic in mecab_kwargs: older versions of transformers then take ipadic, newer ones "
            "unidic_lite. Add the dictionary that the model was trained with."
        )
    return {**_dictionary(dictionary), "normalize": bool(options.get("normalize_text", True))}


def _sudachi(where: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    options = _options(where, settings, "sudachi_kwargs")
    return {
        **_dictionary(f"sudachidict_{options.get('sudachi_dict_type') or 'core'}"),
        "split_mode": options.get("sudachi_split_mode") or "A",
        "projection": options.get("sudachi_projection") or "surface",
        "normalize": bool(options.get("normalize_text", True)),
        "trim_whitespace": bool(options.get("trim_whitespace")),
    }


_ANALYZERS = {"basic": _basic, "mecab": _mecab, "sudachi": _sudachi}


def _options(where: Path, settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    options = settings.get(name) or {}
    if not isinstance(options, dict):
        raise CheckpointError(f"{where} has {name} {options!r:.80}, expected an object.")
    check_settings(where, name, options)
    return options


def _dictionary(name: str) -> dict[str, str]:
    try:
        return {"dictionary": name, "dictionary_version": dictionary_version(name)}
    except InputError as error:
        raise CheckpointError(str(error)) from error
