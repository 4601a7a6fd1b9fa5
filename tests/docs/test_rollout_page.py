"""The commands and the Python example of docs/rollout.md work as described."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bertbundle import Client
from bertbundle.cli.main import main
from compared_models import TAGGED
from documents import read_blocks
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
def test_example(tmp_path: Path, shared: Callable[[str], Path]) -> None:
    """The Chinese tagger is exported in three precisions and compared as shown."""
    (tmp_path / "path/to").mkdir(parents=True)
    (tmp_path / "path/to/resume-ner").symlink_to(shared("models/resume-ner-3x128"), target_is_directory=True)
    lines = (shared("data/resume-ner") / "test.char.bmes").read_text(encoding="utf-8").split("\n\n")[:100]
    (tmp_path / "test.char.bmes").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(command: str, *more: str) -> str:
        module = {"bertbundle": "bertbundle", "bertbundle-export": "bertbundle_export"}
        program, *arguments = shlex.split(command)
        line = [sys.executable, "-m", module[program], *arguments, *more]
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    exports, compares = OF_THE_EXAMPLE[:3], OF_THE_EXAMPLE[3:]
    for command in exports:
        run(command)
    config = tmp_path / "models.config"
    policy = "model_version_policy { all {} }"
    config.write_text(
        f'model_config_list {{ config {{ name: "resume" base_path: "{tmp_path}/models/resume" {policy} }} }}'
    )
    with serving(model_config_file=config, runtime="saved_model") as address:
        for command in compares:
            assert "--max-f1-loss" in run(command, "--server", address, "--timeout", "120")
    assert (tmp_path / "int8.html").stat().st_size > 5000
