"""The Chinese demo: finding files, choosing texts, and the demo end to end."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import demo_chinese
from bertbundle.contract.manifest import Manifest
from ner_data import Sentence


def fill(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).write_text("王 B-PER\n", encoding="utf-8")
    return directory


def test_data_files_are_found_by_their_names(tmp_path: Path) -> None:
    """Files are found by their names; a train file is sufficient, and other files are ignored."""
    fill(tmp_path, "train.char.bmes", "test.txt", "vocab.txt", "train.py")
    found = demo_chinese.find_data(tmp_path)
    assert found == {"train": tmp_path / "train.char.bmes", "test": tmp_path / "test.txt"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param([], "has no file with 'train' in its name", id="empty directory"),
        pytest.param(["train.txt", "train.bmes"], r"several train files: train\.bmes, train\.txt", id="two files"),
        pytest.param(["train.bmes"], "no vocabulary at", id="no vocabulary"),
    ],
)
def test_an_unsuitable_directory_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str], message: str
) -> None:
    """An unsuitable directory gives exit code 2 and one message, before TensorFlow is imported."""
    fill(tmp_path, *names)
    assert demo_chinese.main(["--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert re.match(f"demo_chinese: .*{message}", error)
    assert error.count("\n") == 1


def test_vocabulary_locations(tmp_path: Path) -> None:
    """The vocabulary is the argument, else vocab.txt in the data, else bert-base-chinese's in the parent directory."""
    data = tmp_path / "data"
    data.mkdir()
    outside, inside, chosen = tmp_path / "bert-base-chinese-vocab.txt", data / "vocab.txt", tmp_path / "chosen.txt"
    for path, argument in ((outside, None), (inside, None), (chosen, chosen)):
        path.touch()
        assert demo_chinese.find_vocabulary(data, argument) == path


def test_texts_with_most_entities_come_first() -> None:
    """Texts are sorted by their number of entities; those that do not fit the model are left out."""
    one, two = Sentence(["甲"], ["B-A"]), Sentence(["乙", "丙"], ["B-A", "B-A"])
    long = Sentence(["丁"] * 3, ["B-A"] * 3)
    assert demo_chinese.choose_texts([one, long, two], 2) == ["乙丙", "甲"]


@pytest.mark.slow
def test_the_demo_end_to_end(tmp_path: Path) -> None:
    """Train, export, serve and tag: every step prints a line, and the bundle has the labels."""
    sentence = "王 B-PER\n五 E-PER\n去 O\n北 B-LOC\n京 E-LOC\n。 O\n"
    (tmp_path / "train.bmes").write_text(f"{sentence}\n" * 300 + sentence * 50, encoding="utf-8")
    (tmp_path / "test.bmes").write_text(sentence, encoding="utf-8")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"王五去北京。"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    options = ["--data", str(tmp_path), "--head", "crf", "--epochs", "8", "--output", str(tmp_path / "models")]
    command = [sys.executable, demo_chinese.__file__, *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    for line in (
        r"271 training, 30 dev and 1 test sentences, 5 labels; 1 sentences were longer than 126 characters",
        r"test F1: 100\.0 CRF",
        r"serving chinese-ner on 127\.0\.0\.1:\d+",
        r"PER +王五 +0 +2 +[01]\.\d{3}",
        r"LOC +北京 +3 +5 +[01]\.\d{3}",
    ):
        assert re.search(line, result.stdout), line
    manifest = Manifest.from_json((tmp_path / "models" / "chinese-ner" / "1" / "bundle.json").read_bytes())
    assert manifest.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert (manifest.label_decoding, manifest.tokenizer_lowercase) == ("crf", True)
