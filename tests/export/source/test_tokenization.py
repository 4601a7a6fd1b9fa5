"""The tokenizer of a bundle: characters, limits, casing, and unsupported kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bertbundle_export import LoadOptions, export_bundle
from bertbundle_export.checkpoints import load_checkpoint
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.tokenization import load_tokenizer

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


def test_tokenizer_of_another_kind(checkpoint: Write, tmp_path: Path) -> None:
    """A tokenizer implemented only in Python is refused; a tokenizer.json can replace it."""
    path = checkpoint()
    original = tmp_path / "tokenizer.json"
    load_tokenizer(path).save(str(original))
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "KoBertTokenizer"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="KoBertTokenizer, which cannot be converted"):
        load_checkpoint(path, "x", LoadOptions())
    assert load_checkpoint(path, "x", LoadOptions(tokenizer=original)).tokenizer.token_to_id("[UNK]") == 1


def test_characters(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """With `characters` each character is a token with its offset."""
    import tokenizers

    exported = export_bundle(
        checkpoint(), name="t", output=tmp_path / "m", lengths=(), formats=("onnx",), characters=True
    )
    tokenizer = tokenizers.Tokenizer.from_file(str(exported.path / "tokenizer.json"))
    found = tokenizer.encode("1966年 OK")
    assert found.tokens == ["[CLS]", "1", "9", "6", "6", "年", "o", "k", "[SEP]"]
    assert found.offsets[1:-1] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (6, 7), (7, 8)]


def test_limits_of_a_tokenizer_are_removed(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """The truncation and padding of a tokenizer.json, as in sentence-transformers' files, are removed."""
    import tokenizers

    source = checkpoint()
    from bertbundle_export.source.tokenization import load_tokenizer

    tokenizer = load_tokenizer(source)
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=5)
    tokenizer.save(str(source / "tokenizer.json"))
    exported = export_bundle(source, name="t", output=tmp_path / "m", lengths=(), formats=("onnx",))
    loaded = tokenizers.Tokenizer.from_file(str(exported.path / "tokenizer.json"))
    assert len(loaded.encode("a b c d e f g h").ids) == 10
