"""Compare two models on a data file: ask both, and report how their results, metrics and latencies differ."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bertbundle.client.sync_client import Client
from bertbundle.contract.manifest import Manifest
from bertbundle.data.examples import DataOptions, Dataset, DataTask, data_task
from bertbundle.data.reader import read_dataset
from bertbundle.decoding.agreement import agree
from bertbundle.decoding.decoders import DECODERS
from bertbundle.errors import InputError
from bertbundle.evaluation.comparison.latency import Latency, measure_latencies
from bertbundle.evaluation.comparison.paired import Difference, differences
from bertbundle.evaluation.comparison.report import ComparisonReport, DifferentText, Limit
from bertbundle.evaluation.measurement import Measurement
from bertbundle.evaluation.measures import measure
from bertbundle.evaluation.observations import Observation, ObserveOptions, check_manifest, observe
from bertbundle.evaluation.reports.mistakes import describe_expected, describe_found
from bertbundle.evaluation.reports.report import Bootstrap
from bertbundle.evaluation.spans import predicted_spans
from bertbundle.session.batches import AskOptions

__all__ = ["Comparison", "Target", "check_data", "compare"]

_SPAN_TASKS = ("token-classification", "span-classification")


class Target(NamedTuple):
    """A model to compare.

    Attributes:
        name: what the user calls it.
        client: a client of it.
        address: server and model, or the directory.
    """

    name: str
    client: Client
    address: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What to compare, and how.

    Attributes:
        path: the data file.
        data: how to read it.
        observe: how to ask the models.
        bootstrap: how to compute intervals and p-values; none with 0 resamples.
        worst: number of different texts to report.
        latency_texts: number of texts to measure the latency with; 0 for no measurement.
        min_agreement: the least share of texts with results that agree; None for no limit.
        max_f1_loss: how much lower B's F1 may be than A's; None for no limit.
    """

    path: str
    data: DataOptions = field(default_factory=lambda: DataOptions(need_labels=False))
    observe: ObserveOptions = field(default_factory=ObserveOptions)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    worst: int = 20
    latency_texts: int = 100
    min_agreement: float | None = None
    max_f1_loss: float | None = None


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two models, with its results."""

    target: Target
    manifest: Manifest
    task: DataTask
    dataset: Dataset

    def observe(self, options: ObserveOptions) -> list[Observation]:
        observations = observe(self.target.client, self.task, self.dataset, options)
        check_manifest(self.target.client, self.manifest)
        return observations

    def describe(self, observation: Observation) -> dict[str, Any]:
        names = ("name", "precision", "max_length")
        values = {name: getattr(self.manifest, name) for name in names}
        return {"target": self.target.name, **values, "version": observation.version, "labels": list(self.task.labels)}


def compare(a: Target, b: Target, comparison: Comparison) -> ComparisonReport:
    """Compare two models.

    Raises:
        InputError: the data cannot be used with both models, they are for different tasks, or a limit does not apply.
        ServerError: see `observe`.
    """
    sides = _read_sides((a, b), comparison)
    main = _check_limits(sides[0], comparison)
    results = [side.observe(comparison.observe) for side in sides]
    same = np.array([agree(one.result, other.result) for one, other in zip(*results, strict=True)])
    measured = [measure(side.task, side.dataset, found) for side, found in zip(sides, results, strict=True) if main]
    metrics = differences(measured[0], measured[1], comparison.bootstrap) if measured else {}
    return ComparisonReport(
        task=sides[0].task.name,
        models=[side.describe(found[0]) for side, found in zip(sides, results, strict=True)],
        data={
            "path": comparison.path,
            "texts": len(same),
            "place": sides[0].dataset.place,
            "truncation": comparison.observe.truncation,
            "strict": comparison.observe.strict,
        },
        notes=[*sides[0].dataset.notes, *_notes(sides, results)],
        agreed=int(same.sum()),
        spans=_count_spans(sides, results),
        main=measured[0].main if measured else "",
        metrics=metrics,
        bootstrap=comparison.bootstrap,
        latencies=_latencies(sides, comparison),
        differences=_different_texts(sides, results, measured, same, comparison.worst),
        limits=list(_limits(comparison, main, float(same.mean()), metrics)),
    )


def check_data(target: Target, comparison: Comparison) -> None:
    """Check the data and the limits with one of two models, before the other one is there.

    Raises:
        InputError: as `compare`.
    """
    manifest = target.client.manifest()
    task = data_task(manifest, comparison.observe.head)
    dataset = read_dataset(comparison.path, task, comparison.data)
    _check_limits(_Side(target, manifest, task, dataset), comparison)


def _read_sides(targets: Sequence[Target], comparison: Comparison) -> list[_Side]:
    manifests = [target.client.manifest() for target in targets]
    tasks = [data_task(manifest, comparison.observe.head) for manifest in manifests]
    a, b = (task.name for task in tasks)
    if a != b:
        raise InputError(f"{targets[0].name} is for {a}, {targets[1].name} for {b}: compare models of one task.")
    data = [read_dataset(comparison.path, tasks[0], comparison.data)]
    try:
        data.append(read_dataset(comparison.path, tasks[1], comparison.data))
    except InputError as error:  # the first model takes the data
        raise InputError(f"for {targets[1].name}, {error}") from error
    return [_Side(*parts) for parts in zip(targets, manifests, tasks, data, strict=True)]


# ---- limits

_F1 = {
    **dict.fromkeys(_SPAN_TASKS, "f1_micro"),
    "text-classification": "f1_macro",
    "question-answering": "f1",
}
"""The F1 that --max-f1-loss is about, by task."""


def _check_limits(side: _Side, comparison: Comparison) -> str:
    """Return the name of the F1 or of another metric if the data has labels, else "".

    Raises:
        InputError: --max-f1-loss without labels, or for a task without an F1.
    """
    if comparison.max_f1_loss is None:
        return _F1.get(side.task.name, "other") if side.dataset.labelled else ""
    if side.task.name not in _F1:
        raise InputError(
            f"the models are for {side.task.name}, which has no F1: omit --max-f1-loss, use --min-agreement."
        )
    if not side.dataset.labelled:
        raise InputError(f"{comparison.path} has no labels: omit --max-f1-loss, or pass labelled data.")
    return _F1[side.task.name]


def _limits(comparison: Comparison, main: str, agreement: float, metrics: dict[str, Difference]) -> Iterator[Limit]:
    if comparison.min_agreement is not None:
        limit = comparison.min_agreement
        yield Limit("--min-agreement", limit, agreement, agreement >= limit)
    if comparison.max_f1_loss is not None:
        loss = metrics[main].a - metrics[main].b
        yield Limit("--max-f1-loss", comparison.max_f1_loss, loss, loss <= comparison.max_f1_loss + 1e-12)


# ---- parts of the report


def _notes(sides: Sequence[_Side], results: Sequence[Sequence[Observation]]) -> Iterator[str]:
    for side, found in zip(sides, results, strict=True):
        count = sum(observation.too_long for observation in found)
        if count:
            yield f"{side.target.name}: {count} texts have more than {side.manifest.max_length} tokens."
    if sides[0].target.address == sides[1].target.address and results[0][0].version == results[1][0].version:
        yield f"A and B are the same: version {results[0][0].version} of the same model."
    labels = [set(side.task.labels) for side in sides]
    for side, only in zip(sides, (labels[0] - labels[1], labels[1] - labels[0]), strict=True):
        if only:
            yield f"only {side.target.name} has the labels {', '.join(sorted(only))}."


def _count_spans(sides: Sequence[_Side], results: Sequence[Sequence[Observation]]) -> dict[str, int]:
    if sides[0].task.name not in _SPAN_TASKS:
        return {}
    pairs = [tuple(set(predicted_spans(observation)) for observation in pair) for pair in zip(*results, strict=True)]
    return {
        "both": sum(len(a & b) for a, b in pairs),
        "a_only": sum(len(a - b) for a, b in pairs),
        "b_only": sum(len(b - a) for a, b in pairs),
    }


def _latencies(sides: Sequence[_Side], comparison: Comparison) -> list[Latency]:
    if not comparison.latency_texts:
        return []
    dataset = sides[0].dataset
    texts = [example.text for example in dataset.examples[: comparison.latency_texts]]
    if sides[0].task.name == "feature-extraction":
        texts = [text[0] if isinstance(text, tuple) else text for text in texts]
    options = AskOptions(
        comparison.observe.truncation, is_split_into_words=dataset.is_split_into_words, head=comparison.observe.head
    )
    asks: list[Callable[[Any], Any]] = [
        functools.partial(side.target.client.ask, DECODERS[side.task.name], options=options) for side in sides
    ]
    return measure_latencies(asks, texts)


def _different_texts(
    sides: Sequence[_Side],
    results: Sequence[Sequence[Observation]],
    measured: Sequence[Measurement],
    same: np.ndarray[Any, np.dtype[np.bool_]],
    count: int,
) -> list[DifferentText]:
    errors = np.stack([each.errors() for each in measured]) if measured else np.zeros((2, len(same)))
    # The largest changes first, among equal ones those for the worse; then the order of the file.
    change = errors[1] - errors[0]
    order = [int(index) for index in np.lexsort((-change, -np.abs(change))) if not same[index]]
    return [_different_text(sides, results, index, errors if measured else None) for index in order[:count]]


def _different_text(
    sides: Sequence[_Side], results: Sequence[Sequence[Observation]], index: int, errors: Any
) -> DifferentText:
    example, task = sides[0].dataset.examples[index], sides[0].task.name
    shown = list(example.shown) if isinstance(example.shown, tuple) else example.shown
    a, b = _describe(task, results[0][index].result, results[1][index].result)
    if errors is None:
        return DifferentText(example.line, shown, a, b)
    expected = describe_expected(task, example.gold)
    return DifferentText(example.line, shown, a, b, expected, (float(errors[0, index]), float(errors[1, index])))


def _describe(task: str, a: Any, b: Any) -> tuple[Any, Any]:
    """Return two results as JSON values; for the embeddings of a single text, their cosine."""
    if not isinstance(a, np.ndarray):
        return describe_found(task, a), describe_found(task, b)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b)) if a.shape == b.shape else 0.0
    cosine = float(np.sum(a * b)) / norms if norms else float("nan")
    return {"cosine": cosine}, {"cosine": cosine}
