"""Find the outputs of each of several heads in what a model returns: by name, or by shape if that is unambiguous."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from bertbundle.contract.heads import output_name
from bertbundle_export.errors import CheckpointError, ExportError
from bertbundle_export.options import ExportOptions, check_options_apply
from bertbundle_export.source.model import SourceModel, call_keras, check_labels, fixed_length
from bertbundle_export.tasks import HEAD_TASKS, HeadSpec, read_heads
from bertbundle_export.tasks.checks import own_outputs
from bertbundle_export.tasks.crf import TABLES

__all__ = ["bind_heads", "checked_heads", "errors_of_head", "head_options"]

Key: TypeAlias = "str | int"
_PROBE_LENGTH = 16


def head_options(options: ExportOptions, head: HeadSpec) -> ExportOptions:
    """Return the options of an export for one of several heads.

    Raises:
        ExportError: one of them has an invalid value.
    """
    names = ("label_scheme", "label_decoding", "crf_transitions", "crf_start", "crf_end", "word_labels")
    return dataclasses.replace(options, **{name: getattr(head, name) for name in names})


def checked_heads(heads: Mapping[str, Any]) -> Mapping[str, HeadSpec]:
    """Return the user's heads, checked: names, tasks, labels and options.

    Args:
        heads: a `HeadSpec`, or a task and its labels, by name.

    Raises:
        ExportError, CheckpointError: one of them is not valid or missing, or does not apply to the task of its head.
    """
    specs = read_heads(heads, HEAD_TASKS)
    for name, head in specs.items():
        with errors_of_head(name):
            check_options_apply(head.task, head)
            head_options(ExportOptions(), head)
            if HEAD_TASKS[head.task].has_labels and not head.labels:
                raise ExportError("it has no labels. Give them in the order of the class indices, as for --head.")
            if HEAD_TASKS[head.task].has_labels:
                check_labels(head.labels, HEAD_TASKS[head.task], multi_label=head.multi_label)
    return specs


def bind_heads(model: SourceModel) -> SourceModel:
    """Run a model with several heads on one text, and return it with the place of each head's outputs.

    Raises:
        ExportError: the model returns one output, or it is unclear which of its outputs belongs to which head.
    """
    if not model.heads:
        return model
    shape = (1, fixed_length(model.keras) or min(_PROBE_LENGTH, model.max_positions or _PROBE_LENGTH))
    values = {spec.name: int(spec.name != "token_type_ids") for spec in model.inputs}
    returned = call_keras(model, {name: np.full(shape, value, np.int32) for name, value in values.items()})
    outputs = _Outputs.of(returned, getattr(model.keras, "output_names", None))
    found, notes = _match(outputs, model.heads)
    taggers = [name for name, head in model.heads.items() if head.task == "token-classification"]
    if len(taggers) > 1 and (tables := [name for name in outputs.names if name in TABLES]):
        raise ExportError(
            f"the model returns {', '.join(tables)}, but has the taggers {', '.join(taggers)}. Name each table after "
            f"its head: {output_name(taggers[0], tables[0])}."
        )
    unused = own_outputs(outputs.describe(key) for key in outputs.shapes if key not in found.values())
    if unused:
        notes.append(f"the model also returns {', '.join(unused)}, which is not in the bundle: it belongs to no head.")
    return dataclasses.replace(model, head_outputs=found, notes=(*model.notes, *notes))


@contextlib.contextmanager
def errors_of_head(name: str) -> Iterator[None]:
    """Put the name of a head in front of the errors that are raised in the context; "" if there is only one head."""
    try:
        yield
    except (ExportError, CheckpointError) as error:
        raise type(error)(f"head {name}: {error}" if name else str(error)) from error


@dataclass(frozen=True, slots=True)
class _Outputs:
    """What a model returns.

    Attributes:
        shapes: shape of each tensor by its key in a dict, or its index in a list.
        names: the key of each tensor by its name; empty for a list whose tensors have no names.
    """

    shapes: Mapping[Key, tuple[int, ...]]
    names: Mapping[str, Key]

    @classmethod
    def of(cls, returned: Any, names: Sequence[str] | None) -> _Outputs:
        """Describe what a model returned; `names` are those of Keras for the tensors of a list.

        Raises:
            ExportError: it is one tensor.
        """
        if isinstance(returned, Mapping):
            shapes = {key: tuple(value.shape) for key, value in returned.items() if hasattr(value, "dtype")}
            return cls(shapes, {str(key): key for key in shapes})
        if not isinstance(returned, tuple | list):
            shape = list(getattr(returned, "shape", ()))
            raise ExportError(
                f"heads were given, but the model returns one output, of shape {shape}. Pass task and labels, or "
                "return a dict with an output for each head."
            )
        shapes = {index: tuple(value.shape) for index, value in enumerate(returned) if hasattr(value, "dtype")}
        is_named = names is not None and len(names) == len(returned)
        return cls(shapes, {str(names[index]): index for index in shapes} if names and is_named else {})

    def describe(self, key: Key) -> str:
        """Return the name of an output, or its index and its shape."""
        return key if isinstance(key, str) else f"output {key} [{', '.join(map(str, self.shapes[key]))}]"


def _match(outputs: _Outputs, heads: Mapping[str, HeadSpec]) -> tuple[dict[str, Key], list[str]]:
    """Return the key of each output of the heads, and notes for the user."""
    named = _match_names(outputs, heads)
    missing = [name for name in heads if output_name(name, "logits") not in named]
    if not missing:
        return named, []
    is_list = all(isinstance(key, int) for key in outputs.shapes)
    if named or not is_list:
        returned = ", ".join(outputs.names) or "none"
        raise ExportError(
            f"the model returns no output called {' or '.join(missing)}: its outputs are {returned}. Name each head as "
            "its output, or return a dict with an output for each head."
        )
    matched = _match_shapes(outputs, heads)
    places = ", ".join(f"{name} is {outputs.describe(key)}" for name, key in matched.items())
    note = f"the model returns a list, whose outputs are told apart by their shapes: {places}."
    return {output_name(name, "logits"): key for name, key in matched.items()}, [note]


def _match_names(outputs: _Outputs, heads: Mapping[str, HeadSpec]) -> dict[str, Key]:
    found: dict[str, Key] = {}
    for name, key in outputs.names.items():
        meanings = [meaning for meaning, names in _names(heads) if name in names]
        if len(meanings) > 1:
            raise ExportError(f"the model's output {name} could be {' or '.join(meanings)}. Rename the heads.")
        for meaning in meanings:
            if meaning in found:
                raise ExportError(
                    f"the model's outputs {found[meaning]} and {name} could both be the {meaning} of its head. Return "
                    "only the logits, or rename the other."
                )
            found[meaning] = key
    return found


def _names(heads: Mapping[str, HeadSpec]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each output that a head may have, and the names that it may have in the model."""
    taggers = [name for name, head in heads.items() if head.task == "token-classification"]
    for name in heads:
        yield output_name(name, "logits"), (name, f"{name}_logits", f"{name}.logits")
    for name in taggers:
        for table in TABLES:
            only = (table,) if len(taggers) == 1 else ()
            yield output_name(name, table), (f"{name}_{table}", f"{name}.{table}", *only)


def _match_shapes(outputs: _Outputs, heads: Mapping[str, HeadSpec]) -> dict[str, Key]:
    """Return the output of each head if only one has its rank and number of columns.

    Raises:
        ExportError: several have, or none has.
    """
    fitting = {
        name: [key for key, shape in outputs.shapes.items() if (len(shape), shape[-1:]) == _expected(head)]
        for name, head in heads.items()
    }
    keys = [key for found in fitting.values() for key in found]
    if all(len(found) == 1 for found in fitting.values()) and len(set(keys)) == len(heads):
        return {name: found[0] for name, found in fitting.items()}
    raise ExportError(
        f"the model returns a list of {', '.join(map(outputs.describe, outputs.shapes))}, and it is unclear which is "
        f"which head: {', '.join(heads)}. Return a dict with an output for each head, such as "
        f"{{{', '.join(f'{name!r}: ...' for name in heads)}}}, or name the output layers as the heads."
    )


def _expected(head: HeadSpec) -> tuple[int, tuple[int, ...]]:
    """Return the rank and the last dimension of a head's logits."""
    return HEAD_TASKS[head.task].rank, (1 if HEAD_TASKS[head.task].regression else len(head.labels),)
