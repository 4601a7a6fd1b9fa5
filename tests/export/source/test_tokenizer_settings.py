"""Settings of a tokenizer: its class, what a tokenizer.json beside them replaces, inputs and lengths."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.architectures import bert_inputs
from bertbundle_export.source.tokenizer_settings import (
    is_japanese,
    live_settings,
    read_object,
    read_tokenizer_settings,
    stated_max_length,
    without_unused_inputs,
)


def write(path: Path, **files: Any) -> Path:
    """Write JSON files and a vocab.txt."""
    (path / "vocab.txt").write_text("[UNK]\n", encoding="utf-8")
    return write_json(path, **files)


def write_json(path: Path, **files: Any) -> Path:
    """Write JSON files."""
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["KoBertTokenizer", "JiebaBertTokenizer", "RoFormerTokenizer", 3])
@pytest.mark.parametrize("file", ["tokenizer_config", "config"])
def test_other_classes(tmp_path: Path, file: str, name: Any) -> None:
    """A class of another tokenizer is refused in both files that may name it."""
    path = write(tmp_path, **{file: {"tokenizer_class": name}})
    with pytest.raises(CheckpointError, match=f"{file}.json names {name}, which cannot be converted"):
        read_tokenizer_settings(path)
    with pytest.raises(CheckpointError, match=f"{file}.json names {name}"):
        read_tokenizer_settings(path / "vocab.txt")


def test_the_class_of_tokenizer_config_counts(tmp_path: Path) -> None:
    """The class in tokenizer_config.json is the one that transformers uses, not the one in config.json."""
    classes = {"tokenizer_class": "BertTokenizer"}, {"tokenizer_class": "KoBertTokenizer"}
    write(tmp_path, tokenizer_config=classes[0], config=classes[1])
    assert read_tokenizer_settings(tmp_path) == classes[0]


@pytest.mark.parametrize("file", ["tokenizer_config", "config"])
@pytest.mark.parametrize("definition", [False, True], ids=["vocab", "tokenizer.json"])
def test_code_of_its_own(tmp_path: Path, file: str, *, definition: bool) -> None:
    """A tokenizer implemented by code in the checkpoint is refused, beside a tokenizer.json too."""
    path = write(tmp_path, **{file: {"auto_map": {"AutoTokenizer": ["my.Tokenizer", None]}}})
    if definition:
        write(path, tokenizer={})
    with pytest.raises(CheckpointError, match=rf"/{file}.json has auto_map .*my.Tokenizer"):
        read_tokenizer_settings(path)


def test_models_of_their_own_code_may_have_a_plain_tokenizer(tmp_path: Path) -> None:
    """An `auto_map` of config.json without a tokenizer does not concern the tokenizer."""
    assert read_tokenizer_settings(write(tmp_path, config={"auto_map": {"AutoModel": "my.Model"}})) == {}


@pytest.mark.parametrize(
    "setting",
    [{"never_split": ["a"]}, {"do_basic_tokenize": False}, {"padding_side": "left"}, {"truncation_side": "left"}],
)
def test_beside_a_tokenizer_json(tmp_path: Path, setting: dict[str, Any]) -> None:
    """A setting that a tokenizer.json cannot contain, or that contradicts it, is refused."""
    path = write(tmp_path, tokenizer={}, tokenizer_config=setting)
    with pytest.raises(CheckpointError, match=f"tokenizer_config.json has {next(iter(setting))} "):
        read_tokenizer_settings(path)


def test_what_a_tokenizer_json_replaces(tmp_path: Path) -> None:
    """Beside a tokenizer.json, which defines the tokens, other settings and classes are not checked."""
    config = {"word_tokenizer_type": "mecab", "tokenizer_class": "KoBertTokenizer", "never_split": None, "x": 1}
    assert read_tokenizer_settings(write(tmp_path, tokenizer={}, tokenizer_config=config)) == config


MECAB = {"word_tokenizer_type": "mecab", "mecab_kwargs": {"mecab_dic": "ipadic"}}
NAMED = {"tokenizer_class": "BertJapaneseTokenizer"}


@pytest.mark.parametrize(
    ("files", "japanese"),
    [
        pytest.param({"tokenizer_config": {**MECAB, **NAMED}}, True, id="tokenizer_config"),
        pytest.param({"tokenizer_config": MECAB, "config": NAMED}, True, id="config"),
        pytest.param({"config": NAMED}, True, id="no-settings"),
        pytest.param({"tokenizer_config": MECAB}, True, id="nowhere"),
        pytest.param({"tokenizer_config": {**MECAB, **NAMED}, "tokenizer": {}}, True, id="beside-tokenizer.json"),
        pytest.param({"tokenizer_config": MECAB, "tokenizer": {}}, False, id="nowhere-beside-tokenizer.json"),
        pytest.param({"tokenizer_config": {}}, False, id="bert"),
    ],
)
def test_japanese(tmp_path: Path, files: dict[str, Any], *, japanese: bool) -> None:
    """BertJapaneseTokenizer is named in a file or meant by its settings; as in transformers it needs a vocab.txt."""
    path = write(tmp_path, **files)
    assert is_japanese(path, read_tokenizer_settings(path)) == japanese
    assert is_japanese(path / "vocab.txt", read_tokenizer_settings(path / "vocab.txt")) == (
        japanese or "tokenizer" in files
    )
    assert not is_japanese(path / "tokenizer.json", read_tokenizer_settings(path / "tokenizer.json"))
    (path / "vocab.txt").unlink()
    if "tokenizer" in files:  # without a vocab.txt, there is nothing else to read
        settings = read_tokenizer_settings(write_json(path, tokenizer_config={**files["tokenizer_config"], "x": 1}))
        assert not is_japanese(path, settings)


def test_japanese_code_of_its_own(tmp_path: Path) -> None:
    """Code of its own is refused beside a BertJapaneseTokenizer, too."""
    path = write(tmp_path, config={**NAMED, "auto_map": {"AutoTokenizer": "my.Tokenizer"}})
    with pytest.raises(CheckpointError, match=r"config.json has auto_map 'my.Tokenizer'"):
        read_tokenizer_settings(path)


def test_a_tokenizer_json_by_name(tmp_path: Path) -> None:
    """A tokenizer.json that the user names replaces all settings beside it."""
    path = write(tmp_path, tokenizer={}, tokenizer_config={"auto_map": {"AutoTokenizer": "my.Tokenizer"}})
    assert read_tokenizer_settings(path / "tokenizer.json") == {}


@pytest.mark.parametrize("content", ["[", "[]", '"a"'])
def test_files_that_are_no_objects(tmp_path: Path, content: str) -> None:
    """The error for a file that is not JSON, or not an object, names it."""
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"x.json (is not JSON|contains (list|str), expected an object)"):
        read_object(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, None), ({"model_max_length": 16}, 16), ({"max_len": 32}, 32), ({"model_max_length": 10**30}, None)],
)
def test_stated_max_length(settings: dict[str, Any], expected: int | None) -> None:
    """The length is that of `model_max_length`, or of its old name; transformers' value for "no limit" is none."""
    assert stated_max_length(settings) == expected


@pytest.mark.parametrize(
    ("settings", "config", "types"),
    [
        ({}, {}, True),
        ({"model_input_names": ["input_ids", "attention_mask"]}, {}, False),
        ({"tokenizer_class": "DistilBertTokenizer"}, {}, False),
        ({}, {"tokenizer_class": "RobertaTokenizerFast"}, False),
        ({"tokenizer_class": "BertTokenizer"}, {"tokenizer_class": "DistilBertTokenizer"}, True),
    ],
)
def test_inputs(settings: dict[str, Any], config: dict[str, Any], *, types: bool) -> None:
    """A tokenizer that makes no token_type_ids gives its model none: the second text of a pair has type 0 too."""
    inputs = bert_inputs(vocab_size=9, type_vocab_size=2, pad_id=0)
    assert without_unused_inputs(inputs, settings, config) == (inputs if types else inputs[:2])


def test_inputs_without_a_mask() -> None:
    """A tokenizer that makes no attention_mask is refused."""
    inputs = bert_inputs(vocab_size=9, type_vocab_size=2, pad_id=0)
    with pytest.raises(CheckpointError, match="without attention_mask"):
        without_unused_inputs(inputs, {"model_input_names": ["input_ids"]}, {})


def test_tokenizers_of_live_models() -> None:
    """The settings of a tokenizer of transformers are followed or refused as those of its file; others have none."""
    found = SimpleNamespace(backend_tokenizer=None, model_max_length=16, padding_side="right", do_lower_case=True)
    assert live_settings(found) == {"model_max_length": 16, "padding_side": "right", "do_lower_case": True}
    assert live_settings(SimpleNamespace(padding_side="left")) == {}
    found.truncation_side = "left"
    with pytest.raises(CheckpointError, match="tokenizer= has truncation_side 'left', which is not supported"):
        live_settings(found)
