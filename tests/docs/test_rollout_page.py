"""The commands and the Python example of docs/rollout.md work as described."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bertbundle import Client
from bertbundle.cli.main import main
from compared_models import TAGGED
from documents import read_blocks
from export_command import run_export
from labelled_servers import Deployment
from local_server import serving

BLOCKS = read_blocks("docs/rollout.md")
COMMANDS = [command for block in BLOCKS if block.language == "sh" for command in block.commands]
OF_THE_EXAMPLE = [command for command in COMMANDS if "resume" in command]


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """The model and the files that the page names, in the working directory."""
    made = Deployment(tmp_path, name="ner")
    (tmp_path / "test.conll").write_text(TAGGED, encoding="utf-8")
    (tmp_path / "texts.txt").write_text("Wang lives in Berlin\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    yield made
    made.stop()


def test_commands(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command of the page succeeds, in order; what is promoted and rolled back is where it was."""
    address = deployment.start()
    text = deployment.config.read_text(encoding="utf-8")
    for command in COMMANDS:
        if command not in OF_THE_EXAMPLE:
            program, *arguments = shlex.split(command)
            assert program == "bertbundle"
            arguments = [argument.replace("localhost:8500", address) for argument in arguments]
            server = [] if "--server" in arguments else ["--server", address]
            assert main([*arguments, *server]) == 0, capsys.readouterr().err
    assert (deployment.config.parent / "differences.html").is_file()
    changed = deployment.config.read_text(encoding="utf-8")
    assert changed == text.replace("value: 1 }\n", 'value: 1 }\n    version_labels { key: "canary" value: 2 }\n', 1)


def test_python(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """The example of canary and shadow runs."""
    (block,) = [block.text for block in BLOCKS if block.language == "python"]
    address = deployment.start()
    config = ["--server", address, "--model", "ner", "--config", str(deployment.config)]
    assert main(["promote", "canary", "--to", "2", "--no-compare", *config]) == 0

    def connect(server: str, model: str, **settings: Any) -> Client:
        assert server == "localhost:8500"
        return Client(address, model, **settings)

    capsys.readouterr()
    exec(block.replace("from bertbundle import Client, Shadow", ""), {"Client": connect, **_names()})  # noqa: S102
    first, _ = capsys.readouterr().out.splitlines()
    assert first in ("1 0", "1 1")


def _names() -> dict[str, Any]:
    from bertbundle import Shadow

    return {"Shadow": Shadow}


@pytest.mark.slow
def test_example(
    tmp_path: Path,
    shared: Callable[[str], Path],
    tensorflow: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The Chinese tagger is exported in three precisions and compared as shown."""
    del tensorflow
    (tmp_path / "path/to").mkdir(parents=True)
    (tmp_path / "path/to/resume-ner").symlink_to(shared("models/resume-ner-3x128"), target_is_directory=True)
    lines = (shared("data/resume-ner") / "test.char.bmes").read_text(encoding="utf-8").split("\n\n")[:100]
    (tmp_path / "test.char.bmes").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    exports, compares = OF_THE_EXAMPLE[:3], OF_THE_EXAMPLE[3:]
    monkeypatch.chdir(tmp_path)
    for command in exports:
        run_export(command)
    config = tmp_path / "models.config"
    policy = "model_version_policy { all {} }"
    config.write_text(
        f'model_config_list {{ config {{ name: "resume" base_path: "{tmp_path}/models/resume" {policy} }} }}'
    )
    with serving(model_config_file=config, runtime="saved_model") as address:
        for command in compares:
            program, *arguments = shlex.split(command)
            assert program == "bertbundle"
            assert main([*arguments, "--server", address, "--timeout", "120"]) == 0, capsys.readouterr().err
            assert "--max-f1-loss" in capsys.readouterr().out
    assert (tmp_path / "int8.html").stat().st_size > 5000
