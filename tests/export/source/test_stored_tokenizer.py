"""A tokenizer.json and the files beside it: transformers' tokens, or an error where they contradict each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.tokenization import load_tokenizer

pytestmark = pytest.mark.slow

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["Hello", "hello", "café", "cafe", "[unused1]", ","]
TEXT = "Hello, café"
CASED = ["[CLS]", "Hello", ",", "café", "[SEP]"]
LOWERED = ["[CLS]", "hello", ",", "cafe", "[SEP]"]


def definition(normalizer: Any = None, *, special: list[str] = SPECIAL) -> tokenizers.Tokenizer:
    """Return a WordPiece tokenizer; without a normalizer, it changes no text."""
    vocabulary = {token: index for index, token in enumerate([*special, *WORDS])}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=special[1]))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    cls, sep = (special[2], 2), (special[3], 3)
    tokenizer.post_processor = processors.BertProcessing(sep, cls)
    return tokenizer


def cased() -> tokenizers.Tokenizer:
    """Return a tokenizer that keeps capital letters and accents."""
    return definition(normalizers.BertNormalizer(lowercase=False))


def write(path: Path, tokenizer: tokenizers.Tokenizer, config: dict[str, Any] | None, *vocabulary: str) -> Path:
    """Write a tokenizer.json, and what stands beside it."""
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    if config is not None:
        (path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if vocabulary:
        (path / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return path


def transformers_tokens(path: Path) -> list[str]:
    """Return the tokens of transformers' fast tokenizer."""
    from transformers import AutoTokenizer

    tokens: list[str] = AutoTokenizer.from_pretrained(str(path))(TEXT).tokens()
    return tokens


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "PreTrainedTokenizer"])
@pytest.mark.parametrize("normalizer", [None, normalizers.BertNormalizer(lowercase=False)], ids=["none", "cased"])
def test_general_class(tmp_path: Path, name: str, normalizer: Any) -> None:
    """The general class follows tokenizer.json, where BERT's class would lower-case and strip accents."""
    path = write(tmp_path, definition(normalizer), {"tokenizer_class": name})
    assert load_tokenizer(path).encode(TEXT).tokens == transformers_tokens(path) == CASED


def test_general_class_of_version_5(tmp_path: Path) -> None:
    """TokenizersBackend is the general class's name in transformers 5; version 4 does not know it."""
    path = write(tmp_path, cased(), {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": []})
    assert load_tokenizer(path).encode(TEXT).tokens == CASED


def test_other_names_of_special_tokens(tmp_path: Path) -> None:
    """Special tokens with other names need not be stated, and no others are added to the vocabulary."""
    special = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
    path = write(tmp_path, definition(special=special), {"tokenizer_class": "PreTrainedTokenizerFast"})
    tokenizer = load_tokenizer(path)
    assert tokenizer.encode(TEXT).tokens == transformers_tokens(path) == ["<s>", "Hello", ",", "café", "</s>"]
    assert tokenizer.get_vocab_size() == len(special + WORDS)


@pytest.mark.parametrize("normalizer", [None, normalizers.Sequence([normalizers.NFC()])], ids=["none", "sequence"])
def test_normalizer_of_another_kind(tmp_path: Path, normalizer: Any) -> None:
    """A normalizer that BERT's class has no settings for is followed; transformers fails if there is none."""
    path = write(tmp_path, definition(normalizer), {"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    assert load_tokenizer(path).encode(TEXT).tokens == CASED


@pytest.mark.parametrize(
    ("normalizer", "name"),
    [
        pytest.param({"lowercase": False}, "do_lower_case", id="cased"),
        pytest.param({"lowercase": True, "strip_accents": False}, "strip_accents", id="accents"),
        pytest.param({"lowercase": True, "handle_chinese_chars": False}, "tokenize_chinese_chars", id="chinese"),
    ],
)
@pytest.mark.parametrize("config", [None, {"tokenizer_class": "BertTokenizer"}], ids=["no-file", "class"])
def test_unstated_settings(tmp_path: Path, normalizer: dict[str, Any], name: str, config: Any) -> None:
    """A normalizer that transformers replaces by its class's default is refused; the file itself can be followed."""
    path = write(tmp_path, definition(normalizers.BertNormalizer(**normalizer)), config)
    with pytest.raises(CheckpointError, match=f"tokenizer_config.json has no {name}, which transformers takes for"):
        load_tokenizer(path)
    stored = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    assert load_tokenizer(path / "tokenizer.json").encode(TEXT).tokens == stored.encode(TEXT).tokens


@pytest.mark.parametrize("lowercase", [True, False])
def test_unstated_settings_without_effect(tmp_path: Path, *, lowercase: bool) -> None:
    """Accents that are kept or stripped by default may be so in the file, too."""
    normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=lowercase)
    path = write(tmp_path, definition(normalizer), {"do_lower_case": lowercase})
    assert load_tokenizer(path).encode(TEXT).tokens == transformers_tokens(path) == (LOWERED if lowercase else CASED)


@pytest.mark.parametrize(("lowercase", "tokens"), [(True, LOWERED), (False, CASED)])
def test_stated_settings_count(tmp_path: Path, tokens: list[str], *, lowercase: bool) -> None:
    """A setting in tokenizer_config.json replaces that of tokenizer.json, as in transformers; so does --lowercase."""
    path = write(
        tmp_path, definition(normalizers.BertNormalizer(lowercase=not lowercase)), {"do_lower_case": lowercase}
    )
    assert load_tokenizer(path).encode(TEXT).tokens == transformers_tokens(path) == tokens
    write(path, cased(), None)
    (path / "tokenizer_config.json").unlink()
    assert load_tokenizer(path, lowercase=lowercase).encode(TEXT).tokens == tokens


def test_casing_that_cannot_be_changed(tmp_path: Path) -> None:
    """--lowercase and --no-lowercase are refused where they would have no effect."""
    path = write(tmp_path, cased(), {"tokenizer_class": "PreTrainedTokenizerFast"})
    for source in (path, path / "tokenizer.json"):
        with pytest.raises(CheckpointError, match="keeps capital letters, which --lowercase cannot change"):
            load_tokenizer(source, lowercase=True)
        assert load_tokenizer(source, lowercase=False).encode(TEXT).tokens == CASED


def test_vocabularies_that_differ(tmp_path: Path) -> None:
    """A vocab.txt in which [unused1] was replaced, beside the old tokenizer.json, is refused; either can be passed."""
    changed = [token.replace("[unused1]", "anfield") for token in [*SPECIAL, *WORDS]]
    path = write(tmp_path, cased(), {"do_lower_case": False}, *changed)
    with pytest.raises(
        CheckpointError, match=r"vocab.txt and tokenizer.json have different .*'anfield' has the id 9 and"
    ):
        load_tokenizer(path)
    assert load_tokenizer(path / "vocab.txt").token_to_id("anfield") == 9
    assert load_tokenizer(path / "tokenizer.json").token_to_id("anfield") is None


@pytest.mark.parametrize("lines", [["[unused1]", ",", "anfield"], ["[unused1]"]], ids=["longer", "shorter"])
def test_vocabularies_of_different_lengths(tmp_path: Path, lines: list[str]) -> None:
    """A vocab.txt with more or fewer tokens than tokenizer.json is refused."""
    path = write(tmp_path, cased(), {"do_lower_case": False}, *SPECIAL, *WORDS[:4], *lines)
    with pytest.raises(CheckpointError, match="have different vocabularies"):
        load_tokenizer(path)


def test_vocabularies_that_agree(tmp_path: Path) -> None:
    """Tokens that were added to tokenizer.json may be in the vocab.txt or not; blank lines at its end do not count."""
    tokenizer = cased()
    tokenizer.add_tokens(["[E1]"])
    for lines in ((*SPECIAL, *WORDS), (*SPECIAL, *WORDS, "[E1]"), (*SPECIAL, *WORDS, "", " ")):
        path = write(tmp_path, tokenizer, {"do_lower_case": False}, *lines)
        assert load_tokenizer(path).encode("Hello [E1]").tokens == ["[CLS]", "Hello", "[E1]", "[SEP]"]


def test_vocabularies_of_bpe(tmp_path: Path) -> None:
    """A vocab.json that differs from tokenizer.json is refused, too."""
    from transformers import RobertaTokenizerFast

    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "b": 6}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    RobertaTokenizerFast.from_pretrained(str(tmp_path)).save_pretrained(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}', encoding="utf-8")
    assert load_tokenizer(tmp_path).encode("ab").ids == [0, 5, 6, 2]
    (tmp_path / "vocab.json").write_text(json.dumps({**vocabulary, "a": 6, "b": 5}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"vocab.json and tokenizer.json have different vocabularies"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("stored", [True, False], ids=["tokenizer.json", "vocab.txt"])
def test_extra_special_tokens_of_version_5(tmp_path: Path, *, stored: bool) -> None:
    """The list of extra special tokens that transformers 5 writes is followed; version 4 expects an object."""
    tokenizer = cased()
    tokenizer.add_special_tokens(["[E1]"])
    config = {"do_lower_case": False, "extra_special_tokens": ["[E1]"]}
    path = write(tmp_path, tokenizer, config, *SPECIAL, *WORDS)
    if not stored:
        (path / "tokenizer.json").unlink()
    assert load_tokenizer(path).encode("Hello [E1]").ids == [2, 5, len(SPECIAL + WORDS), 3]
