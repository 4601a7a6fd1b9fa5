"""The client's wheel, installed alone in a new virtual environment."""

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

pytestmark = pytest.mark.slow  # builds a wheel and creates a virtual environment

HEAVY = {"tensorflow", "keras", "tf-keras", "transformers", "onnxruntime", "onnx", "torch", "bertbundle-toolkit"}
DEPENDENCIES = {"numpy", "grpcio", "protobuf", "tokenizers"}


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command in a directory, with few hypothesis examples, and return its output."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["BERTBUNDLE_EXAMPLES"] = "500"  # the many examples of CI run in the main environment
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=600, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the client's wheel."""
    target = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", target, ROOT / "clients", cwd=target)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a virtual environment with the wheel and its dependencies, and return its interpreter."""
    home = tmp_path_factory.mktemp("thin")
    venv.create(home)
    interpreter = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    install(interpreter, wheel)
    return interpreter


def install(interpreter: Path, *packages: str | Path) -> None:
    """Install packages into another environment with the pip of this one, and compile only what is imported."""
    pip = (sys.executable, "-m", "pip", "--python", interpreter, "install", "--no-compile")
    run(*pip, "--quiet", "--disable-pip-version-check", "-c", ROOT / "constraints.txt", *packages, cwd=ROOT)


def test_content(wheel: Path) -> None:
    """The wheel contains the package with its type marker and the licence, but no tests and nothing of the toolkit."""
    names = zipfile.ZipFile(wheel).namelist()
    information = f"bertbundle-{bertbundle.__version__}.dist-info"
    assert wheel.name == f"bertbundle-{bertbundle.__version__}-py3-none-any.whl"
    assert {name.split("/")[0] for name in names} == {"bertbundle", information}
    assert {"bertbundle/__init__.py", "bertbundle/py.typed", "bertbundle/wire/_wire_pb2.py"} <= set(names)
    assert f"{information}/licenses/LICENSE" in names
    assert not [name for name in names if "test" in name or name.endswith(".pyc")]


def test_dependencies(python: Path) -> None:
    """The wheel has four direct dependencies, and no heavy package is installed."""
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
    """Importing the package gives no warning and imports no heavy package."""
    code = "import sys, bertbundle; print(bertbundle.__file__); print(sorted(m for m in sys.modules if '.' not in m))"
    path, modules = run(python, "-W", "error", "-c", code, cwd=python.parent).splitlines()
    assert ROOT not in Path(path).parents
    assert HEAVY.isdisjoint(json.loads(modules.replace("'", '"')))


@pytest.mark.parametrize(
    "command",
    [pytest.param(["-m", "bertbundle"], id="module"), pytest.param([], id="script")],
)
def test_command(python: Path, command: list[str], embedded: Callable[..., str]) -> None:
    """The command queries a server that runs in another environment."""
    program = [python, *command] if command else [python.with_name("bertbundle")]
    assert run(*program, "--version", cwd=python.parent) == f"bertbundle {bertbundle.__version__}\n"
    predict = ["predict", "--server", embedded(), "--model", "tiny", "--json", "Wang lives in 北京"]
    entities = json.loads(run(*program, *predict, cwd=python.parent))["entities"]
    assert [(entity["label"], entity["text"]) for entity in entities] == [("PER", "Wang"), ("LOC", "北京")]


SUBSET = (
    "client",
    "contract",
    "decoding",
    "pipelines",
    "session",
    "text",
    "transports/test_cancellation.py",
    "transports/test_channels.py",
    "transports/test_credentials.py",
    "transports/test_grpc.py",
    "transports/test_rest.py",
    "wire/test_status_errors.py",
)
"""Tests of the client that need nothing but its own dependencies, below tests/clients."""


def test_own_tests(python: Path) -> None:
    """The client's own tests pass with the installed wheel, without the rest of the project."""
    install(python, "pytest", "hypothesis")
    files = [f"tests/clients/{name}" for name in SUBSET]
    code = "import sys, bertbundle, pytest; print(bertbundle.__file__); sys.exit(pytest.main(sys.argv[1:]))"
    out = run(python, "-c", code, *files, "-q", "-m", "not slow", "-p", "no:cacheprovider", cwd=ROOT)
    assert ROOT not in Path(out.splitlines()[0]).parents
    assert "passed" in out.splitlines()[-1]
    assert "failed" not in out
