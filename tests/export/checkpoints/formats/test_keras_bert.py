"""keras-bert's .h5 files."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from bertbundle_export.checkpoints import LoadOptions
from bertbundle_export.checkpoints.readers.keras_file import read_h5
from bertbundle_export.checkpoints.registry import describe_checkpoint
from bertbundle_export.errors import CheckpointError
from keras_files import (
    head_weights,
    keras_bert,
    random_weights,
)
from source_models import load

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


def test_keras_bert_positions_are_truncated(write_keras_h5: Write) -> None:
    """keras-bert truncates the position embeddings to seq_len: the file overrides the configuration."""
    weights = random_weights(pooler=False)
    weights["bert.embeddings.position_embeddings.weight"] = weights["bert.embeddings.position_embeddings.weight"][:20]
    model = load(write_keras_h5(weights, keras_bert))
    assert model.max_positions == 20


def test_flipped_bits(write_keras_h5: Write) -> None:
    """Flipped bits raise an error that names the file, or only change values; they never raise another exception."""
    path = write_keras_h5({**random_weights(pooler=False), **head_weights("output", 5)}, keras_bert)
    data, generator = path.read_bytes(), random.Random(0)  # noqa: S311 - no secret
    refused = 0
    for _ in range(40):
        broken = bytearray(data)
        for _ in range(32):
            broken[generator.randrange(len(broken))] ^= 1 << generator.randrange(8)
        path.write_bytes(broken)
        try:
            describe_checkpoint(path, LoadOptions(task="token-classification", format="keras-bert"))
            read_h5(path)
        except CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017 - some flips change values only
            refused += 1
    assert refused > 10
