"""Sources by name: the Hugging Face hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


def hub(path: Path, root: Path) -> dict[str, str]:
    """Write a checkpoint to a hub cache as `acme/tiny`; return the environment variables that use it offline."""
    snapshot = root / "hub/models--acme--tiny/snapshots/0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(path, snapshot)
    refs = root / "hub/models--acme--tiny/refs"
    refs.mkdir()
    (refs / "main").write_text(snapshot.name)
    return {**os.environ, "HF_HOME": str(root), "HF_HUB_OFFLINE": "1"}


def test_hub_name(checkpoint: Write, tmp_path: Path) -> None:
    """A hub name is found in the hub's local cache."""
    environment = hub(checkpoint(), tmp_path / "home")
    command = [sys.executable, "-m", "bertbundle_export", "inspect", "acme/tiny", "--json"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert (found["architecture"], found["layers"], found["task"]) == (
        "BertForTokenClassification",
        2,
        "token-classification",
    )


def test_hub_name_that_cannot_be_downloaded(checkpoint: Write, tmp_path: Path) -> None:
    """A hub name that cannot be downloaded raises one clear error."""
    environment = hub(checkpoint(), tmp_path / "home")
    command = [sys.executable, "-m", "bertbundle_export", "inspect", "acme/other"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "there is no directory acme/other, and it cannot be downloaded from the hub" in run.stderr
    assert "Traceback" not in run.stderr
