"""What a model's input and results look like, without labels: label shares, scores, lengths, unknown tokens.

Two profiles are compared by the Jensen-Shannon divergence with logarithms of base 2 (Lin, "Divergence measures based on
the Shannon entropy", 1991): 0 for equal distributions, 1 for distributions that share nothing. Unlike the population
stability index it is finite if a bin is empty.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.manifest import Manifest
from bertbundle.data.examples import DataTask
from bertbundle.errors import InputError
from bertbundle.evaluation.observations import Observation

__all__ = ["Drift", "Profile", "compare_profiles", "jensen_shannon", "make_profile", "read_profile"]

_BINS = 10
_CHANCE_SAMPLES = 1000
_QUANTILES = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}


@dataclass(frozen=True, slots=True)
class Profile:
    """The distributions of one data set and of a model's results for it.

    Attributes:
        task: the task.
        texts: number of texts.
        labels: how often each label was predicted; ``(none)`` counts texts without any. Empty for tasks without.
        scores: number of results whose score, or number, is in each bin of `edges`; the outer bins are open.
        edges: the boundaries between the bins of `scores`: one less than bins.
        lengths: number of texts by the shortest signature that they fit, by its number of tokens; ``longer`` for texts
            that fit none.
        tokens: smallest, median, 95th percentile and largest number of tokens of a text, and their sum.
        unknown: number of tokens that are not in the vocabulary.
    """

    task: str
    texts: int
    labels: Mapping[str, int]
    scores: Sequence[int]
    edges: Sequence[float]
    lengths: Mapping[str, int]
    tokens: Mapping[str, int]
    unknown: int

    def histograms(self) -> dict[str, dict[str, int]]:
        """Return the distributions by what they are of, each as counts by name; without those that the task lacks."""
        names = [f"{edge:.4g}" for edge in self.edges]
        between = [f"{low} - {high}" for low, high in itertools.pairwise(names)]
        bins = [f"< {names[0]}", *between, f">= {names[-1]}"] if names else []
        scores = dict(zip(bins, self.scores, strict=True)) if self.scores else {}
        found = {"label": dict(self.labels), "score": scores, "signature, tokens": dict(self.lengths)}
        return {name: counts for name, counts in found.items() if counts}

    @property
    def unknown_share(self) -> float:
        """The share of tokens that are not in the vocabulary."""
        return self.unknown / max(self.tokens["sum"], 1)

    @property
    def longer_share(self) -> float:
        """The share of texts that are longer than the model, so that they were truncated or split into windows."""
        return self.lengths.get(_LONGER, 0) / max(sum(self.lengths.values()), 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the shares as a JSON-serializable dict."""
        return {**asdict(self), "unknown_share": self.unknown_share, "longer_share": self.longer_share}


_NONE, _LONGER = "(none)", "longer"


def make_profile(
    task: DataTask, manifest: Manifest, observations: Sequence[Observation], edges: Sequence[float] | None = None
) -> Profile:
    """Return the profile of a model's results.

    Args:
        task: what the model takes; see `data_task`.
        manifest: its manifest.
        observations: its results, from `observe`.
        edges: boundaries of the bins of scores; None for ten bins of equal width, or for regression of equal counts.
    """
    labels, scores = _RESULTS[task.name]([observation.result for observation in observations])
    found = np.asarray(scores, np.float64)
    chosen = _edges(task, found) if edges is None else list(edges)
    counts = np.bincount(np.searchsorted(chosen, found, side="right"), minlength=len(chosen) + 1)
    lengths = np.array([length for observation in observations for length in observation.lengths])
    return Profile(
        task.name,
        len(observations),
        {label: labels[label] for label in (*task.labels, _NONE) if label in labels or label != _NONE}
        if labels
        else {},
        counts.tolist() if len(found) else [],
        chosen if len(found) else [],
        _by_signature(lengths, manifest),
        {name: int(np.quantile(lengths, share, method="higher")) for name, share in _QUANTILES.items()}
        | {"sum": int(lengths.sum())},
        sum(observation.unknown for observation in observations),
    )


def _edges(task: DataTask, values: npt.NDArray[np.float64]) -> list[float]:
    shares = np.arange(1, _BINS) / _BINS
    if task.name == "regression":
        return sorted({float(edge) for edge in np.quantile(values, shares)})
    low = -1.0 if task.name == "feature-extraction" else 0.0
    return [round(low + (1 - low) * float(share), 6) for share in shares]


def _by_signature(lengths: npt.NDArray[Any], manifest: Manifest) -> dict[str, int]:
    limits = sorted(set(manifest.signatures.values()))
    counts = np.bincount(np.searchsorted(limits, lengths, side="left"), minlength=len(limits) + 1)
    return dict(zip([*map(str, limits), _LONGER], counts.tolist(), strict=True))


# ---- labels and scores of the results of each task

_Found = tuple[Counter[str], list[float]]


def _of_entities(results: Sequence[Any]) -> _Found:
    labels = Counter(entity.label for entities in results for entity in entities)
    labels[_NONE] = sum(not entities for entities in results)
    return labels, [entity.score for entities in results for entity in entities]


def _of_classes(results: Sequence[Any]) -> _Found:
    labels = Counter(label for result in results for label in result.labels or (_NONE,))
    return labels, [result.score for result in results]


def _of_answers(results: Sequence[Any]) -> _Found:
    return Counter(), [answer.score for answer in results]


def _of_numbers(results: Sequence[Any]) -> _Found:
    return Counter(), [float(value) for value in results if np.ndim(value) == 0]  # not of single embeddings


def _of_masks(results: Sequence[Any]) -> _Found:
    return Counter(), [fills[0].score for masks in results for fills in masks]


_RESULTS: Mapping[str, Callable[[Sequence[Any]], _Found]] = {
    "token-classification": _of_entities,
    "span-classification": _of_entities,
    "text-classification": _of_classes,
    "regression": _of_numbers,
    "feature-extraction": _of_numbers,
    "question-answering": _of_answers,
    "fill-mask": _of_masks,
}


# ---- comparison


@dataclass(frozen=True, slots=True)
class Drift:
    """How much one distribution of two profiles differs.

    Attributes:
        name: which distribution.
        divergence: the Jensen-Shannon divergence, in [0, 1].
        by_chance: what 95 % of the divergences of two samples of these sizes from one distribution do not exceed, if
            the items of a sample are independent.
    """

    name: str
    divergence: float
    by_chance: float


def read_profile(path: str, task: DataTask) -> Profile:
    """Read the profile of a report that ``bertbundle evaluate --json`` wrote.

    Raises:
        InputError: the file cannot be read, or has no profile of this task.
    """
    try:
        fields = dict(json.loads(Path(path).read_text(encoding="utf-8-sig"))["profile"])
        profile = Profile(**{name: fields[name] for name in Profile.__slots__})
    except OSError as error:
        raise InputError(f"--baseline {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--baseline {path} is not a report of bertbundle evaluate --json: {error!r}.") from error
    if profile.task != task.name:
        raise InputError(f"--baseline {path} is for {profile.task}, the model is for {task.name}. Pass another report.")
    return profile


def compare_profiles(before: Profile, after: Profile) -> list[Drift]:
    """Return the divergence of labels, scores, lengths and unknown tokens of two profiles with the same `edges`.

    That of lengths is NaN if the models have other signatures: other bins say nothing about the texts.
    """
    distributions: list[tuple[str, Mapping[str, int], Mapping[str, int]]] = [
        ("labels", before.labels, after.labels),
        ("scores", _numbered(before.scores), _numbered(after.scores)),
        ("lengths", before.lengths, after.lengths),
        ("unknown tokens", _unknown(before), _unknown(after)),
    ]
    drifts = [_drift(name, *_aligned(one, other)) for name, one, other in distributions if one and other]
    if before.lengths.keys() == after.lengths.keys():
        return drifts
    return [Drift(each.name, math.nan, math.nan) if each.name == "lengths" else each for each in drifts]


def _numbered(counts: Iterable[int]) -> dict[str, int]:
    return {str(index): count for index, count in enumerate(counts)}


def _unknown(profile: Profile) -> dict[str, int]:
    return {"unknown": profile.unknown, "known": profile.tokens["sum"] - profile.unknown}


def _aligned(one: Mapping[str, int], other: Mapping[str, int]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    names = list(dict.fromkeys([*one, *other]))
    return np.array([one.get(name, 0) for name in names]), np.array([other.get(name, 0) for name in names])


def _drift(name: str, before: npt.NDArray[Any], after: npt.NDArray[Any]) -> Drift:
    total = before + after
    if not before.sum() or not after.sum():
        return Drift(name, float("nan"), float("nan"))
    random = np.random.default_rng(0)
    samples = [
        random.multinomial(int(counts.sum()), total / total.sum(), _CHANCE_SAMPLES) for counts in (before, after)
    ]
    by_chance = np.quantile(jensen_shannon(*samples), 0.95)
    return Drift(name, float(jensen_shannon(before, after)), float(by_chance))


def jensen_shannon(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the Jensen-Shannon divergence of counts in the last axis, with logarithms of base 2, in [0, 1]."""
    shares = [counts / counts.sum(axis=-1, keepdims=True) for counts in (one, other)]
    middle = (shares[0] + shares[1]) / 2
    parts = [
        np.where(share > 0, share * np.log2(np.where(share > 0, share, 1) / np.where(middle > 0, middle, 1)), 0)
        for share in shares
    ]
    divergence: npt.NDArray[np.float64] = np.clip((parts[0] + parts[1]).sum(axis=-1) / 2, 0, 1)
    return divergence
