"""Annotate texts with Apache Beam's RunInference; needs the package apache-beam.

    pipeline | ReadFromText(...) | RunInference(AnnotatorHandler(Annotator(bundle="models/ner")))

Each element of the result is a `PredictionResult` with the text and its result as a dict; ``{"error": ...}`` for a text
without an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from bertbundle import InputError
from bertbundle.batch import Annotator
from bertbundle.batch.rows import reject_reason

__all__ = ["AnnotatorHandler"]


class AnnotatorHandler(ModelHandler[str, PredictionResult, Annotator]):  # type: ignore[misc] # is Any without Beam
    """Hands batches of texts to an `Annotator`, which is shared by the threads of a worker process."""

    def __init__(self, annotator: Annotator, batch_size: int = 2048) -> None:
        """Answer up to `batch_size` texts at a time."""
        super().__init__(min_batch_size=1, max_batch_size=batch_size)
        self._annotator = annotator

    def load_model(self) -> Annotator:
        """Open the client before the first batch."""
        self._annotator.identity()
        return self._annotator

    def run_inference(
        self, batch: Sequence[str], model: Annotator, inference_args: dict[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        """Yield a result for each text."""
        del inference_args
        for text, result in zip(batch, model.answer_rows(batch), strict=True):
            yield PredictionResult(text, {"error": reject_reason(result)} if isinstance(result, InputError) else result)
