"""`bertbundle compare`."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bertbundle.cli.main import main
from bertbundle.evaluation.comparison import source_export
from compared_models import TAGGED, write
from fakes import FakeServer, predict_method, write_bundle
from versioned_transport import model, other_model

Start = Callable[..., FakeServer]


@pytest.fixture
def targets(start_server: Start) -> list[str]:
    """Two servers whose models differ."""
    return [f"{start_server(predict_method(served)).address}/tiny" for served in (model(1), other_model(2))]


def test_report(targets: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 0 if the limits hold and 1 otherwise; the report is printed in both cases."""
    data = ["--data", write(tmp_path, "t.conll", TAGGED), "--resamples", "50"]
    assert main(["compare", *targets, *data, "--min-agreement", "0.6"]) == 0
    assert "--min-agreement 0.6: 0.6667, passed" in capsys.readouterr().out
    assert main(["compare", *targets, *data, "--max-f1-loss", "0.1", "--json"]) == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["passed"], report["agreement"]["agreed"], err) == (False, 2, "")
    assert report["a"]["latency_ms"]["requests"] == 3
    assert report["limits"][0]["name"] == "--max-f1-loss"
    assert main(["compare", *reversed(targets), *data, "--max-f1-loss", "0"]) == 0


def test_page(targets: list[str], tmp_path: Path, run: Callable[..., str], fail: Callable[..., str]) -> None:
    """--html writes a page; that it cannot be written is found first."""
    data = ["--data", write(tmp_path, "t.txt", "Wang in Berlin\n")]
    run("compare", *targets, *data, "--html", str(tmp_path / "page.html"))
    assert "<title>" in (tmp_path / "page.html").read_text(encoding="utf-8")
    message = fail("compare", "absent:1/a", "absent:1/b", *data, "--html", str(tmp_path / "absent" / "page.html"))
    assert "page.html cannot be written: No such file or directory." in message


def test_targets(targets: list[str], tmp_path: Path, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A target may leave server and model to the flags, name a version, or be a bundle's directory."""
    data = ["--data", write(tmp_path, "t.txt", "Wang in Berlin\n"), "--json"]
    write_bundle(tmp_path / "models" / "tiny")
    monkeypatch.chdir(tmp_path)
    server = targets[0].rpartition("/")[0]
    for a, b in (("tiny@1", targets[0]), ("@1", targets[0]), ("./models/tiny", str(tmp_path / "models/tiny/1"))):
        report = json.loads(run("compare", "--server", server, "--model", "tiny", a, b, *data))
        assert (report["a"]["target"], report["a"]["version"]) == (a, 1)
        assert report["agreement"]["share"] == 1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("@1", "is not [HOST:PORT/]MODEL[@VERSION], or lacks a model: pass ner@2, or @2 with --model ner"),
        ("nowhere/tiny", "expected host:port of a gRPC server, got 'nowhere'"),
        ("", "'' is not [HOST:PORT/]MODEL[@VERSION], or lacks a model"),
        (f"tiny@{2**63}", f"{2**63} is no version number: it has more than 64 bits."),
        ("~nobody-has-this-name/x", "~nobody-has-this-name/x is in no home directory: write it in full."),
        ("./absent", "./absent does not exist. Pass a bundle or a checkpoint, or HOST:PORT/MODEL for a server."),
        ("models", "models is a directory: write ./models for a bundle in it"),
    ],
    ids=str,
)
def test_wrong_targets(
    tmp_path: Path, fail: Callable[..., str], monkeypatch: pytest.MonkeyPatch, target: str, message: str
) -> None:
    """A target that cannot be used is named with what to write instead."""
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    data = write(tmp_path, "t.txt", "Wang\n")
    assert message in fail("compare", target, "tiny", "--data", data)


EXPORT = """
import sys
from pathlib import Path
from fakes import write_bundle

source, output = Path(sys.argv[1]), Path(sys.argv[sys.argv.index("--output") + 1])
if "--characters" not in sys.argv:
    sys.exit("a warning\\nbertbundle-export: the options are wrong.")
write_bundle(output / sys.argv[sys.argv.index("--name") + 1])
source.joinpath("seen").write_text(str(output))
"""
"""A quick stand-in for bertbundle-export: docs/rollout.md compares a checkpoint with the real one."""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is no bundle, and a program that exports it."""
    (tmp_path / "export.py").write_text(EXPORT, encoding="utf-8")
    monkeypatch.setattr(source_export, "_COMMAND", (sys.executable, str(tmp_path / "export.py")))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def test_checkpoint(source: Path, targets: list[str], run: Callable[..., str]) -> None:
    """A checkpoint is exported with the given options to a temporary bundle, which is removed, and compared."""
    data = ["--data", write(source.parent, "t.conll", TAGGED), "--json"]
    report = json.loads(run("compare", str(source), targets[0], *data, "--export-options=--characters --top-k '3'"))
    assert (report["a"]["target"], report["agreement"]["share"]) == (str(source), 1)
    assert not Path((source / "seen").read_text(encoding="utf-8")).exists()


def test_checkpoint_that_is_not_exported(
    source: Path, targets: list[str], fail: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the export refuses is the message; without the export, it says what to install or to run."""
    data = ["--data", write(source.parent, "t.conll", TAGGED)]
    compare = ["compare", targets[0], str(source)]
    assert fail(*compare, *data).endswith(f"{source} is not a bundle, and its export failed: the options are wrong.\n")
    assert "cannot be split into words: No closing quotation" in fail(*compare, *data, "--export-options='--x")
    monkeypatch.setattr(source_export, "_PACKAGE", "absent_package")
    message = fail(*compare, *data)
    assert (
        "bertbundle-export is not installed to make one of a checkpoint: pip install 'bertbundle-toolkit[export]'."
        in message
    )
    assert f"run bertbundle-export {source} --name NAME, and pass the bundle" in message


def test_an_export_that_is_ended(source: Path, targets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM during the export ends it, too, and removes what it has written."""
    endless = "import os, signal, sys, time; open(sys.argv[1] + '/seen', 'w').write(sys.argv[-3] + f' {os.getpid()}'); "
    ending = "os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"
    monkeypatch.setattr(source_export, "_COMMAND", (sys.executable, "-c", endless + ending))
    data = ["--data", write(source.parent, "t.txt", "Wang\n")]
    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        main(["compare", targets[0], str(source), *data])
    output, process = (source / "seen").read_text(encoding="utf-8").split()
    assert not Path(output).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


def test_a_checkpoint_is_exported_last(source: Path, targets: list[str], fail: Callable[..., str]) -> None:
    """What is wrong with the data or the other target is found before the export."""
    options = "--export-options=--characters"
    bad = ["--data", write(source.parent, "t.conll", "Wang\tB-CITY\n"), options]
    assert "t.conll, line 1: label 'CITY' is not one of the model's" in fail("compare", str(source), targets[0], *bad)
    texts = ["--data", write(source.parent, "t.txt", "Wang\n"), options]
    assert "t.txt has no labels" in fail("compare", str(source), targets[0], *texts, "--max-f1-loss", "0.1")
    assert "expected host:port of a gRPC server" in fail("compare", str(source), "nowhere/tiny", *texts)
    assert not (source / "seen").exists()
    assert "--export-options has no effect: neither A nor B is a checkpoint" in fail("compare", *targets, *texts)


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan", "x"])
def test_wrong_limits(fail: Callable[..., str], value: str) -> None:
    """A limit is a share."""
    message = fail("compare", "a", "b", "--data", "t.txt", f"--min-agreement={value}")
    assert f"expected a number from 0 to 1, got {value!r}" in message
