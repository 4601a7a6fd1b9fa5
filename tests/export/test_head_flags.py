"""The flags --head and --head-option."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bertbundle import InputError
from bertbundle_export import CheckpointError, HeadSpec
from bertbundle_export.head_flags import add_head_flags, read_head_flags


def parse(*arguments: str) -> argparse.Namespace:
    """Parse the flags."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_head_flags(parser)
    return parser.parse_args(arguments)


def test_heads(tmp_path: Path) -> None:
    """A head has a task, labels from a list or a file, and options; regression has no labels."""
    (tmp_path / "slots.txt").write_text("O\nB-PER\r\n\nI-PER\n", encoding="utf-8-sig")
    options = parse(
        *(
            "--head",
            "intent=text-classification:greet, book",
            "--head",
            f"slots=token-classification:@{tmp_path}/slots.txt",
        ),
        *("--head", "urgency=regression", "--head-option", "intent.multi-label=true"),
        *("--head-option", "slots.word-labels=first", "--head-option", "urgency.pooling=cls"),
    )
    assert read_head_flags(options) == {
        "intent": HeadSpec(task="text-classification", labels=("greet", "book"), multi_label=True),
        "slots": HeadSpec(task="token-classification", labels=("O", "B-PER", "I-PER"), word_labels="first"),
        "urgency": HeadSpec(task="regression", pooling="cls"),
    }


def test_labels_with_punctuation() -> None:
    """A label may have a colon or an equals sign."""
    heads = read_head_flags(parse("--head", "a=text-classification:x:y,u=v"))
    assert heads == {"a": HeadSpec(task="text-classification", labels=("x:y", "u=v"))}


def test_no_heads() -> None:
    """Without --head there are no heads."""
    assert read_head_flags(parse()) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--head", "intent"], "expected NAME=TASK:LABELS with one of the tasks", id="name"),
        pytest.param(["--head", "a=fill-mask:x"], "expected NAME=TASK:LABELS with one of the tasks", id="task"),
        pytest.param(["--head", "a=text-classification:x,,y"], "none of them empty, got 'x,,y'", id="empty_label"),
        pytest.param(["--head", "a=text-classification:x,y,"], "none of them empty, got 'x,y,'", id="last_label"),
        pytest.param(["--head", "=regression"], "expected NAME=TASK:LABELS", id="empty"),
        pytest.param(["--head-option", "a=b"], "expected NAME.OPTION=VALUE with one of the options", id="option"),
        pytest.param(["--head-option", "a.labels=b"], "expected NAME.OPTION=VALUE", id="labels"),
        pytest.param(["--head-option", "a.multi-label=1"], r"\(multi-label is true or false\)", id="switch"),
    ],
)
def test_invalid_flags(arguments: list[str], message: str) -> None:
    """A flag in another form is an error that says which form is expected."""
    with pytest.raises(argparse.ArgumentError, match=message):
        parse(*arguments)


def test_flags_that_contradict() -> None:
    """A head that is named twice, an option of no head and a missing file are errors."""
    with pytest.raises(InputError, match="--head names a head twice: a, a"):
        read_head_flags(parse("--head", "a=regression", "--head", "a=regression"))
    with pytest.raises(InputError, match=r"--head-option b\.word-labels: there is no --head b\."):
        read_head_flags(parse("--head", "a=regression", "--head-option", "b.word-labels=first"))
    with pytest.raises(
        CheckpointError, match=r"nowhere\.txt cannot be read: No such file or directory\. Name a text file"
    ):
        read_head_flags(parse("--head", "a=text-classification:@nowhere.txt"))
