"""The Dockerfiles: their rules, and that the steps of the build make a server that starts without TensorFlow or pip."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from optional import skip_without
from paths import ROOT
from tiny_bundles import TinyBundles

DEPLOY = ROOT / "serving/deploy"
DOCKERFILES = [DEPLOY / "Dockerfile", DEPLOY / "bundle.Dockerfile"]

every_file = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def stages(path: Path) -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage of a Dockerfile, as (name, rest), without what precedes the first stage."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    found: list[list[tuple[str, str]]] = []
    for name, _, rest in (line.partition(" ") for line in lines if line):
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, rest))
    return found


def rests(stage: list[tuple[str, str]], name: str) -> list[str]:
    """Return what follows each instruction of a name."""
    return [rest for instruction, rest in stage if instruction == name]


@every_file
def test_no_warnings(path: Path) -> None:
    """The linter hadolint finds nothing."""
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        skip_without("hadolint")
    done = subprocess.run([program, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@every_file
def test_last_stage(path: Path) -> None:
    """The last stage has a pinned base, a user that is not root, labels, and neither pip nor TensorFlow."""
    (base,) = re.findall(r"^ARG BASE=(\S+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert re.fullmatch(r"\w+:\d+\.\d+[\w.-]*", base)
    last = stages(path)[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", rests(last, "USER")[-1])
    assert {"title", "description", "version"} <= set(re.findall(r"org\.opencontainers\.image\.(\w+)=", str(last)))
    assert not [rest for rest in rests(last, "RUN") if re.search(r"pip|tensorflow|venv|gcc", rest)]


def test_copied_files_are_in_the_context() -> None:
    """What the image copies exists, and .dockerignore lets it through."""
    copies = [rest for stage in stages(DOCKERFILES[0]) for rest in rests(stage, "COPY") if "--from" not in rest]
    sources = {source for rest in copies for source in rest.split()[:-1]}
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert allowed[0] == "*"
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source.partition('/')[0]}" in allowed


def test_bundle_image_has_the_layout_of_image_volumes() -> None:
    """A bundle's files are under /models, which the manifests mount."""
    assert rests(stages(DOCKERFILES[1])[-1], "COPY") == [". /models/"]
    pod = (DEPLOY / "kubernetes/components/image-volume/kustomization.yaml").read_text(encoding="utf-8")
    assert "path: /spec/template/spec/containers/0/volumeMounts/2/subPath\n      value: models\n" in pod


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Execute the build stage, but for apt, below a temporary directory; return what is copied out of it."""
    root = tmp_path_factory.mktemp("image").resolve()
    source, target = root / "src", root / "opt/bertbundle"
    build, last = stages(DOCKERFILES[0])
    source.mkdir()
    for rest in rests(build, "COPY"):
        *names, to = rest.split()
        for name in names:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, source / to if copy is shutil.copytree else source)
    assert rests(build, "WORKDIR") == ["/src"]
    assert "--from=build /opt/bertbundle /opt/bertbundle" in rests(last, "COPY")
    (extras,) = (rest.removeprefix("EXTRAS=") for rest in rests(build, "ARG"))
    for command in rests(build, "RUN"):
        if not command.startswith("apt-get"):
            changed = command.replace("/opt/bertbundle", str(target)).replace("python3 ", f"{sys.executable} ")
            changed = changed.replace("--no-cache-dir ", "--quiet --no-compile ")
            environment = {**os.environ, "EXTRAS": extras}
            subprocess.run(changed, shell=True, cwd=source, env=environment, check=True)  # noqa: S602
    return target


@pytest.mark.slow
def test_build(installed: Path, tmp_path: Path) -> None:
    """The build installs a server without pip and TensorFlow, which starts, is healthy, and stops at SIGTERM."""
    python = installed / "bin/python"
    check = "from importlib.util import find_spec; print([*map(find_spec, ('pip', 'tensorflow', 'transformers'))])"
    done = subprocess.run([python, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[None, None, None]\n"
    TinyBundles(tmp_path / "tiny").write(1)
    (stage,) = stages(DOCKERFILES[0])[1:]
    (entry,) = re.findall(r"\[\"(\S+)\"\]", rests(stage, "ENTRYPOINT")[0])
    flags = ["--model_name=tiny", f"--model_base_path={tmp_path / 'tiny'}", "--host=127.0.0.1", "--port=0"]
    command = [installed / "bin" / entry, *flags]
    environment = {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        assert is_healthy(installed, rests(stage, "HEALTHCHECK")[0], address)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
    assert (installed / "bin/bertbundle-gateway").is_file()


def is_healthy(installed: Path, instruction: str, address: str) -> bool:
    """Run the command of the health check on an address."""
    (command,) = re.findall(r"CMD \[\"/opt/bertbundle/(\S+)\", \"(-m)\", \"(\S+)\"\]", instruction)
    program, *arguments = command
    done = subprocess.run([installed / program, *arguments, address], capture_output=True, check=False)
    return done.returncode == 0
