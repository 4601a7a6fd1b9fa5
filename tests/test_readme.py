"""Every command of README.md and of the introductory pages works as described."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from documents import read_blocks
from export_command import run_export
from joint_models import functional_model, write_vocabulary
from local_server import serving
from model_server import free_port
from optional import skip_without
from paths import ROOT
from tiny_checkpoints import write_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")]

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "docs/getting-started.md", "docs/exporting.md", "docs/serving.md")
BLOCKS = read_blocks(*PAGES)
# Commands and examples that several pages repeat are run once.
COMMANDS = list(dict.fromkeys(line for block in BLOCKS if block.language == "sh" for line in block.commands))
PYTHON = list(dict.fromkeys(block.text for block in BLOCKS if block.language == "python"))
# Not run by this file: CI runs `make test`, and tests/clients/test_wheel.py installs the wheel alone.
RUN_ELSEWHERE = {"make test", "pip install ./clients"}
REST_PORT = free_port()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, tensorflow: object) -> Path:
    """A directory with a tagger at the path that the pages use."""
    del tensorflow
    directory = tmp_path_factory.mktemp("readme")
    write_checkpoint(directory / "path/to/checkpoint")
    (directory / "texts.txt").write_text("wang lives in berlin\n")
    joint_model().save(str(directory / "joint.h5"))
    write_vocabulary(directory)
    (directory / "slots.txt").write_text("O\nB-PER\nI-PER\n")
    return directory


def joint_model() -> Any:
    """Return a model with the heads of docs/exporting.md."""
    return functional_model(("slots", "intent"), columns={"slots": 3, "intent": 2}, positions=128)


def run(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell command with the project's commands on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    return subprocess.run(command, shell=True, cwd=cwd, env=environment, capture_output=True, text=True, check=False)  # noqa: S602


@contextlib.contextmanager
def working_directory(path: Path) -> Iterator[None]:
    """Change the working directory while the context is open."""
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


def commands(start: str) -> list[str]:
    """Return the pages' commands that begin with `start`."""
    return [command for command in COMMANDS if command.startswith(start)]


def test_every_command_has_a_test() -> None:
    """Every command in the pages is run by a test."""
    known = ("curl ", "make demo", "make serve-container", "bertbundle-export ", "bertbundle-serve ", "bertbundle ")
    assert [command for command in COMMANDS if command not in RUN_ELSEWHERE and not command.startswith(known)] == []


def test_make_targets_exist() -> None:
    """Every make target that the README names exists."""
    targets = set(re.findall(r"make ([a-z-]+)", README))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {name for name in targets if not re.search(rf"^{name}:", makefile, flags=re.MULTILINE)} == set()


@pytest.fixture(scope="module")
def exported(workspace: Path) -> Path:
    """Run the pages' export commands, in order; the last, with an option for several heads, in this process."""
    *programs, with_heads = commands("bertbundle-export ")
    for command in programs:
        done = run(command, workspace)
        assert done.returncode == 0, done.stderr
    with working_directory(workspace):
        run_export(with_heads)
    assert (workspace / "models/my-model/1/model.onnx").is_file()
    return workspace


@pytest.fixture(scope="module")
def address(exported: Path) -> Iterator[str]:
    """Start the server with the flags in the pages, on a free port."""
    (command,) = commands("bertbundle-serve ")
    flags = dict(re.findall(r"--(\w+) (\S+)", command))
    assert flags.pop("port") == "8500"
    flags["model_base_path"] = str(exported / flags["model_base_path"])
    assert "--rest_api_port 8501 --text_api" in README
    with serving(rest_api_port=REST_PORT, text_api="true", **flags) as found:
        yield found


@pytest.mark.parametrize("command", commands("curl "))
def test_curl(address: str, exported: Path, command: str) -> None:
    """The curl commands in the pages succeed and print results."""
    del address  # the server also listens on the REST port
    if shutil.which("curl") is None:
        skip_without("curl")
    done = run(command.replace("localhost:8501", f"127.0.0.1:{REST_PORT}"), exported)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"][0]["entities"] is not None


@pytest.mark.parametrize("command", commands("bertbundle "))
def test_ask(address: str, exported: Path, command: str) -> None:
    """The client commands in the pages succeed and print results."""
    done = run(command.replace("localhost:8500", address), exported)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_python_blocks(address: str, exported: Path) -> None:
    """The Python blocks in the pages run: the export of a live model, and the client."""
    from bertbundle_export.checkpoints import LoadOptions, load_checkpoint

    client, heads, export = PYTHON
    labels = 'labels=["O", "B-PER", "I-PER"]'
    assert labels in export
    export = export.replace(labels, 'labels=["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]')
    source = exported / "path/to/checkpoint"
    (exported / "path/to/vocab.txt").write_bytes((source / "vocab.txt").read_bytes())
    model = load_checkpoint(source, "x", LoadOptions()).keras
    with working_directory(exported):
        exec(export, {"model": model})  # noqa: S102
        exec(heads, {"model": joint_model()})  # noqa: S102
        exec(client.replace("localhost:8500", address), {})  # noqa: S102
    assert (exported / "models/my-model/2/bundle.json").is_file()
    assert (exported / "models/joint/2/bundle.json").is_file()


def test_make_demo(tmp_path: Path) -> None:
    """`make demo` prints parity, entities with offsets, similarities and the bundles' path, and leaves no process."""
    done = run(f"make --no-print-directory demo MODELS={tmp_path}/models VENV={Path(sys.prefix)}", ROOT)
    assert done.returncode == 0, done.stderr
    for shown in ("compared with the source model", "CC BY 4.0", "AVAILABLE", "GIVEN_NAME", "Springfield", "cosine"):
        assert shown in done.stdout
    assert re.search(r"CITY +Springfield +[01]\.\d{4} +54 +65", done.stdout)
    assert f"{tmp_path}/models/pii" in done.stdout
    assert str(tmp_path) not in command_lines()


def command_lines() -> str:
    """Return the command lines of all processes; a Linux without `ps` (package procps) has /proc."""
    if shutil.which("ps"):
        return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # the process has ended
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(lines)


def test_make_serve_container() -> None:
    """`make serve-container` starts the services of the compose file, which Docker accepts."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "docker compose -f serving/deploy/compose.yaml up" in makefile
    if shutil.which("docker") is None or run("docker info", ROOT).returncode:
        skip_without("a running Docker engine")  # tests/serving/test_deploy.py parses the files with their schemas
    done = run("docker compose -f serving/deploy/compose.yaml config --quiet", ROOT)
    assert done.returncode == 0, done.stderr
