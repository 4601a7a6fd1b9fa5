"""The settings of a tokenizer, which stand in tokenizer_config.json and config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertbundle.contract.manifest import InputSpec
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.settings import check_settings

__all__ = [
    "JAPANESE",
    "has_definition",
    "is_japanese",
    "live_settings",
    "read_object",
    "read_tokenizer_settings",
    "settings_of_version_5",
    "stated_max_length",
    "tokenizer_class",
    "without_unused_inputs",
]

JAPANESE = "BertJapaneseTokenizer"
_JAPANESE_SETTINGS = ("word_tokenizer_type", "subword_tokenizer_type", "mecab_kwargs", "sudachi_kwargs")
_SUPPORTED_CLASSES = tuple(
    f"{stem}Tokenizer" for stem in ("Bert", "DistilBert", "Electra", "Roberta", "Albert", "PreTrained", "Auto")
)
# Tokenizers that make no token_type_ids, unless model_input_names says so.
_CLASSES_WITHOUT_TYPES = tuple(
    f"{stem}Tokenizer" for stem in ("DistilBert", "Roberta", "XLMRoberta", "Camembert", "MPNet")
)
# Settings that a tokenizer.json beside tokenizer_config.json does not replace.
_NOT_IN_TOKENIZER_JSON = (
    "auto_map",
    "padding_side",
    "truncation_side",
    "split_special_tokens",
    "model_input_names",
    "model_max_length",
    "max_len",
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
)
_REPLACE = "pass --tokenizer with a tokenizer.json that produces the same tokens."
_MAX_STATED_LENGTH = 10**6  # transformers writes 10**30 for "no limit"


def has_definition(directory: Path) -> bool:
    """Return whether a directory has more than a vocab.txt: a tokenizer.json, or another kind of vocabulary."""
    return (directory / "tokenizer.json").is_file() or not (directory / "vocab.txt").is_file()


def read_tokenizer_settings(path: Path) -> dict[str, Any]:
    """Read and check the tokenizer_config.json of a tokenizer: the settings that are followed, and no others.

    Args:
        path: as for `load_tokenizer`; a tokenizer.json itself has no settings beside it.

    Raises:
        CheckpointError: the file cannot be read, or has a setting that cannot be followed.
    """
    if path.suffix == ".json":
        return {}
    directory = path if path.is_dir() else path.parent
    file = directory / "tokenizer_config.json"
    settings = read_object(file)
    _check_code(directory)
    japanese = is_japanese(path, settings)
    if not japanese:
        _check_class(path, directory, settings)
    next_step = f"Remove it if the model was trained without it, or {_REPLACE}"
    if path.is_dir() and has_definition(path) and not japanese:
        _check_unused(file, settings)
        names = _NOT_IN_TOKENIZER_JSON if (path / "tokenizer.json").is_file() else None
        check_settings(file, file.name, settings, names=names, next_step=next_step)
    else:
        check_settings(file, file.name, settings, next_step=next_step)
    return settings


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON file with an object; an empty one if there is no such file.

    Raises:
        CheckpointError: the file is something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig")) if file.is_file() else {}
    except ValueError as error:
        raise CheckpointError(f"{file} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} contains {type(content).__name__}, expected an object.")
    return content


def is_japanese(path: Path, settings: Mapping[str, Any]) -> bool:
    """Return whether transformers' BertJapaneseTokenizer is meant, which reads a vocab.txt and never a tokenizer.json.

    The first uploads of such models name no class; then its settings tell.

    Args:
        path: as for `load_tokenizer`.
        settings: the content of tokenizer_config.json.
    """
    directory = path if path.is_dir() else path.parent
    vocab = directory / "vocab.txt" if path.is_dir() else path
    if path.suffix == ".json" or not vocab.is_file():
        return False
    name = settings.get("tokenizer_class") or read_object(directory / "config.json").get("tokenizer_class")
    own = not name and any(settings.get(setting) for setting in _JAPANESE_SETTINGS)
    return name == JAPANESE or (own and not (path / "tokenizer.json").is_file())


def _check_code(directory: Path) -> None:
    """Refuse a tokenizer that is code of the checkpoint."""
    auto_map = read_object(directory / "config.json").get("auto_map") or {}
    if isinstance(auto_map, dict) and auto_map.get("AutoTokenizer"):
        raise CheckpointError(
            f"{directory / 'config.json'} has auto_map {auto_map['AutoTokenizer']!r}, code of its own, which is not "
            f"run. To replace the tokenizer, {_REPLACE}"
        )


def _check_class(path: Path, directory: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a tokenizer implemented only in Python: WordPiece would make other tokens of the same vocabulary."""
    file = directory / ("tokenizer_config.json" if settings.get("tokenizer_class") else "config.json")
    name = tokenizer_class(directory, settings)
    stated = [setting for setting in _JAPANESE_SETTINGS if settings.get(setting)]
    if stated and not (path / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{directory / 'tokenizer_config.json'} has {stated[0]} {settings[stated[0]]!r:.80}, which belongs to "
            f"{JAPANESE}, but {file.name} names {name}. Name the class that the model was trained with."
        )
    known = isinstance(name, str) and name.removesuffix("Fast") in _SUPPORTED_CLASSES
    if not known and not (path / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{file} names {name}, which cannot be converted to the tokenizer.json that a bundle needs. Pass "
            "--tokenizer with a tokenizer.json that produces the same tokens."
        )


def tokenizer_class(directory: Path, settings: Mapping[str, Any]) -> Any:
    """Return the name of a tokenizer's class, as its files state it; BERT's if they do not.

    Args:
        directory: the directory with config.json.
        settings: the content of tokenizer_config.json.
    """
    config = read_object(directory / "config.json")
    return settings.get("tokenizer_class") or config.get("tokenizer_class") or "BertTokenizer"


def settings_of_version_5(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings that transformers 5 writes in another form than version 4 reads, in the form of version 4."""
    extra = settings.get("extra_special_tokens")
    if not isinstance(extra, list):
        return {}
    return {
        "extra_special_tokens": {},
        "additional_special_tokens": [*(settings.get("additional_special_tokens") or ()), *extra],
    }


def _check_unused(file: Path, settings: Mapping[str, Any]) -> None:
    """Refuse settings of the slow tokenizer that the files of a fast one, or another kind, do not follow."""
    for name, neutral in (("never_split", ()), ("do_basic_tokenize", True)):
        if settings.get(name) not in (None, [], neutral):
            raise CheckpointError(
                f"{file} has {name} {settings[name]!r:.80}, which transformers' slow tokenizer follows and the "
                "tokenizer beside the file does not. Pass --tokenizer with the tokenizer.json or the vocab.txt that "
                "the model was trained with."
            )


def stated_max_length(settings: Mapping[str, Any]) -> int | None:
    """Return the longest text in tokens that tokenizer_config.json states; None if it states none."""
    stated = settings.get("model_max_length") or settings.get("max_len")
    return int(stated) if stated and stated < _MAX_STATED_LENGTH else None


def live_settings(tokenizer: Any) -> dict[str, Any]:
    """Return and check the settings of a tokenizer of a live model: a tokenizer of transformers, a path, or another.

    Raises:
        CheckpointError: a setting cannot be followed.
    """
    if isinstance(tokenizer, str | Path):
        return read_tokenizer_settings(Path(tokenizer))
    names = [name for name in _NOT_IN_TOKENIZER_JSON if hasattr(tokenizer, "backend_tokenizer")]
    settings = {name: getattr(tokenizer, name) for name in names if hasattr(tokenizer, name)}
    check_settings(Path("tokenizer="), "tokenizer_config.json", settings)
    return settings


def without_unused_inputs(
    inputs: tuple[InputSpec, ...], settings: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[InputSpec, ...]:
    """Return the inputs that the tokenizer gives to its model: without token_type_ids if it makes none.

    Args:
        inputs: the inputs that the model takes.
        settings: the content of tokenizer_config.json.
        config: the content of config.json.

    Raises:
        CheckpointError: the tokenizer makes no attention_mask.
    """
    name = str(settings.get("tokenizer_class") or config.get("tokenizer_class") or "").removesuffix("Fast")
    default = ["input_ids", "attention_mask"] if name in _CLASSES_WITHOUT_TYPES else [spec.name for spec in inputs]
    names = settings.get("model_input_names") or default
    if "attention_mask" not in names:
        raise CheckpointError(
            f"tokenizer_config.json has model_input_names {names} without attention_mask: the model would attend to "
            "padding. Add it if the model was trained with it."
        )
    return tuple(spec for spec in inputs if spec.name != "token_type_ids" or spec.name in names)
