"""The commands of docs/deploy/ray.md and the Python of docs/deploy/spark.md, on clusters of this machine."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from batch_files import make_bundle, read_parts
from documents import read_blocks
from fakes import FakeServer, Model, make_manifest, predict_method
from optional import require_package, skip_without
from paths import ROOT

RAY = [command for block in read_blocks("docs/deploy/ray.md") if block.language == "sh" for command in block.commands]
DASK = [block.text for block in read_blocks("docs/deploy/ray.md") if block.language == "python"]
SPARK = [block.text for block in read_blocks("docs/deploy/spark.md") if block.language == "python"]
INSTALL = [block.text for block in read_blocks("docs/deploy/spark.md") if block.language == "sh"]
PORT = "6397"
SECONDS = 300


def test_extras_exist() -> None:
    """The extras that the pages install are the client's."""
    client = (ROOT / "clients/pyproject.toml").read_text(encoding="utf-8")
    for command in (RAY[0], INSTALL[0].strip()):
        assert command.startswith("pip install './clients[")
        for extra in command.split("[")[1].split("]")[0].split(","):
            assert f"\n{extra} = [" in client


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The bundle and the texts that the pages name, in a working directory."""
    make_bundle(tmp_path / "models")
    (tmp_path / "models/tiny").rename(tmp_path / "models/ner")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.jsonl").write_text('{"id": 1, "text": "wang"}\n{"id": 2, "text": "in berlin"}\n')
    return tmp_path


@pytest.mark.cluster
def test_ray(directory: Path) -> None:
    """Each command succeeds, in order; the job is finished by the first, and finished again by those that resume it."""
    require_package("ray")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
    programs = {"ray": [str(Path(sys.executable).parent / "ray")], "bertbundle": [sys.executable, "-m", "bertbundle"]}
    few = ["--num-cpus=1", "--object-store-memory=80000000", "--block"]
    with contextlib.ExitStack() as nodes:
        for command in RAY[1:]:
            program, *arguments = shlex.split(command.replace("6379", PORT).replace("HEAD", "127.0.0.1"))
            line = [*programs[program], *arguments]
            if program == "ray":
                node = subprocess.Popen([*line, *few], cwd=directory, env=environment, stderr=subprocess.DEVNULL)
                nodes.callback(node.wait, SECONDS)
                nodes.callback(node.terminate)
                wait_for_cluster()
            else:
                done = subprocess.run(
                    line, cwd=directory, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
                )
                assert done.returncode == 0, f"{command}: {done.stderr}"
    assert [row["id"] for row in read_parts(directory / "answers")] == [1, 2]


def wait_for_cluster() -> None:
    """Wait until the head listens, and `ray start` has written its address for "auto"."""
    end = time.monotonic() + SECONDS
    written = Path("/tmp/ray/ray_current_cluster")  # noqa: S108 - Ray's own
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(PORT)), timeout=1):
            if written.read_text(encoding="utf-8").strip().endswith(f":{PORT}"):
                return
        time.sleep(0.2)
    raise AssertionError(f"no cluster at port {PORT}")


@pytest.mark.cluster
def test_dask(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function for Dask keeps the index and the columns of a pandas frame; an empty one has the same columns."""
    require_package("pyarrow")
    pandas = require_package("pandas")
    monkeypatch.chdir(directory)
    found: dict[str, Any] = {}
    exec("\n".join(DASK), found)  # noqa: S102
    frame = pandas.DataFrame({"id": [1, 2], "text": ["wang in berlin", ""]}, index=[7, 9])
    answered, empty = (
        found["annotate"](frame),
        found["annotate"](pandas.DataFrame({"id": [], "text": []}, dtype=object)),
    )
    assert list(answered.columns) == list(empty.columns) == ["id", "text", "entities", "error"]
    assert (list(answered.index), len(empty)) == ([7, 9], 0)
    assert [entity["text"] for entity in answered["entities"][7]] == ["wang", "berlin"]
    assert answered["error"][9].startswith("the text is empty")
    assert list(answered.dtypes) == list(empty.dtypes)


@pytest.mark.cluster
def test_spark(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of Python run in order, as one program, with a model for entities and one for vectors."""
    require_package("pyspark")
    if shutil.which("java") is None:
        skip_without("java")
    server = FakeServer(predict_method(Model(make_manifest("feature-extraction"))))
    program = "\n".join(SPARK).replace('bundle="models/embedder"', f'server="{server.address}", model="tiny"')
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master local[1] --driver-memory 600m pyspark-shell")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=directory, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    server.stop()
    assert done.returncode == 0, done.stderr
    assert "entities: array" in done.stdout
    assert "embedding" in done.stdout
    assert list((directory / "answers").glob("part-*.parquet"))
    assert [row["id"] for row in read_parts(directory / "parts")] == [1, 2]
