"""The client's wheel alone: built, installed into a fresh environment, and used there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import bertbundle
from paths import ROOT

pytestmark = pytest.mark.slow  # builds a wheel and makes an environment

HEAVY = {"tensorflow", "keras", "tf-keras", "transformers", "onnxruntime", "onnx", "torch", "bertbundle-toolkit"}
DEPENDENCIES = {"numpy", "grpcio", "protobuf", "tokenizers"}


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command outside of the repository, a few examples of each property; return its output."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["BERTBUNDLE_EXAMPLES"] = "500"  # CI's many are run in the other environment
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=600, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's wheel."""
    target = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", target, ROOT / "clients", cwd=target)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that holds the wheel and what it pulls."""
    home = tmp_path_factory.mktemp("thin")
    venv.create(home, with_pip=True)
    interpreter = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(interpreter, *install, "-c", ROOT / "constraints.txt", wheel, cwd=home)
    return interpreter


def test_content(wheel: Path) -> None:
    """The wheel holds the package with its type marker, and the licence; no tests, nothing of the toolkit."""
    names = zipfile.ZipFile(wheel).namelist()
    information = f"bertbundle-{bertbundle.__version__}.dist-info"
    assert wheel.name == f"bertbundle-{bertbundle.__version__}-py3-none-any.whl"
    assert {name.split("/")[0] for name in names} == {"bertbundle", information}
    assert {"bertbundle/__init__.py", "bertbundle/py.typed", "bertbundle/wire/_wire_pb2.py"} <= set(names)
    assert f"{information}/licenses/LICENSE" in names
    assert not [name for name in names if "test" in name or name.endswith(".pyc")]


def test_what_is_installed(python: Path) -> None:
    """The wheel pulls its four dependencies and what they pull, nothing heavy."""
    code = (
        "import json; from importlib import metadata;"
        "print(json.dumps({d.name.lower().replace('_', '-'): d.requires or [] for d in metadata.distributions()}))"
    )
    installed = json.loads(run(python, "-c", code, cwd=python.parent))
    assert HEAVY.isdisjoint(installed)
    assert installed.keys() >= DEPENDENCIES
    direct = {line.split(">")[0] for line in installed["bertbundle"] if "extra ==" not in line}
    assert direct == DEPENDENCIES


def test_import(python: Path) -> None:
    """The package imports without a warning, and loads none of the heavy packages."""
    code = "import sys, bertbundle; print(bertbundle.__file__); print(sorted(m for m in sys.modules if '.' not in m))"
    place, modules = run(python, "-W", "error", "-c", code, cwd=python.parent).splitlines()
    assert ROOT not in Path(place).parents
    assert HEAVY.isdisjoint(json.loads(modules.replace("'", '"')))


@pytest.mark.parametrize(
    "command",
    [pytest.param(["-m", "bertbundle"], id="module"), pytest.param([], id="script")],
)
def test_command(python: Path, command: list[str], embedded: Callable[..., str]) -> None:
    """The command answers from a server of another environment."""
    program = [python, *command] if command else [python.with_name("bertbundle")]
    assert run(*program, "--version", cwd=python.parent) == f"bertbundle {bertbundle.__version__}\n"
    ask = ["predict", "--server", embedded(), "--model", "tiny", "--json", "Wang lives in 北京"]
    entities = json.loads(run(*program, *ask, cwd=python.parent))["entities"]
    assert [(entity["label"], entity["text"]) for entity in entities] == [("PER", "Wang"), ("LOC", "北京")]


SUBSET = (
    "client",
    "contract/test_labels.py",
    "decoding",
    "session/test_retries.py",
    "text",
    "transports/test_grpc.py",
    "transports/test_rest.py",
)


def test_own_tests(python: Path) -> None:
    """The installed wheel passes the client's own tests without anything else of the project installed."""
    install: list[str | Path] = ["-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt"]
    run(python, *install, "pytest", "hypothesis", cwd=python.parent)
    files = [f"tests/clients/{name}" for name in SUBSET]
    code = "import sys, bertbundle, pytest; print(bertbundle.__file__); sys.exit(pytest.main(sys.argv[1:]))"
    out = run(python, "-c", code, *files, "-q", "-m", "not slow", "-p", "no:cacheprovider", cwd=ROOT)
    assert ROOT not in Path(out.splitlines()[0]).parents
    assert "passed" in out.splitlines()[-1]
    assert "failed" not in out
