"""Metrics of fill-mask: the share of masks whose expected token is the best one, or among the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bertbundle.contract.types import Fill
from bertbundle.data.examples import Dataset, DataTask
from bertbundle.evaluation.measurement import Indices, Measurement, sum_rows
from bertbundle.evaluation.observations import Observation

__all__ = ["MaskMeasurement", "rank_of"]


class MaskMeasurement(Measurement):
    """Accuracy at 1, and at the number of tokens that the model returns for each mask."""

    main = "accuracy_at_1"

    def __init__(self, task: DataTask, dataset: Dataset, observations: Sequence[Observation]) -> None:
        """Compare the tokens of each mask; see `observe`."""
        del task
        self.size = len(observations)
        fills = [observation.result for observation in observations]
        self._count = max((len(best) for masks in fills for best in masks), default=1)
        ranks = [_ranks(example.gold, masks) for example, masks in zip(dataset.examples, fills, strict=True)]
        self._rows = np.array(
            [[len(row), row.count(0), sum(rank is not None for rank in row)] for row in ranks], np.float64
        )

    def values(self, texts: Indices | None = None) -> dict[str, float]:
        """See `Measurement.values`."""
        masks, first, found = sum_rows(self._rows, texts)
        return {"accuracy_at_1": float(first / masks), f"accuracy_at_{self._count}": float(found / masks)}

    def errors(self) -> npt.NDArray[np.float64]:
        """Return for each text the number of masks whose best token is wrong, twice if it is not among the best."""
        masks, first, found = self._rows.T
        errors: npt.NDArray[np.float64] = 2 * masks - first - found
        return errors


def _ranks(gold: Sequence[str], masks: Sequence[Sequence[Fill]]) -> list[int | None]:
    """Return the rank of each expected token; a mask behind the end of a text that was truncated has no tokens."""
    missing: list[Sequence[Fill]] = [()] * (len(gold) - len(masks))
    return [rank_of(token, best) for token, best in zip(gold, [*masks, *missing], strict=True)]


def rank_of(token: str, fills: Sequence[Fill]) -> int | None:
    """Return the index of a token among the tokens for a mask, best first, or None. Letter case does not count.

    >>> rank_of("Wang", [Fill("wang", 4, "wang lives", 0, 6, 0.75)])
    0
    """
    wanted = token.strip().casefold()
    return next((index for index, fill in enumerate(fills) if fill.token.strip().casefold() == wanted), None)
