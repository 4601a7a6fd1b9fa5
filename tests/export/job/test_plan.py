"""Models and options that cannot be exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertbundle.errors import BertBundleError
from bertbundle_export import LoadOptions, export_bundle
from tiny_checkpoints import change_config

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


OPTIONS: dict[str, Any] = {"max_length": 32, "formats": ["onnx"]}


@pytest.mark.parametrize(
    ("architecture", "change", "options", "message"),
    [
        pytest.param("BertModel", {}, {"load": LoadOptions(pooling="median")}, "Pass --pooling", id="pooling"),
        pytest.param("DistilBertModel", {}, {"load": LoadOptions(pooling="pooler")}, "has no pooler", id="pooler"),
        pytest.param("BertForMaskedLM", {}, {"top_k": 0}, "top_k must be at least 1", id="top_k_0"),
        pytest.param("BertForMaskedLM", {}, {"top_k": 99_999}, "exceeds the vocabulary's", id="top_k_large"),
    ],
)
def test_unsuitable_options(
    checkpoint: Write, tmp_path: Path, architecture: str, change: Any, options: Any, message: str
) -> None:
    """An option that the model does not support raises one clear error."""
    path = checkpoint(architecture)
    change_config(path, **change)
    with pytest.raises(BertBundleError, match=message):
        export_bundle(path, name="x", output=tmp_path, **{**OPTIONS, **options})
