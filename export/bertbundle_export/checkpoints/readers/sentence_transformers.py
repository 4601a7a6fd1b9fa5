"""Read the files of sentence-transformers: which modules compute a sentence embedding, and their settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertbundle_export.checkpoints.base import DenseModule
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.setting import no_value
from bertbundle_export.source.settings import check_settings
from bertbundle_export.source.tokenizer_settings import read_object

__all__ = [
    "POOLING_MODES",
    "SentenceTransformer",
    "dense_directories",
    "encoder_directory",
    "read_sentence_transformer",
]

POOLING_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}
"""The supported poolings: sentence-transformers' setting, and the name of `tasks.POOLINGS`."""
_ENCODERS = ("Transformer", "BERT", "DistilBERT", "RoBERTa", "ALBERT")
_ORDER = ("encoder", "Pooling", "Dense", "Normalize")
_ACTIVATIONS = {"torch.nn.modules.activation.Tanh": "tanh", "torch.nn.modules.linear.Identity": "linear"}
_PACKAGE = "sentence_transformers."
_ENCODER_SETTINGS = tuple(f"sentence_{kind}_config.json" for kind in ("bert", "roberta", "distilbert", "albert"))
_SETTINGS_FILE = "config_sentence_transformers.json"


@dataclass(frozen=True, slots=True)
class SentenceTransformer:
    """How sentence-transformers computes a sentence embedding.

    Attributes:
        pooling: a key of `tasks.POOLINGS`, or the description of a computation that is not supported; None if the files
            do not say.
        dense: the Dense modules after the pooling, in order.
        normalize: whether the embedding is scaled to length 1, after all.
        max_length: maximum number of tokens of a text; None if the files do not say.
        lowercase: whether texts are lower-cased in front of the tokenizer.
        prompt: text in front of every text.
    """

    pooling: str | None = None
    dense: tuple[DenseModule, ...] = ()
    normalize: bool = False
    max_length: int | None = None
    lowercase: bool = False
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class _Module:
    """A module of modules.json: the name of its class, and its folder."""

    kind: str
    directory: Path


def encoder_directory(path: Path) -> Path:
    """Return the folder of the encoder: `path`, or the folder that its modules.json names.

    Raises:
        CheckpointError: modules.json cannot be read.
    """
    if (path / "config.json").is_file() or not (path / "modules.json").is_file():
        return path
    return next((module.directory for module in _read_modules(path) if module.kind in _ENCODERS), path)


def dense_directories(path: Path) -> list[Path]:
    """Return the folders of the Dense modules that modules.json names.

    Raises:
        CheckpointError: modules.json cannot be read.
    """
    return [module.directory for module in _read_modules(path) if module.kind == "Dense"]


def read_sentence_transformer(path: Path) -> SentenceTransformer:
    """Read modules.json and the files that it names; the settings that are followed, and no others.

    Args:
        path: the directory of a model, or the folder of its encoder, with modules.json in the directory above.

    Raises:
        CheckpointError: a file cannot be read, or has a setting that cannot be followed.
    """
    root = _root(path)
    modules = _read_modules(root)
    kinds = [module.kind for module in modules]
    encoder = next((module.directory for module in modules if module.kind in _ENCODERS), path)
    folders = [module.directory for module in modules if module.kind == "Pooling"] or [root / "1_Pooling"]
    pooled = _read_checked(folders[0] / "config.json", "1_Pooling/config.json")
    settings = _encoder_settings(encoder)
    prompt = _prompt(root / _SETTINGS_FILE)
    if prompt and pooled.get("include_prompt") is False:
        raise CheckpointError(
            f"{folders[0] / 'config.json'} has include_prompt false and {root / _SETTINGS_FILE} a default prompt: its "
            "tokens would be left out of the pooling, which is not supported. Remove default_prompt_name if texts "
            "are embedded without it."
        )
    unsupported = _unsupported(kinds)
    dense = () if unsupported else tuple(_dense(directory) for directory in dense_directories(root))
    others = [f"Dense with {item.activation}" for item in dense if item.activation not in _ACTIVATIONS.values()]
    return SentenceTransformer(
        pooling=unsupported or ", ".join(others) or _pooling(pooled, stated="Pooling" in kinds),
        dense=dense,
        normalize="Normalize" in kinds,
        max_length=settings.get("max_seq_length"),
        lowercase=settings.get("do_lower_case") is True,
        prompt=prompt,
    )


def _root(path: Path) -> Path:
    """Return the directory with modules.json: `path`, or the one above if its modules.json names `path`."""
    above = path.absolute().parent
    if (path / "modules.json").is_file() or not (above / "modules.json").is_file():
        return path
    encoders = [module.directory for module in _read_modules(above) if module.kind in _ENCODERS]
    return above if path.absolute() in encoders else path


def _read_modules(root: Path) -> list[_Module]:
    file = root / "modules.json"
    try:
        modules = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    except ValueError as error:
        raise CheckpointError(f"{file} is not JSON: {error}.") from error
    if not isinstance(modules, list) or not all(_is_module(module) for module in modules):
        raise CheckpointError(
            f"{file} is not in sentence-transformers' format: expected a list of objects with the texts type and path."
        )
    return [_Module(_kind(module["type"]), root / module.get("path", "")) for module in modules]


def _is_module(module: Any) -> bool:
    return isinstance(module, dict) and isinstance(module.get("type"), str) and isinstance(module.get("path", ""), str)


def _kind(name: str) -> str:
    """Return the class of a module of sentence-transformers, and another one with its package."""
    return name.rsplit(".", 1)[-1] if name.startswith(_PACKAGE) else name


def _unsupported(kinds: Sequence[str]) -> str | None:
    """Return the modules that are not supported, or all if their order is not."""
    order = ["encoder" if kind in _ENCODERS else kind for kind in kinds if kind != "Dropout"]
    others = [kind for kind in order if kind not in _ORDER]
    expected = [kind for kind in _ORDER for _ in range(order.count(kind) if kind == "Dense" else kind in order)]
    if "Dense" in order and "Pooling" not in order:
        return ", ".join(kinds)
    return ", ".join(others or kinds) if order != expected else None


def _read_checked(file: Path, table: str) -> dict[str, Any]:
    content = read_object(file)
    check_settings(file, table, {key: value for key, value in content.items() if not _is_mode(key)})
    return content


def _is_mode(name: str) -> bool:
    return name.startswith("pooling_mode")


def _pooling(stored: Mapping[str, Any], *, stated: bool) -> str | None:
    """Return the pooling; a description of an unsupported one, or of several."""
    compact = stored.get("pooling_mode")
    modes = [compact] if isinstance(compact, str) else list(compact or ()) if isinstance(compact, list) else []
    flags = {key: value for key, value in stored.items() if _is_mode(key) and key != "pooling_mode"}
    modes += [
        POOLING_MODES.get(key, key) if value is True else f"{key} {value!r}"
        for key, value in flags.items()
        if value not in (False, None)
    ]
    unique = list(dict.fromkeys(modes))
    invalid = compact is not None and not isinstance(compact, str | list)
    if invalid or (stated and not unique):
        return f"pooling_mode {compact!r}"
    if len(unique) == 1 and unique[0] in POOLING_MODES.values():
        return str(unique[0])
    return ", ".join(map(str, unique)) or None


def _dense(directory: Path) -> DenseModule:
    """Read the configuration of a Dense module."""
    file = directory / "config.json"
    settings = _read_checked(file, "2_Dense/config.json")
    missing = [name for name in ("in_features", "out_features", "activation_function") if settings.get(name) is None]
    if missing:
        raise CheckpointError(
            f"{file} has no {', '.join(missing)}: it is not that of a Dense module. Download it again."
        )
    return DenseModule(
        directory,
        inputs=settings["in_features"],
        outputs=settings["out_features"],
        has_bias=settings.get("bias", True),
        activation=_ACTIVATIONS.get(str(settings["activation_function"]), str(settings["activation_function"])),
    )


def _encoder_settings(directory: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name in _ENCODER_SETTINGS:
        settings |= _read_checked(directory / name, "sentence_bert_config.json")
    return settings


def _prompt(file: Path) -> str:
    settings = _read_checked(file, _SETTINGS_FILE)
    name, prompts = settings.get("default_prompt_name"), settings.get("prompts")
    if no_value(name):
        return ""
    prompt = prompts.get(name) if isinstance(prompts, dict) else None
    if not isinstance(prompt, str):
        raise CheckpointError(f"{file} has default_prompt_name {name!r}, which is none of its prompts {prompts!r:.80}.")
    return prompt
