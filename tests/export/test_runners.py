"""Running an exported format from disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertbundle_export.errors import ExportError
from bertbundle_export.runners import onnx_runner


def test_onnx_that_cannot_be_loaded(tmp_path: Path) -> None:
    """If onnxruntime cannot load a file, as with a mixed precision model, the error says what to do."""
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match=r"cannot load .*set_global_policy\('float32'\)"):
        onnx_runner(tmp_path / "model.onnx")
