"""Evaluate a served model on a data file: ask, measure, and report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bertbundle.client.sync_client import Client
from bertbundle.data.examples import DataOptions, Dataset, DataTask, data_task
from bertbundle.data.reader import read_dataset
from bertbundle.evaluation.bootstrap import confidence_intervals
from bertbundle.evaluation.measurement import Measurement
from bertbundle.evaluation.measures import measure
from bertbundle.evaluation.observations import Observation, ObserveOptions, check_manifest, observe
from bertbundle.evaluation.reports.mistakes import worst_mistakes
from bertbundle.evaluation.reports.profile import Profile, compare_profiles, make_profile, read_profile
from bertbundle.evaluation.reports.report import Bootstrap, Metric, Report

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What to evaluate, and how.

    Attributes:
        path: the data file.
        data: how to read it.
        observe: how to ask the model.
        bootstrap: how to compute confidence intervals; none with 0 resamples.
        baseline: path of an earlier report to compare the profile with; None for no comparison.
        worst: number of mistakes to report.
    """

    path: str
    data: DataOptions = field(default_factory=DataOptions)
    observe: ObserveOptions = field(default_factory=ObserveOptions)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    baseline: str | None = None
    worst: int = 20


def evaluate(client: Client, name: str, evaluation: Evaluation) -> Report:
    """Evaluate a model.

    Args:
        client: a client of the model.
        name: the model's name, for the report.
        evaluation: what to evaluate.

    Raises:
        InputError: the data or the baseline cannot be used with the model; see `read_dataset`.
        ServerError: see `observe`.
    """
    manifest = client.manifest()
    task = data_task(manifest, evaluation.observe.head)
    before = read_profile(evaluation.baseline, task) if evaluation.baseline else None
    dataset = read_dataset(evaluation.path, task, evaluation.data)
    observations = observe(client, task, dataset, evaluation.observe)
    check_manifest(client, manifest)
    profile = make_profile(task, manifest, observations, before.edges if before and before.edges else None)
    measured = _measured(task, dataset, observations, evaluation) if dataset.labelled else {}
    return Report(
        {
            "name": name,
            "version": observations[0].version,
            "task": task.name,
            "head": evaluation.observe.head,
            "precision": manifest.precision,
            "max_length": manifest.max_length,
            "classes": list(task.labels),
        },
        {
            "path": evaluation.path,
            "texts": len(observations),
            "place": dataset.place,
            "is_split_into_words": dataset.is_split_into_words,
            "truncation": evaluation.observe.truncation,
            "strict": evaluation.observe.strict,
        },
        [*dataset.notes, *_notes(observations, evaluation, manifest.max_length), *_baseline_notes(before, profile)],
        profile,
        drift=compare_profiles(before, profile) if before else (),
        bootstrap=evaluation.bootstrap,
        **measured,
    )


def _measured(
    task: DataTask, dataset: Dataset, observations: list[Observation], evaluation: Evaluation
) -> dict[str, Any]:
    measurement = measure(task, dataset, observations)
    return {
        "main": measurement.main,
        "metrics": _metrics(measurement, evaluation.bootstrap),
        "details": measurement.details(),
        "mistakes": worst_mistakes(task, dataset, observations, measurement, evaluation.worst),
    }


def _metrics(measurement: Measurement, bootstrap: Bootstrap) -> dict[str, Metric]:
    values = measurement.values()
    if not bootstrap.resamples:
        return {name: Metric(value) for name, value in values.items()}
    intervals = confidence_intervals(
        measurement, resamples=bootstrap.resamples, seed=bootstrap.seed, level=bootstrap.level
    )
    return {name: Metric(value, *intervals[name]) for name, value in values.items()}


def _baseline_notes(before: Profile | None, after: Profile) -> Iterator[str]:
    if before and before.lengths.keys() != after.lengths.keys():
        yield "The lengths are not compared: the model of the baseline has other signatures."


def _notes(observations: list[Observation], evaluation: Evaluation, max_length: int) -> Iterator[str]:
    count = sum(observation.too_long for observation in observations)
    if count:
        how = {"window": "split into windows", "truncate": "truncated"}[evaluation.observe.truncation]
        yield f"{count} of {len(observations)} texts have more than {max_length} tokens and were {how}."
