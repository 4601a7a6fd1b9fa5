"""The commands of docs/deploy/kubernetes.md, docs/deploy/kserve.md and docs/deploy/sagemaker.md.

A command that needs a cluster or a Docker engine is not run as it is. What it would send to the cluster is made, by
kustomize or by Helm, and validated; other arguments are parsed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bertbundle_serving.flags import parse_arguments
from documents import read_blocks
from manifests import build, read_manifests, validate
from optional import require_package, skip_without
from paths import ROOT
from tiny_bundles import TinyBundles

PAGES = ("docs/deploy/kubernetes.md", "docs/deploy/kserve.md", "docs/deploy/sagemaker.md")
COMMANDS = [command for block in read_blocks(*PAGES) if block.language == "sh" for command in block.commands]


def _make(words: list[str], directory: Path) -> None:
    """Run the recipe up to the program; build the image if there is an engine."""
    done = _run(["make", "--dry-run", *words, f"MODELS={directory / 'models'}"], ROOT)
    assert "docker buildx build --file serving/deploy/" in done
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        skip_without("a running Docker engine")
    _run(["make", *words, f"MODELS={directory / 'models'}"], ROOT)


def _docker(words: list[str], directory: Path) -> None:
    """Parse the server's flags; the image's entry point is the server."""
    del directory
    image = next(index for index, word in enumerate(words) if word.startswith("bertbundle-serve:"))
    assert parse_arguments(words[image + 1 :]).model_base_path == Path("/models/my-model")


def _kubectl(words: list[str], directory: Path) -> None:
    """Make and validate what the command applies."""
    del directory
    action, flag, name = words
    assert action == "apply"
    if flag == "-k":
        assert (ROOT / name).is_dir() or name == "deploy"  # see `test_own_overlay`
        for manifest in build(ROOT / name) if name != "deploy" else []:
            validate(manifest)
        return
    assert flag == "-f"
    for manifest in read_manifests((ROOT / name).read_text(encoding="utf-8")):
        validate(manifest)


def _helm(words: list[str], directory: Path) -> None:
    """Render and validate what the command installs."""
    del directory
    require_package("helm_python")
    from render import read_chart

    action, name, chart, *settings = words
    assert (action, chart) == ("install", "serving/deploy/kubernetes/chart")
    assert settings[::2] == ["--set"] * (len(settings) // 2)
    for text in read_chart(_values(settings[1::2]), name):
        validate(yaml.safe_load(text))


def _values(settings: list[str]) -> dict[str, Any]:
    """Return the values that --set gives, as Helm reads them."""
    values: dict[str, Any] = {}
    for path, text in (setting.split("=", 1) for setting in settings):
        value = int(text) if text.isdecimal() else text
        if match := re.fullmatch(r"(\w+)\[0\]\.(\w+)", path):
            values.setdefault(match[1], [{}])[0][match[2]] = value
        elif "." in path:
            values.setdefault(path.partition(".")[0], {})[path.partition(".")[2]] = value
        else:
            values[path] = value
    return values


def _python(words: list[str], directory: Path) -> None:
    """Run the script in a directory with the model and the wheels that the page names."""
    _run([sys.executable, str(ROOT / words[0]), *words[1:]], directory)
    assert (directory / "model.tar.gz").is_file()


def _pip(words: list[str], directory: Path) -> None:
    """Check the packages: they are those that the client requires."""
    del directory
    from importlib.metadata import requires

    needed = {re.split(r"[<>=;]", name)[0] for name in requires("bertbundle") or () if "extra" not in name}
    assert set(words[words.index("--dest") + 2 :]) == needed


RUN: dict[str, Callable[[list[str], Path], None]] = {
    "make": _make,
    "docker": _docker,
    "kubectl": _kubectl,
    "helm": _helm,
    "python": _python,
    "pip": _pip,
}


def _run(words: list[str], directory: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, tmp_path: Path) -> None:
    """Each command of the pages works, as far as it can be run here."""
    version = TinyBundles(tmp_path / "models/my-model").write(1)
    (version / "saved_model.pb").touch()
    (tmp_path / "wheels").mkdir()
    shutil.make_archive(str(tmp_path / "wheels/some-1-py3-none-any"), "zip", version)
    (tmp_path / "wheels/some-1-py3-none-any.zip").rename(tmp_path / "wheels/some-1-py3-none-any.whl")
    program, *words = shlex.split(command)
    RUN[program](words, tmp_path)


def test_own_overlay(tmp_path: Path) -> None:
    """The kustomization on the page builds, and its image, models and address arrive in the pods."""
    (text,) = [
        block.text
        for block in read_blocks(PAGES[0])
        if block.language == "text" and "kind: Kustomization" in block.text
    ]
    shutil.copytree(ROOT / "serving/deploy/kubernetes", tmp_path / "serving/deploy/kubernetes", symlinks=True)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/kustomization.yaml").write_text(text, encoding="utf-8")
    built = {manifest["kind"]: manifest for manifest in build(tmp_path / "deploy")}
    for manifest in built.values():
        validate(manifest)
        assert manifest["metadata"]["namespace"] == "models"
    pod = built["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example.com/bertbundle-serve:0.1.0"
    (fetched,) = pod["initContainers"]
    assert f'base_path: "{fetched["args"][1]}"' in built["ConfigMap"]["data"]["models.config"]


def test_components_are_listed() -> None:
    """The table of kubernetes.md has every component."""
    text = (ROOT / PAGES[0]).read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([\w-]+)` \|", text, flags=re.MULTILINE))
    assert listed == {path.name for path in (ROOT / "serving/deploy/kubernetes/components").iterdir()}


def test_ports_of_grpc_are_valid() -> None:
    """The fields that kserve.md shows for gRPC are those of an InferenceService's model."""
    (text,) = [block.text for block in read_blocks(PAGES[1]) if block.language == "text"]
    (service,) = read_manifests((ROOT / "serving/deploy/kserve/embedded.yaml").read_text(encoding="utf-8"))
    service["spec"]["predictor"]["model"] |= yaml.safe_load(text)
    validate(service)
