"""The files of sentence-transformers: modules, pooling, settings of the encoder, prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertbundle_export.checkpoints.readers.sentence_transformers import (
    SentenceTransformer,
    encoder_directory,
    read_sentence_transformer,
)
from bertbundle_export.errors import CheckpointError

OLD, NEW = "sentence_transformers.models.", "sentence_transformers.base.modules."
PROMPTS = {"prompts": {"query": "query: ", "passage": "p: "}, "default_prompt_name": "query"}


def modules(*kinds: str, folders: tuple[str, ...] = ("", "1_Pooling", "2_Normalize"), package: str = OLD) -> list[Any]:
    """Return the content of a modules.json."""
    return [{"path": path, "type": f"{package}{kind}"} for kind, path in zip(kinds, folders, strict=False)]


def write(path: Path, files: dict[str, Any]) -> Path:
    """Write JSON files."""
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(json.dumps(content), encoding="utf-8")
    return path


PLAIN = modules("Transformer", "Pooling")


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "max", "embedding_dimension": 32, "include_prompt": True}, "max"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "word_embedding_dimension": 8}, "cls"),
        ({"pooling_mode_cls_token": True, "pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
        ({"pooling_mode": ["cls", "mean"]}, "cls, mean"),
        ({"pooling_mode": 3}, "pooling_mode 3"),
        ({"pooling_mode": "mean", "pooling_mode_cls_token": True}, "mean, cls"),
        ({"pooling_mode_cls_token": "yes"}, "pooling_mode_cls_token 'yes'"),
        ({"pooling_mode_future": True}, "pooling_mode_future"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "pooling_mode_mean_sqrt_len_tokens"),
        ({"pooling_mode_mean_tokens": False}, "pooling_mode None"),
        ({}, "pooling_mode None"),
    ],
)
def test_pooling(tmp_path: Path, pooling: dict[str, Any], expected: str) -> None:
    """Both forms of the pooling are read; one that is not supported, or none, is named instead."""
    write(tmp_path, {"modules.json": PLAIN, "1_Pooling/config.json": pooling})
    assert read_sentence_transformer(tmp_path).pooling == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (modules("Transformer", "Pooling", "Normalize"), ("cls", True)),
        (modules("Transformer", "Pooling", "Normalize", package=NEW), ("cls", True)),
        (modules("RoBERTa", "Pooling", "Dropout"), ("cls", False)),
        (modules("Transformer", "Pooling", "LayerNorm"), ("LayerNorm", False)),
        (modules("Transformer", "Dense", folders=("", "1_Pooling")), ("Transformer, Dense", False)),
        (modules("Transformer", "Dense", "Pooling"), ("Transformer, Dense, Pooling", False)),
        (modules("Transformer", "Pooling", "Normalize", "Dense", folders=("", "1_Pooling", "2_Normalize", "3_Dense")),
         ("Transformer, Pooling, Normalize, Dense", True)),
        (modules("Transformer", "Pooling", package="my."), ("my.Transformer, my.Pooling", False)),
        (modules("Transformer", "Normalize", "Pooling"), ("Transformer, Normalize, Pooling", True)),
        (modules("Transformer", "Pooling", "Pooling"), ("Transformer, Pooling, Pooling", False)),
    ],
)  # fmt: skip
def test_modules(tmp_path: Path, content: list[Any], expected: tuple[str, bool]) -> None:
    """An encoder, a pooling and a normalization, in this order, are supported; other modules are named."""
    files = {f"{folder}/config.json": {"pooling_mode": "cls"} for folder in ("1_Pooling", "2_Normalize")}
    found = read_sentence_transformer(write(tmp_path, {"modules.json": content, **files}))
    assert (found.pooling, found.normalize) == expected


def test_folders_of_any_name(tmp_path: Path) -> None:
    """modules.json says which folders hold the encoder and the pooling, also if the source is the encoder's folder."""
    files = {
        "modules.json": modules("BERT", "Pooling", folders=("0_BERT", "pooling")),
        "pooling/config.json": {"pooling_mode": "max"},
        "1_Pooling/config.json": {"pooling_mode": "cls"},
        "0_BERT/sentence_bert_config.json": {"max_seq_length": 64, "do_lower_case": False},
    }
    write(tmp_path, files)
    assert encoder_directory(tmp_path) == tmp_path / "0_BERT"
    expected = SentenceTransformer(pooling="max", max_length=64)
    assert read_sentence_transformer(tmp_path) == read_sentence_transformer(tmp_path / "0_BERT") == expected
    assert read_sentence_transformer(tmp_path / "pooling") == SentenceTransformer()


def test_settings_of_the_encoder_and_prompts(tmp_path: Path) -> None:
    """The length, lower-casing and the default prompt are read; other prompts have no effect."""
    files = {
        "modules.json": PLAIN,
        "1_Pooling/config.json": {"pooling_mode": "mean", "include_prompt": True},
        "sentence_roberta_config.json": {"max_seq_length": 32, "do_lower_case": True},
        "config_sentence_transformers.json": {"__version__": {}, "similarity_fn_name": "cosine", **PROMPTS},
    }
    assert read_sentence_transformer(write(tmp_path, files)) == SentenceTransformer(
        pooling="mean", max_length=32, lowercase=True, prompt="query: "
    )
    write(tmp_path, {"config_sentence_transformers.json": {**PROMPTS, "default_prompt_name": None}})
    assert read_sentence_transformer(tmp_path).prompt == ""


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("modules.json", {}, "is not in sentence-transformers' format"),
        ("modules.json", [{"path": ""}], "is not in sentence-transformers' format"),
        ("1_Pooling/config.json", [], "contains list, expected an object"),
        ("1_Pooling/config.json", {"future": 1}, "future 1, a setting that bertbundle does not know"),
        ("1_Pooling/config.json", {"pooling_mode": "mean", "include_prompt": False}, "include_prompt false"),
        ("sentence_bert_config.json", {"max_seq_length": "long"}, "max_seq_length 'long', expected a number of tokens"),
        ("sentence_bert_config.json", {"model_args": {"a": 1}}, "model_args {'a': 1}, which is not supported"),
        ("config_sentence_transformers.json", {"truncate_dim": 8}, "truncate_dim 8, which is not supported"),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "x"},
            "default_prompt_name 'x', which is none",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, file: str, content: Any, named: str) -> None:
    """A file or a setting that cannot be followed is refused by name."""
    files = {"modules.json": PLAIN, "1_Pooling/config.json": {"pooling_mode": "mean"},
        "config_sentence_transformers.json": PROMPTS
    }  # fmt: skip
    write(tmp_path, {**files, file: content})
    with pytest.raises(CheckpointError, match=named) as caught:
        read_sentence_transformer(tmp_path)
    assert file in str(caught.value)
