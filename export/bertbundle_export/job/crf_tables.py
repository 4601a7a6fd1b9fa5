"""The score tables of a CRF: outputs of the model, or attributes of the model that the user names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from bertbundle.contract.heads import output_name
from bertbundle_export.errors import ExportError
from bertbundle_export.source.model import SourceModel
from bertbundle_export.tasks.crf import TABLES

__all__ = ["add_tables", "check_tables", "check_unused_tables"]


def check_tables(outputs: Mapping[str, Any], labels: int) -> None:
    """Check the CRF tables among a model's outputs.

    Args:
        outputs: the model's outputs by name.
        labels: number of labels.

    Raises:
        ExportError: there are no transitions, all of them are equal, or a table has another size than the labels.
    """
    if "transitions" not in outputs:
        raise ExportError(
            "label_decoding is crf, but the model returns no transitions. Return them beside the logits, or name the "
            "attribute that stores them: --crf-transitions crf.transitions (crf_transitions= in Python)."
        )
    for name in TABLES.keys() & outputs.keys():
        expected, found = (labels,) * TABLES[name], tuple(outputs[name].shape)
        if found != expected:
            raise ExportError(
                f"the model's {name} have shape {list(found)}, its {labels} labels need {list(expected)}."
            )
        if np.isnan(outputs[name]).any():
            raise ExportError(f"the model's {name} have NaN values. Check its weights.")
    if np.ptp(outputs["transitions"]) == 0:
        raise ExportError(
            f"the model's transitions are all {outputs['transitions'].flat[0]:g}: were its CRF's weights trained and "
            "loaded? To decode without them, pass --label-decoding argmax or viterbi."
        )


def add_tables(model: SourceModel, attributes: Sequence[str | None], *, head: str = "") -> SourceModel:
    """Return the model with its CRF's tables added to its outputs.

    Args:
        model: the source model.
        attributes: for each of `TABLES` the dotted attribute of the Keras model, such as ``crf.transitions``, or None.
        head: the head that the CRF belongs to; "" if there is only one.

    Raises:
        ExportError: the model has no such attribute.
    """
    paths = {name: path for name, path in zip(TABLES, attributes, strict=True) if path}
    if not paths:
        return model
    tables = {output_name(head, name) if head else name: _attribute(model.keras, path) for name, path in paths.items()}
    return dataclasses.replace(model, extra_outputs={**model.extra_outputs, **tables})


def _attribute(keras: Any, path: str) -> Any:
    try:
        value = reduce(getattr, path.split("."), keras)
    except AttributeError as error:
        raise ExportError(
            f"the model has no attribute {path}: {error}. Name the attribute that stores the scores."
        ) from error
    if not hasattr(value, "shape"):
        raise ExportError(f"the model's {path} is a {type(value).__name__}, expected a variable, tensor or array.")
    return value


def check_unused_tables(keras: Any, function: Any, labels: int, decoding: str) -> None:
    """Check that the traced function uses every weight that looks like a table of a CRF.

    Raises:
        ExportError: a trained weight of shape ``[labels, labels]``, or with decoding "crf" also ``[labels]``, has no
            influence on the outputs: decoding without it would give other labels than the model's own.
    """
    used = {id(variable) for variable in function.graph.variables}
    shapes = [(labels,) * axes for axes in (TABLES.values() if decoding == "crf" else (2,))]
    for variable in getattr(keras, "trainable_variables", ()):
        if tuple(variable.shape) in shapes and id(variable) not in used:
            raise ExportError(
                f"the model's outputs do not depend on its weight {variable.name} {list(variable.shape)}. If it is a "
                "table of a CRF, name its attribute: --crf-transitions, --crf-start or --crf-end crf.attribute "
                "(crf_transitions= ... in Python). If not, choose the decoding with --label-decoding."
            )
