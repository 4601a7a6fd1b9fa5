"""The export command: it prints a summary on success, and one message on an error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tiny_checkpoints import change_config

pytestmark = pytest.mark.slow


Write = Callable[..., Path]
Command = Callable[..., subprocess.CompletedProcess[str]]


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a subprocess."""
    command = [sys.executable, "-m", "bertbundle_export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_export_prints_stages_and_a_summary(checkpoint: Write, tmp_path: Path) -> None:
    """Stages are printed to stderr; the summary with parity figures and the bundle's path to stdout."""
    result = run(checkpoint(), "--name", "tiny", "--output", tmp_path / "models", "--lengths", "16")
    assert result.returncode == 0, result.stderr
    for stage in ("load the checkpoint", "trace", "write the SavedModel", "convert to ONNX", "compare the ONNX model"):
        assert stage in result.stderr
    assert "compared with the source model" in result.stdout
    assert "label_scores" in result.stdout
    assert result.stdout.rstrip().endswith(f"bundle: {tmp_path}/models/tiny/1")
    for noise in ("WARNING", "cuda", "oneDNN", "deprecated"):
        assert noise not in result.stderr


def test_inspect(checkpoint: Write) -> None:
    """`inspect` describes a checkpoint."""
    result = run("inspect", checkpoint(), "--json")
    found = json.loads(result.stdout)
    assert (found["weights"], found["layers"], found["lowercase"]) == ("tf_h5: tf_model.h5", 2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["no/such/dir", "--name", "x"], "no file or directory no/such/dir", id="no_directory"),
        pytest.param(["./missing", "--name", "x"], "no file or directory ./missing", id="no_path"),
        pytest.param([".", "--name", "x"], "with checkpoints. Give one of them: checkpoint", id="no_checkpoint"),
        pytest.param(["checkpoint", "--name", "../x"], "is not a valid model name", id="name"),
        pytest.param(["checkpoint", "--name", "x", "--max-length", "512"], "max_position_embeddings 48", id="length"),
        pytest.param(["checkpoint", "--name", "x", "--lengths", "1"], "length 1 is not valid", id="short"),
        pytest.param(["checkpoint", "--name", "x", "--lengths", "a,b"], "expected numbers like", id="no_numbers"),
        pytest.param(
            ["checkpoint", "--name", "x", "--texts", "none.txt"], "--texts none.txt cannot be read", id="texts"
        ),
        pytest.param(["checkpoint", "--name", "x", "--labels", "O,B-X"], "checkpoint", id="labels"),
        pytest.param(["checkpoint", "--name", "x", "--labels", ""], "expected labels like O,B-PER", id="no_labels"),
        pytest.param(["checkpoint", "--name", "x", "--crf-transitions", "crf.t"], "no attribute crf.t:", id="crf"),
    ],
)
def test_errors(
    checkpoint: Write,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    """An error is one message with exit code 2, without a traceback, and leaves no files."""
    checkpoint()
    monkeypatch.chdir(tmp_path)
    result = command(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert list((tmp_path / "models").rglob("*")) == [] if (tmp_path / "models").exists() else True


def test_closed_pipe(checkpoint: Write) -> None:
    """`inspect | true` is not an error."""
    command = f"{sys.executable} -m bertbundle_export inspect {checkpoint()} | true"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_names_of_temporary_directories(checkpoint: Write, tmp_path: Path) -> None:
    """A temporary directory whose name has that of a model, as /tmp/tmpt... has "mpt", causes no warning."""
    (tmp_path / "mpt").mkdir()
    command = [sys.executable, "-m", "bertbundle_export", "inspect", str(checkpoint())]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "mpt")}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (result.returncode, result.stderr) == (0, "")


def test_missing_path_is_not_looked_up_on_the_hub(checkpoint: Write, tmp_path: Path) -> None:
    """A missing path in an existing directory is not looked up on the hub."""
    checkpoint()
    result = run("inspect", "checkpoint/typo", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "no file or directory checkpoint/typo" in result.stderr


def test_missing_labels(checkpoint: Write, command: Command, tmp_path: Path) -> None:
    """Exporting a tagger without labels fails, and the suggested option works."""
    source = checkpoint(labels=("O", "B-X", "I-X"))
    change_config(source, id2label=None, label2id=None)
    result = run(source, "--name", "x", "--output", tmp_path / "models")
    assert result.returncode == 2
    assert "Pass --labels" in result.stderr
    assert "Traceback" not in result.stderr
    options = ["--output", tmp_path / "models", "--labels", "O,B-X,I-X", "--formats", "onnx", "--max-length", "16"]
    assert command(source, "--name", "x", *options).returncode == 0


def test_terminated_export_leaves_nothing(checkpoint: Write, tmp_path: Path) -> None:
    """SIGTERM during an export removes the files written so far."""
    output = tmp_path / "models"
    command = [sys.executable, "-m", "bertbundle_export", str(checkpoint()), "--name", "x", "--output", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ})
    deadline = time.monotonic() + 120
    while not list(output.glob(".bertbundle-export-*/bundle")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert list(output.rglob("*")) == []
