"""A BERT that a Keras package wrote to an .h5 file: what these formats share, each says how it names things."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bertbundle.errors import CheckpointError
from bertbundle_export.checkpoints.base import Description, LoadOptions, StateDict
from bertbundle_export.checkpoints.configs import find_config, find_tokenizer
from bertbundle_export.checkpoints.dense_head import DenseHead, find_dense, head_reads
from bertbundle_export.checkpoints.keras_file import KerasFile, Shapes, describe_h5, is_h5, read_h5
from bertbundle_export.encoders import check_config, split_architecture
from bertbundle_export.tasks import POOLINGS, TASKS

__all__ = ["KerasBert", "rename_by"]

Rename = Callable[[str], str | None]
_POOLED = "bertbundle_export.checkpoints.pooled:pooled_classifier"
# What transformers calls the layer that is one Dense here, by the head of its class.
_HEADS = {
    "ForTokenClassification": "classifier",
    "ForSequenceClassification": "classifier",
    "ForQuestionAnswering": "qa_outputs",
}


def rename_by(rows: Mapping[str, str], *, first: int = 0) -> Rename:
    """Return a function that gives PyTorch's name of a variable, or None if it is not in the table.

    Args:
        rows: PyTorch's name by the package's, with ``{n}`` for the number of a layer in both.
        first: the number of the package's first layer.
    """
    patterns = [(re.compile(re.escape(name).replace(r"\{n\}", r"(\d+)")), pytorch) for name, pytorch in rows.items()]

    def rename(name: str) -> str | None:
        for pattern, pytorch in patterns:
            match = pattern.fullmatch(name)
            if match:
                return pytorch.format(n=int(match[1]) - first if match.groups() else "")
        return None

    return rename


def _no_settings(file: KerasFile) -> dict[str, Any]:
    del file
    return {}


@dataclass(frozen=True, slots=True)
class KerasBert:
    """See `CheckpointFormat`.

    Attributes:
        name, expected: see `CheckpointFormat`.
        marker: the variable of the word embeddings; what comes before it is the encoder's name in the file.
        rename: PyTorch's name of an encoder's variable, or None for what is none.
        settings: what the file itself says of the configuration.
        defaults: what the package's BERT is, where neither the file nor config.json says so.
        activations: what the package means by the name of an activation.
    """

    name: str
    expected: str
    marker: str
    rename: Rename
    settings: Callable[[KerasFile], Mapping[str, Any]] = _no_settings
    fixed: Mapping[str, Any] = ()  # type: ignore[assignment]
    activations: Mapping[str, str] = ()  # type: ignore[assignment]
