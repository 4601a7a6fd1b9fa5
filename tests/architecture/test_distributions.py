"""The two distributions: bertbundle (the client) and bertbundle-toolkit (export and serving)."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import bertbundle
from paths import ROOT

PROJECTS = {"bertbundle": ROOT / "clients", "bertbundle-toolkit": ROOT}
SOURCES = {
    "bertbundle": {"bertbundle", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"},
    "bertbundle-toolkit": {
        *("export", "serving", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"),
        "hatch_build.py",
    },
}
PACKAGES = {
    "bertbundle": {"bertbundle"},
    "bertbundle-toolkit": {"bertbundle_export", "bertbundle_gateway", "bertbundle_serving"},
}


def test_version_has_one_source() -> None:
    """Both distributions take their version from bertbundle/__init__.py, and the toolkit requires that client."""
    stale = "installed with another version: run `make -B setup`"
    assert {metadata.version(name) for name in PROJECTS} == {bertbundle.__version__}, stale
    assert f"bertbundle=={bertbundle.__version__}" in (metadata.requires("bertbundle-toolkit") or []), stale
    for project in PROJECTS.values():
        assert '\ndynamic = ["version"' in (project / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", PROJECTS)
def test_build(name: str, tmp_path: Path) -> None:
    """Each distribution builds: the sdist contains only its sources, and the wheel built from it only its packages."""
    command = [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(PROJECTS[name])]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    (sdist,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    with tarfile.open(sdist) as archive:
        assert {member.split("/")[1] for member in archive.getnames()} == SOURCES[name]
    names = zipfile.ZipFile(wheel).namelist()
    information = f"{name.replace('-', '_')}-{bertbundle.__version__}.dist-info"
    assert {member.split("/")[0] for member in names} == PACKAGES[name] | {information}
    assert f"{information}/licenses/LICENSE" in names
