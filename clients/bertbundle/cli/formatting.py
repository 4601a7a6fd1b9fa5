"""How answers look in a terminal: one row per task, as JSON and as a table."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertbundle.contract.manifest import Manifest, ParityRow
from bertbundle.contract.types import Answer, Classification, Entity, Fill

__all__ = ["SHOWN", "Shown", "facts", "mark", "parity_table", "table"]


@dataclass(frozen=True, slots=True)
class Shown:
    """How one task's answers are shown.

    Attributes:
        fields: one result as what `json.dumps` takes, by name.
        table: the lines of a table of texts and results.
        in_place: one text with its result shown in it, for a terminal; None if it has no place there.
    """

    fields: Callable[[Any], Mapping[str, Any]]
    table: Callable[[Sequence[str], Sequence[Any]], Iterable[str]]
    in_place: Callable[[str, Any], str] | None = None


def _entity_table(texts: Sequence[str], results: Sequence[list[Entity]]) -> Iterable[str]:
    rows = [
        (
            text if index == 0 else "",
            entity.label,
            entity.text,
            f"{entity.score:.4f}",
            str(entity.start),
            str(entity.end),
        )
        for text, entities in zip(texts, results, strict=True)
        for index, entity in enumerate(entities or [Entity("-", "(none)", 0, 0, 0.0)])
    ]
    return table(("text", "label", "entity", "score", "start", "end"), rows)


_STYLES = ("\x1b[30;46m", "\x1b[30;43m", "\x1b[30;42m", "\x1b[30;45m", "\x1b[30;44m", "\x1b[30;47m")
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def mark(text: str, entities: Sequence[Entity]) -> str:
    """Show entities in their text with colours, one for each label, and the label after each.

    >>> mark("Wang lives", [Entity("PER", "Wang", 0, 4, 0.5)]).replace(chr(27), "^")
    '^[30;45mWang^[0m^[2m PER^[0m lives'
    """
    parts, reached = [], 0
    for entity in entities:
        style = _STYLES[sum(entity.label.encode()) % len(_STYLES)]
        parts += [_printable(text[reached : entity.start]), style, _printable(entity.text), _PLAIN]
        parts.append(f"{_DIM} {entity.label}{_PLAIN}")
        reached = entity.end
    return "".join([*parts, _printable(text[reached:])])


def _class_table(texts: Sequence[str], results: Sequence[Classification]) -> Iterable[str]:
    rows = [
        (text if index == 0 else "", "*" if label in result.labels else "", label, f"{score:.4f}")
        for text, result in zip(texts, results, strict=True)
        for index, (label, score) in enumerate(list(result.scores.items())[: max(5, len(result.labels))])
    ]
    return table(("text", "", "label", "score"), rows)


def _similarity_table(texts: Sequence[str], results: Any) -> Iterable[str]:
    results = np.stack(results)
    norms = np.linalg.norm(results, axis=1, keepdims=True)
    unit = results / np.maximum(norms, 1e-12)
    cosines = unit @ unit.T
    heads = ("", "text", "dimensions", *(f"cosine {index}" for index in range(len(texts))))
    rows = [
        (str(index), text, str(results.shape[1]), *(f"{value:.4f}" for value in cosines[index]))
        for index, text in enumerate(texts)
    ]
    return table(heads, rows)


def _value_table(texts: Sequence[str], results: Sequence[float]) -> Iterable[str]:
    return table(("text", "value"), [(text, f"{value:.4f}") for text, value in zip(texts, results, strict=True)])


def _answer_table(texts: Sequence[str], results: Sequence[Answer]) -> Iterable[str]:
    rows = [
        (text, answer.text, f"{answer.score:.4f}", str(answer.start), str(answer.end), f"{answer.null_score:.4f}")
        for text, answer in zip(texts, results, strict=True)
    ]
    return table(("question", "answer", "score", "start", "end", "no answer"), rows)


def _fill_table(texts: Sequence[str], results: Sequence[list[list[Fill]]]) -> Iterable[str]:
    rows = [
        (fill.text if index == 0 else "", str(fill.start), fill.token, f"{fill.score:.4f}")
        for text, masks in zip(texts, results, strict=True)
        for fills in masks or [[Fill("(no mask)", 0, text, 0, 0, 0.0)]]
        for index, fill in enumerate(fills[:5])
    ]
    return table(("text", "start", "token", "score"), rows)


SHOWN: Mapping[str, Shown] = {
    "token-classification": Shown(
        lambda entities: {"entities": [entity.to_dict() for entity in entities]},
        _entity_table,
        mark,
    ),
    "text-classification": Shown(
        lambda classification: classification.to_dict(),
        _class_table,
    ),
    "regression": Shown(lambda value: {"value": value}, _value_table),
    "feature-extraction": Shown(
        lambda vector: {"embedding": [round(float(value), 7) for value in vector]},
        _similarity_table,
    ),
    "question-answering": Shown(lambda answer: {"answer": answer.to_dict()}, _answer_table),
    "fill-mask": Shown(
        lambda masks: {"masks": [[fill.to_dict() for fill in fills] for fills in masks]},
        _fill_table,
    ),
}
"""Every task by its name in the manifest."""


# ---- a model


def facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Return what a model says of itself, by name."""
    source = manifest.source
    found = {
        "name": manifest.name,
        "task": manifest.task,
        "source": f"{source.name} ({source.architecture}, {source.layers} layers x {source.hidden_size})",
        "signatures": ", ".join(f"{name} [batch, {length}]" for name, length in manifest.signatures.items()),
        "inputs": ", ".join(spec.name for spec in manifest.inputs),
        "outputs": ", ".join(f"{spec.name} [{', '.join(spec.shape)}]" for spec in manifest.outputs),
        "labels": ", ".join(manifest.labels) or "-",
        "decoding": f"{manifest.label_scheme} {manifest.label_decoding}, labels per {manifest.word_labels}",
        "pooling": f"{manifest.pooling}{', normalised' if manifest.normalized else ''}",
        "created": manifest.created,
        "notes": "; ".join(manifest.notes) or "-",
    }
    return list(found.items())


def parity_table(manifest: Manifest) -> Iterable[str]:
    """Return how close each output of each format is to the source model: of all signatures the worst."""
    found: dict[tuple[str, str], list[ParityRow]] = {}
    for row in manifest.parity:
        found.setdefault((row.format, row.output), []).append(row)
    rows = [
        (kind, output, f"{max(row.max_abs for row in each):.2e}", f"{min(row.agreement for row in each):.2%}")
        for (kind, output), each in found.items()
    ]
    return table(("format", "output", "max abs difference", "labels agree"), rows)


# ---- a table in a terminal


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns by the width that a terminal gives each character."""
    cells = [[_printable(cell) for cell in row] for row in ([heads] if any(heads) else [])] + [
        [_printable(cell) for cell in row] for row in rows
    ]
    widths = [max((_width(row[column]) for row in cells), default=0) for column in range(len(heads))]
    return ["  ".join(_pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _printable(text: str) -> str:
    """Keep control characters of a text from moving the terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in text)


def _width(text: str) -> int:
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):  # marks upon the character before
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _pad(cell: str, width: int) -> str:
    return cell + " " * (width - _width(cell))
