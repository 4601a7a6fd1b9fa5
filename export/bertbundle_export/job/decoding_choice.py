"""Choose how labels are decoded: by the model's CRF, by the rules of the label scheme, or each token by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.labels import check_labels, detect_scheme, parse_labels
from bertbundle.contract.types import Arrays, InputFeatures
from bertbundle_export.errors import ExportError
from bertbundle_export.job.crf_tables import check_tables
from bertbundle_export.options import ExportOptions
from bertbundle_export.tasks import HeadConfig

__all__ = ["choose_decoding"]

# On unfamiliar text a BIO model misses about every second B-; an IOB1 model predicts almost none.
_MIN_STARTS_WITHOUT_B, _MIN_RATIO_TO_STARTS_WITH_B = 5, 20


def choose_decoding(
    head: HeadConfig,
    options: ExportOptions,
    features: InputFeatures,
    outputs: Arrays,
    *,
    note: Callable[[str], None],
) -> HeadConfig:
    """Return the configuration of a tagger with its label scheme and decoding.

    Args:
        head: the configuration, with labels.
        options: the user's choices.
        features: texts as inputs of the model.
        outputs: the model's outputs for them.
        note: called with notes for the user.

    Raises:
        ExportError: the decoding is "crf", but the CRF's tables are missing or invalid; or the labels do not follow
            the user's label scheme.
    """
    scheme = options.label_scheme or detect_scheme(head.labels)
    try:
        check_labels(head.labels, scheme)
    except ValueError as error:
        raise ExportError(f"{error}. Leave --label-scheme out to detect the scheme, or pass --labels.") from error
    decoding = options.label_decoding
    if decoding == "crf" or (decoding == "auto" and "transitions" in outputs):
        check_tables(outputs, len(head.labels))
        decoding = "crf"
    elif decoding == "auto":
        is_text = ~np.isin(features.inputs["input_ids"], head.special_ids)
        decoding = _decoding_of_scheme(head.labels, scheme, outputs["logits"].argmax(axis=-1), is_text, note)
    return dataclasses.replace(head, label_scheme=scheme, label_decoding=decoding)


def _decoding_of_scheme(
    labels: Sequence[str],
    scheme: str,
    label_ids: npt.NDArray[Any],
    is_text: npt.NDArray[np.bool_],
    note: Callable[[str], None],
) -> str:
    if scheme == "IO":
        return "argmax"
    if _looks_like_iob1(labels, scheme, label_ids, is_text):
        note(
            "almost no entity that the model finds begins with B-, as in the older IOB1 scheme: labels are decoded by "
            "argmax. Pass --label-decoding viterbi if that is wrong."
        )
        return "argmax"
    return "viterbi"


def _looks_like_iob1(
    labels: Sequence[str], scheme: str, label_ids: npt.NDArray[Any], is_text: npt.NDArray[np.bool_]
) -> bool:
    """Return whether a model almost never begins an entity with B-: IOB1 does so only between adjacent entities."""
    tags = parse_labels(labels, scheme)
    starts_with_b = starts_without_b = 0
    for row, tokens in zip(label_ids, is_text, strict=True):
        previous = None
        for tag in (tags[label] for label in row[tokens]):
            continues = previous is not None and previous.type == tag.type and previous.role in "BI"
            starts_with_b += tag.role in "BS"
            starts_without_b += tag.role in "IE" and not continues
            previous = tag
    return starts_without_b >= _MIN_STARTS_WITHOUT_B and starts_without_b > _MIN_RATIO_TO_STARTS_WITH_B * starts_with_b
