"""Format the results of each task, and a manifest, as JSON and as tables for a terminal."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertbundle.batch.results import RESULT_DICTS, head_task
from bertbundle.contract.heads import MULTI_TASK, Head
from bertbundle.contract.manifest import Manifest, ParityRow
from bertbundle.contract.types import Answer, Classification, Entity, Fill

__all__ = [
    "RESULT_FORMATS",
    "ResultFormat",
    "describe_manifest",
    "format_table",
    "highlight_entities",
    "parity_table",
]


@dataclass(frozen=True, slots=True)
class ResultFormat:
    """How to format the results of one task.

    Attributes:
        to_dict: converts one result to a JSON-serializable dict.
        to_table: formats texts and their results as the lines of a table.
        highlight: highlights one result within its text, for a terminal; None if the result is not a part of the text.
    """

    to_dict: Callable[[Any], Mapping[str, Any]]
    to_table: Callable[[Sequence[str], Sequence[Any]], Iterable[str]]
    highlight: Callable[[str, Any], str] | None = None


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
    return format_table(("text", "label", "entity", "score", "start", "end"), rows)


_STYLES = ("\x1b[30;46m", "\x1b[30;43m", "\x1b[30;42m", "\x1b[30;45m", "\x1b[30;44m", "\x1b[30;47m")
_DIM, _RESET = "\x1b[2m", "\x1b[0m"


def highlight_entities(text: str, entities: Sequence[Entity]) -> str:
    """Color the entities in a text, with one color per label, and write the label after each entity.

    Entities that share characters, such as nested ones, are in brackets; characters have the color of the shortest.

    >>> highlight_entities("Wang lives", [Entity("PER", "Wang", 0, 4, 0.5)]).replace(chr(27), "^")
    '^[30;45mWang^[0m^[2m PER^[0m lives'
    """
    cuts = sorted({0, len(text), *(position for entity in entities for position in (entity.start, entity.end))})
    shared = [any(_overlap(entity, other) for other in entities if other is not entity) for entity in entities]
    marked = sorted(zip(entities, shared, strict=True), key=lambda pair: pair[0].end - pair[0].start)
    parts = []
    for start, end in itertools.pairwise(cuts):
        parts += [f"{_DIM}[{_RESET}" for entity, in_brackets in marked if in_brackets and entity.start == start]
        inside = [entity for entity, _ in marked if entity.start <= start and end <= entity.end]
        piece = _printable(text[start:end])
        parts.append(f"{_style(inside[0])}{piece}{_RESET}" if inside else piece)
        parts += [
            f"{_DIM}{']' * in_brackets} {entity.label}{_RESET}" for entity, in_brackets in marked if entity.end == end
        ]
    return "".join(parts)


def _overlap(entity: Entity, other: Entity) -> bool:
    return entity.start < other.end and other.start < entity.end


def _style(entity: Entity) -> str:
    return _STYLES[sum(entity.label.encode()) % len(_STYLES)]


def _class_table(texts: Sequence[str], results: Sequence[Classification]) -> Iterable[str]:
    rows = [
        (text if index == 0 else "", "*" if label in result.labels else "", label, f"{score:.4f}")
        for text, result in zip(texts, results, strict=True)
        for index, (label, score) in enumerate(list(result.scores.items())[: max(5, len(result.labels))])
    ]
    return format_table(("text", "", "label", "score"), rows)


def _similarity_table(texts: Sequence[str], results: Any) -> Iterable[str]:
    results = np.stack(results)
    norms = np.linalg.norm(results, axis=1, keepdims=True)
    unit = results / np.maximum(norms, 1e-12)
    cosines = unit @ unit.T
    header = ("", "text", "dimensions", *(f"cosine {index}" for index in range(len(texts))))
    rows = [
        (str(index), text, str(results.shape[1]), *(f"{value:.4f}" for value in cosines[index]))
        for index, text in enumerate(texts)
    ]
    return format_table(header, rows)


def _value_table(texts: Sequence[str], results: Sequence[float]) -> Iterable[str]:
    return format_table(("text", "value"), [(text, f"{value:.4f}") for text, value in zip(texts, results, strict=True)])


def _answer_table(texts: Sequence[str], results: Sequence[Answer]) -> Iterable[str]:
    rows = [
        (text, answer.text, f"{answer.score:.4f}", str(answer.start), str(answer.end), f"{answer.null_score:.4f}")
        for text, answer in zip(texts, results, strict=True)
    ]
    return format_table(("question", "answer", "score", "start", "end", "no answer"), rows)


def _fill_table(texts: Sequence[str], results: Sequence[list[list[Fill]]]) -> Iterable[str]:
    rows = [
        (fill.text if index == 0 else "", str(fill.start), fill.token, f"{fill.score:.4f}")
        for text, masks in zip(texts, results, strict=True)
        for fills in masks or [[Fill("(no mask)", 0, text, 0, 0, 0.0)]]
        for index, fill in enumerate(fills[:5])
    ]
    return format_table(("text", "start", "token", "score"), rows)


def _head_tables(texts: Sequence[str], results: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Return a table for each head, below its name."""
    for name in results[0]:
        of_head = [result[name] for result in results]
        yield from (f"{name}:", *_TABLES[head_task(of_head[0])](texts, of_head), "")


_TABLES: Mapping[str, Callable[[Sequence[str], Any], Iterable[str]]] = {
    "token-classification": _entity_table,
    "span-classification": _entity_table,
    "text-classification": _class_table,
    "regression": _value_table,
    "feature-extraction": _similarity_table,
    "question-answering": _answer_table,
    "fill-mask": _fill_table,
    MULTI_TASK: _head_tables,
}
RESULT_FORMATS: Mapping[str, ResultFormat] = {
    task: ResultFormat(RESULT_DICTS[task], to_table, highlight_entities if to_table is _entity_table else None)
    for task, to_table in _TABLES.items()
}
"""The result format of each task, by its name in the manifest."""


# ---- manifests


def describe_manifest(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the main fields of a manifest as pairs of name and text."""
    source = manifest.source
    fields = {
        "name": manifest.name,
        "task": manifest.task,
        "source": f"{source.name} ({source.architecture}, {source.layers} layers x {source.hidden_size})",
        "signatures": ", ".join(f"{name} [batch, {length}]" for name, length in manifest.signatures.items()),
        "inputs": ", ".join(spec.name for spec in manifest.inputs),
        "outputs": ", ".join(f"{spec.name} [{', '.join(spec.shape)}]" for spec in manifest.outputs),
        "heads": ", ".join(f"{name} ({head.task})" for name, head in manifest.heads.items()) or "-",
        "labels": "; ".join(_per_head(manifest, lambda part: ", ".join(part.labels) or "-")),
        "decoding": "; ".join(_per_head(manifest, _decoding)),
        **_words(manifest),
        "pooling": f"{manifest.pooling}{', normalized' if manifest.normalized else ''}",
        "created": manifest.created,
        "notes": "; ".join(manifest.notes) or "-",
    }
    return list(fields.items())


def _per_head(manifest: Manifest, describe: Callable[[Manifest | Head], str]) -> list[str]:
    """Return a text for the model, or for each of several heads behind its name."""
    if not manifest.heads:
        return [describe(manifest)]
    return [f"{name}: {describe(head)}" for name, head in manifest.heads.items()]


def _decoding(part: Manifest | Head) -> str:
    if isinstance(part, Manifest) and part.task == "span-classification":
        return f"spans with a logit above {part.span_threshold:g}, at most {part.top_k}"
    return f"{part.label_scheme} {part.label_decoding}, labels per {part.word_labels}"


def _words(manifest: Manifest) -> dict[str, str]:
    """Return what splits texts into words in front of the tokenizer, if anything does."""
    found = manifest.word_segmenter
    return (
        {"words": " ".join(filter(None, (found.analyzer, found.dictionary, found.dictionary_version)))} if found else {}
    )


def parity_table(manifest: Manifest) -> Iterable[str]:
    """Return a table with the parity of each output: the worst figures of all signatures."""
    groups: dict[tuple[str, str], list[ParityRow]] = {}
    for row in manifest.parity:
        groups.setdefault((row.format, row.output), []).append(row)
    rows = [
        (name, output, f"{max(row.max_abs for row in group):.2e}", f"{min(row.agreement for row in group):.2%}")
        for (name, output), group in groups.items()
    ]
    return format_table(("format", "output", "max abs difference", "labels agree"), rows)


# ---- tables


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns by the width of the characters in a terminal; a header of empty strings is omitted."""
    cells = [[_printable(cell) for cell in row] for row in ([header] if any(header) else [])] + [
        [_printable(cell) for cell in row] for row in rows
    ]
    widths = [max((_width(row[column]) for row in cells), default=0) for column in range(len(header))]
    return ["  ".join(_pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _printable(text: str) -> str:
    """Replace control characters, which would move the terminal's cursor, by spaces."""
    return "".join(char if char.isprintable() else " " for char in text)


def _width(text: str) -> int:
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):  # combining marks
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _pad(cell: str, width: int) -> str:
    return cell + " " * (width - _width(cell))
