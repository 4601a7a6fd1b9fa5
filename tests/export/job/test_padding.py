"""Models whose outputs depend on padding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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


@pytest.mark.parametrize("masked", [True, False])
def test_pairs_of_tokens(checkpoint: Write, tmp_path: Path, tensorflow: Any, masked: bool) -> None:
    """Of scores for pairs of tokens, those of padding are not compared; they may be minus infinity."""
    source = load_checkpoint(checkpoint("BertModel"), "x", LoadOptions())

    class Pairs(tensorflow.Module):  # type: ignore[misc]
        def __call__(self, inputs: Any, training: bool = False) -> Any:
            hidden = source.keras(inputs, training=training).last_hidden_state
            heads = tensorflow.stack([hidden[..., :8], hidden[..., 8:16]], 1)
            logits = tensorflow.matmul(heads, heads, transpose_b=True) - 20.0
            mask = inputs["attention_mask"] > 0
            if not masked:
                return logits
            return tensorflow.where((mask[:, :, None] & mask[:, None, :])[:, None], logits, -np.inf)

    model = Pairs()
    model.bert = source.keras
    manifest = export_bundle(
        model,
        name="pairs",
        output=tmp_path,
        task="span-classification",
        labels=["PER", "LOC"],
        tokenizer=source.tokenizer,
        **OPTIONS,
    ).manifest
    assert list(manifest.signatures) == ["length_8", "length_16", "length_24", "serving_default"]
