"""Where an export takes a CRF's scores from: the model's outputs, or attributes of it that the user names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from bertbundle_export.errors import ExportError
from bertbundle_export.source.model import SourceModel
from bertbundle_export.tasks.crf import TABLES

__all__ = ["check_no_idle_tables", "check_tables", "with_tables"]


def check_tables(raw: Mapping[str, Any], labels: int) -> None:
    """Check the tables among a model's outputs.

    Raises:
        ExportError: there are no transitions, they are all alike, or a table has another size than the labels.
    """
    if "transitions" not in raw:
        raise ExportError(
            "label_decoding is crf, but the model returns no transitions. Return them beside the logits, or name the "
            "attribute that holds them: --crf-transitions crf.transitions (crf_transitions= in Python)."
        )
    for name in TABLES.keys() & raw.keys():
        expected, found = (labels,) * TABLES[name], tuple(raw[name].shape)
        if found != expected:
            raise ExportError(
                f"the model's {name} have shape {list(found)}, its {labels} labels need {list(expected)}."
            )
        if np.isnan(raw[name]).any():
            raise ExportError(f"the model's {name} have values that are no numbers. Check its weights.")
    if np.ptp(raw["transitions"]) == 0:
        raise ExportError(
            f"the model's transitions are all {raw['transitions'].flat[0]:g}: were its CRF's weights loaded and "
            "trained? Say --label-decoding argmax or viterbi to decode without them."
        )


def with_tables(model: SourceModel, attributes: Sequence[str | None]) -> SourceModel:
    """Let a model that returns logits only return its CRF's tables, too.

    Args:
        model: the source model.
        attributes: for each of `TABLES` the dotted attribute of the Keras model, such as ``crf.transitions``, or None.

    Raises:
        ExportError: the model has no such attribute.
    """
    given = {name: path for name, path in zip(TABLES, attributes, strict=True) if path}
    if not given:
        return model
    tables = {name: _attribute(model.keras, path) for name, path in given.items()}
    return dataclasses.replace(model, more_outputs=tables)


def _attribute(keras: Any, path: str) -> Any:
    try:
        value = reduce(getattr, path.split("."), keras)
    except AttributeError as error:
        raise ExportError(f"the model has no attribute {path}: {error}. Name the one that holds the scores.") from error
    if not hasattr(value, "shape"):
        raise ExportError(f"the model's {path} is a {type(value).__name__}, expected a variable, tensor or array.")
    return value


def check_no_idle_tables(keras: Any, function: Any, labels: int, decoding: str) -> None:
    """Check that the traced function leaves out no weight that looks like a table of a CRF.

    Raises:
        ExportError: the model trained one ``[labels, labels]``, or of a CRF's one ``[labels]``, that has no part in its
            outputs: labels decoded without it would be other than the model's.
    """
    used = {id(variable) for variable in function.graph.variables}
    shapes = [(labels,) * axes for axes in (TABLES.values() if decoding == "crf" else (2,))]
    for variable in getattr(keras, "trainable_variables", ()):
        if tuple(variable.shape) in shapes and id(variable) not in used:
            raise ExportError(
                f"the model's outputs do not depend on its weight {variable.name} {list(variable.shape)}, a table of a "
                "CRF? Name the attribute that holds it: --crf-transitions, --crf-start or --crf-end crf.attribute "
                "(crf_transitions= ... in Python). If it is none, say how to decode with --label-decoding."
            )
