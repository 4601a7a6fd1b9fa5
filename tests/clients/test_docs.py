"""The examples in docs/clients.md."""

from __future__ import annotations

import re

import pytest

from bertbundle import Client
from fakes import FakeTransport, Model, make_manifest
from paths import ROOT

TEXT = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
BLOCKS = [
    block for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL) if "\nwith Client(" in "\n" + block
]
TASKS = {
    "ner": "token-classification",
    "topics": "text-classification",
    "minilm": "feature-extraction",
    "similarity": "regression",
    "squad": "question-answering",
    "mlm": "fill-mask",
    "joint": "multi-task",
}


def test_every_task_has_an_example() -> None:
    """Each task has an example of at most five lines, not counting the import."""
    assert {model for block in BLOCKS for model in re.findall(r'8500", "(\w+)"', block)} == set(TASKS)
    assert all(len([line for line in block.splitlines() if line and "import" not in line]) <= 5 for block in BLOCKS)


@pytest.mark.parametrize("block", [pytest.param(block, id=re.findall(r'", "(\w+)"', block)[0]) for block in BLOCKS])
def test_examples_run(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each example runs with a model of its task and prints something."""

    def connect(_: str, model: str) -> Client:
        return Client("", model, transport=FakeTransport(Model(make_manifest(TASKS[model]))))

    code = block.replace("from bertbundle import Client\n", "").replace("Alex Rivera", "Wang")
    exec(code, {"Client": connect, "context": "Wang lives in Berlin"})  # noqa: S102
    assert capsys.readouterr().out
