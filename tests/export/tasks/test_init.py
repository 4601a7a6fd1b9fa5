"""The table of tasks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bertbundle_export.errors import ExportError
from bertbundle_export.tasks import TASKS, check_pooling, check_task


def test_import_without_tensorflow() -> None:
    """Importing the tasks does not import TensorFlow."""
    code = "import sys, bertbundle_export.tasks; print('tensorflow' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_names() -> None:
    """Every task is found by its name; the message about an unknown task or pooling lists the valid ones."""
    assert all(check_task(name).name == name for name in TASKS)
    with pytest.raises(ExportError, match="unknown task 'tagging', expected one of feature-extraction, "):
        check_task("tagging")
    with pytest.raises(ExportError, match="unknown pooling 'median', expected one of mean, "):
        check_pooling("median")
