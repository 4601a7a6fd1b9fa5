"""Metrics of question answering: exact match and F1, as in SQuAD's evaluation scripts.

Source: evaluate-v1.1.py and evaluate-v2.0.py of https://rajpurkar.github.io/SQuAD-explorer. Values are shares here, and
percentages there.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bertbundle.data.examples import Dataset, DataTask
from bertbundle.evaluation.measurement import Indices, Measurement
from bertbundle.evaluation.observations import Observation

__all__ = ["AnswerMeasurement", "exact_match", "normalize_answer", "token_f1"]

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Return an answer in lower case, without punctuation and articles, with single spaces.

    >>> normalize_answer("The  Berlin Wall.")
    'berlin wall'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(gold: str, found: str) -> float:
    """Return 1.0 if both answers are equal after `normalize_answer`, else 0.0."""
    return float(normalize_answer(gold) == normalize_answer(found))


def token_f1(gold: str, found: str, *, version_2: bool = False) -> float:
    """Return the F1 of the words of two answers after `normalize_answer`.

    Args:
        gold: the acceptable answer.
        found: the answer of the model.
        version_2: whether two answers without words are equal, as in version 2.0; in 1.1 their F1 is 0.
    """
    words = normalize_answer(gold).split(), normalize_answer(found).split()
    if version_2 and not all(words):
        return float(words[0] == words[1])
    common = sum((Counter(words[0]) & Counter(words[1])).values())
    return 2 * common / sum(map(len, words)) if common else 0.0


class AnswerMeasurement(Measurement):
    """Exact match and F1 with the best of the acceptable answers; for SQuAD 2.0 also of each kind of question."""

    main = "f1"

    def __init__(self, task: DataTask, dataset: Dataset, observations: Sequence[Observation]) -> None:
        """Compare the answer to each question; see `observe`."""
        del task
        self.size = len(observations)
        self._version_2 = dataset.version_2
        golds = [_acceptable(example.gold, version_2=self._version_2) for example in dataset.examples]
        found = [observation.result.text for observation in observations]
        self._has_answer = np.array([bool(example.gold) for example in dataset.examples])
        self._exact = np.array(
            [max(exact_match(a, text) for a in gold) for gold, text in zip(golds, found, strict=True)]
        )
        self._f1 = np.array(
            [
                max(token_f1(a, text, version_2=self._version_2) for a in gold)
                for gold, text in zip(golds, found, strict=True)
            ]
        )

    def values(self, texts: Indices | None = None) -> dict[str, float]:
        """See `Measurement.values`."""
        chosen = np.arange(self.size) if texts is None else texts
        values = {"exact_match": float(self._exact[chosen].mean()), "f1": float(self._f1[chosen].mean())}
        if not self._version_2:
            return values
        for name, wanted in (("has_answer", True), ("no_answer", False)):
            part = chosen[self._has_answer[chosen] == wanted]
            values[f"exact_match_{name}"] = float(self._exact[part].mean()) if len(part) else float("nan")
            values[f"f1_{name}"] = float(self._f1[part].mean()) if len(part) else float("nan")
        return values

    def errors(self) -> npt.NDArray[np.float64]:
        """Return 1 minus the F1 of each question."""
        return 1 - self._f1


def _acceptable(answers: Sequence[str], *, version_2: bool) -> Sequence[str]:
    """Return the answers that version 2.0 compares with: those with words, or else the empty one."""
    if not version_2:
        return answers
    return [answer for answer in answers if normalize_answer(answer)] or [""]
