"""Models whose outputs depend on padding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertbundle_export import LoadOptions, export_bundle
from bertbundle_export.checkpoints import load_checkpoint
from bertbundle_export.errors import ExportError
from tiny_checkpoints import LABELS

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


OPTIONS: dict[str, Any] = {"max_length": 32, "formats": ["onnx"]}


@pytest.mark.parametrize("masked", [True, False])
def test_outputs_that_depend_on_padding(checkpoint: Write, tmp_path: Path, tensorflow: Any, masked: bool) -> None:
    """A model whose head ignores the mask has one signature, and --lengths is refused; otherwise it has all of them."""
    source = load_checkpoint(checkpoint("BertModel"), "x", LoadOptions())

    class Largest(tensorflow.Module):  # type: ignore[misc]
        def __call__(self, inputs: Any, training: bool = False) -> Any:
            hidden = source.keras(inputs, training=training).last_hidden_state
            if masked:
                hidden = tensorflow.where(inputs["attention_mask"][:, :, None] > 0, hidden, -1e9)
            return tensorflow.reduce_max(hidden, 1)[:, : len(LABELS)]

    model = Largest()
    model.bert = source.keras
    options = {"task": "text-classification", "labels": LABELS, "tokenizer": source.tokenizer, **OPTIONS}
    manifest = export_bundle(model, name="largest", output=tmp_path, **options).manifest
    shorter = ["length_8", "length_16", "length_24"]
    assert list(manifest.signatures) == [*(shorter if masked else []), "serving_default"]
    assert ("ignore attention_mask" in " ".join(manifest.notes)) is not masked
    if not masked:
        with pytest.raises(ExportError, match="Leave --lengths out"):
            export_bundle(model, name="largest", output=tmp_path, lengths=[8], **options)
