"""TensorFlow is imported in the order that other packages need."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from optional import TORCH_MARKS

pytestmark = [pytest.mark.slow, *TORCH_MARKS]
EXPORT = "import bertbundle_export.tensorflow_import"


@pytest.mark.parametrize(
    "script",
    [
        EXPORT,
        f"{EXPORT}; import torch",
        f"import torch; {EXPORT}",
        f"import tensorflow; {EXPORT}",
        f"import os; os.environ['USE_TORCH'] = '0'; {EXPORT}; import torch",
    ],
)
def test_torch_is_installed(script: str) -> None:
    """The process does not crash, whatever a training script has imported before."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
