"""Choose how labels are decoded: by the model's CRF, by what its label scheme allows, or each by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.labels import detect_scheme, parse_labels
from bertbundle.contract.types import InputFeatures
from bertbundle_export.job import crf_tables
from bertbundle_export.options import ExportOptions
from bertbundle_export.tasks import Head

__all__ = ["choose_decoding"]

# A BIO model on text that it was not trained for leaves out about every other B-; an IOB1 model has next to none.
_FEW_ENTITIES, _IOB1_RATIO = 5, 20


def choose_decoding(
    head: Head,
    options: ExportOptions,
    features: InputFeatures,
    raw: Mapping[str, npt.NDArray[Any]],
    *,
    note: Callable[[str], None],
) -> Head:
    """Return a tagger's head with its label scheme and decoding.

    Args:
        head: with its labels.
        options: what the user chose.
        features: texts as the model takes them.
        raw: what the model returns for them.
        note: is told what the user should know.

    Raises:
        ExportError: a CRF is to decode, but its tables are missing or make no sense.
    """
    scheme = options.label_scheme or detect_scheme(head.labels)
    decoding = options.label_decoding
    if decoding == "crf" or (decoding == "auto" and "transitions" in raw):
        crf_tables.check_tables(raw, len(head.labels))
        decoding = "crf"
    elif decoding == "auto":
        real = ~np.isin(features.inputs["input_ids"], head.special_ids)
        decoding = _by_scheme(head.labels, scheme, raw["logits"].argmax(axis=-1), real, note)
    return dataclasses.replace(head, label_scheme=scheme, label_decoding=decoding)


def _by_scheme(
    labels: Sequence[str],
    scheme: str,
    label_ids: npt.NDArray[Any],
    real: npt.NDArray[np.bool_],
    note: Callable[[str], None],
) -> str:
    if scheme == "IO":
        return "argmax"
    if _begins_with_inside(labels, scheme, label_ids, real):
        note(
            "hardly an entity the model finds begins with B-, as in the older IOB1 scheme: labels are decoded by "
            "argmax. Pass --label-decoding viterbi if that is wrong."
        )
        return "argmax"
    return "viterbi"


def _begins_with_inside(
    labels: Sequence[str], scheme: str, label_ids: npt.NDArray[Any], real: npt.NDArray[np.bool_]
) -> bool:
    """Return whether a model hardly ever begins an entity with B-, as IOB1 does only between neighbours of one type."""
    tags = parse_labels(labels, scheme)
    begun = orphans = 0
    for row, tokens in zip(label_ids, real, strict=True):
        before = None
        for tag in (tags[label] for label in row[tokens]):
            begun += tag.role in "BS"
            orphans += tag.role in "IE" and (before is None or before.type != tag.type or before.role not in "BI")
            before = tag
    return orphans >= _FEW_ENTITIES and orphans > _IOB1_RATIO * begun
