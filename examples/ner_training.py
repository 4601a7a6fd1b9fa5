"""Train and score a model on labelled characters."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import bertbundle_export.tensorflow_import  # noqa: F401 - must be first: it selects Keras 2 and silences start-up messages

# isort: split
import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bertbundle_export.tasks.viterbi import constraint_tables, viterbi_reference
from ner_crf import crf_loss
from ner_data import IGNORED, Ints, Row, Sentence, SentenceEncoder, batches, f1, mask_characters, pad, spans
from ner_model import BertNerModel, NerOutput

__all__ = ["Evaluator", "Predictor", "Schedule", "Trainer", "format_f1"]

Floats: TypeAlias = npt.NDArray[np.float32]
TOKENS = tf.TensorSpec([None, None], tf.int32)


class Predictor:
    """A model as one graph, for all that evaluate it."""

    def __init__(self, model: BertNerModel) -> None:
        self.model = model

    @tf.function(input_signature=[TOKENS] * 2, autograph=False)  # type: ignore[untyped-decorator]
    def logits(self, ids: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Return the logits of padded rows."""
        return self.model(input_ids=ids, attention_mask=mask).logits


class Evaluator:
    """Scores a model on sentences by strict span F1: decoded by its CRF, or by argmax and by Viterbi with BIO rules."""

    def __init__(self, predictor: Predictor, encoder: SentenceEncoder, sentences: Sequence[Sentence]) -> None:
        self.predictor = predictor
        self.labels = encoder.labels
        self.tables = constraint_tables(self.labels)
        self.gold = [spans(sentence.labels) for sentence in sentences]
        pieces = [encoder.pieces(sentence) for sentence in sentences]
        self.counts = [len(group) for group in pieces]
        self.rows = [encoder.encode(piece) for group in pieces for piece in group]

    def scores(self) -> dict[str, float]:
        """Return the F1 by name of the decoding; the last decoding is the bundle's."""
        logits = self._logits()
        if crf := self.predictor.model.crf:
            transitions, start = crf.transitions().numpy(), np.zeros(len(self.labels), np.float32)
            # The CRF was trained with [CLS] and [SEP] as part of the sequence.
            return {"CRF": self._f1([viterbi_reference(row, start, transitions)[1:-1] for row in logits])}
        inner = [row[1:-1] for row in logits]
        return {
            "argmax": self._f1([row.argmax(axis=-1) for row in inner]),
            "Viterbi": self._f1([viterbi_reference(row, *self.tables) for row in inner]),
        }

    def _logits(self) -> list[Floats]:
        found: dict[int, Floats] = {}
        for batch in batches(self.rows):
            ids = [self.rows[index][0] for index in batch]
            logits = self.predictor.logits(pad(ids, 0), _mask(ids)).numpy()
            found |= {index: logits[row, : len(ids[row])] for row, index in enumerate(batch)}
        return [found[index] for index in range(len(self.rows))]

    def _f1(self, label_ids: Sequence[Ints]) -> float:
        rows = iter(label_ids)
        joined = [[self.labels[index] for _ in range(count) for index in next(rows)] for count in self.counts]
        return f1(self.gold, [spans(labels) for labels in joined])


def _mask(ids: Sequence[Sequence[int]]) -> Ints:
    return pad([[1] * len(row) for row in ids], 0)


def _mean_loss(output: NerOutput, mask: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return the loss per token; a CRF includes [CLS] and [SEP], labelled O, which is label 0."""
    label_ids = tf.maximum(targets, 0)
    if output.transitions is not None:
        losses, counted = crf_loss(output.logits, label_ids, mask, output.transitions), tf.cast(mask, tf.float32)
    else:
        counted = tf.cast(targets != IGNORED, tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(label_ids, output.logits) * counted
    return tf.reduce_sum(losses) / tf.reduce_sum(counted)


def _make_step(model: BertNerModel, optimizers: Sequence[Any]) -> Any:
    groups = zip(optimizers, _split_variables(model), strict=True)
    trained = [(optimizer, variables) for optimizer, variables in groups if variables]
    for optimizer, variables in trained:
        optimizer.build(variables)  # the first step would create its variables, and would be traced twice

    @tf.function(input_signature=[TOKENS] * 3, autograph=False)  # type: ignore[untyped-decorator]
    def step(ids: tf.Tensor, mask: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = _mean_loss(model(input_ids=ids, attention_mask=mask, training=True), mask, targets)
        gradients = tape.gradient(loss, [variables for _, variables in trained])
        for (optimizer, variables), changes in zip(trained, gradients, strict=True):
            optimizer.apply_gradients(zip(changes, variables, strict=True))
        return loss

    return step


def _split_variables(model: BertNerModel) -> tuple[list[Any], list[Any]]:
    """Return the trainable variables of BERT and of the head."""
    bert = list(model.bert.trainable_variables)
    bert_ids = {id(variable) for variable in bert}
    return bert, [variable for variable in model.trainable_variables if id(variable) not in bert_ids]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The end of training: after `epochs`, or when `seconds` have passed since `start`."""

    epochs: int
    seconds: float
    start: float = field(default_factory=time.monotonic)

    def done(self, epochs_done: float) -> float:
        """Return the completed share of the training, by epochs or by time, whichever is larger; 1.0 at the end."""
        return min(1.0, max(epochs_done / self.epochs, (time.monotonic() - self.start) / self.seconds))


class Trainer:
    """Trains a model in place on rows of ids and label ids; the learning rates of BERT and the head decay to 0."""

    def __init__(
        self, model: BertNerModel, rows: Sequence[Row], *, mask_id: int, rates: tuple[float, float], seed: int
    ) -> None:
        self.model = model
        self.rows = rows
        self.mask_id = mask_id
        self.rates = rates
        self.random = np.random.default_rng(seed)
        self.optimizers = [keras.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=1.0) for rate in rates]
        self.step = _make_step(model, self.optimizers)

    def run(self, schedule: Schedule, dev: Evaluator, console: Console) -> None:
        """Train to the end of the schedule, then restore the weights that scored best on the dev sentences."""
        best, weights = -1.0, self.model.get_weights()
        with _progress(console) as progress:
            task = progress.add_task("training", total=1.0)
            for epoch in range(schedule.epochs):
                losses = []
                for loss, done in self._epoch(epoch, schedule):
                    losses.append(loss)
                    progress.update(task, completed=done, description=f"epoch {epoch + 1}")
                if not losses:
                    break
                scores = dev.scores()
                progress.console.print(f"epoch {epoch + 1:3}  loss {np.mean(losses):.4f}  {format_f1('dev', scores)}")
                if (score := [*scores.values()][-1]) > best:
                    best, weights = score, self.model.get_weights()
        self.model.set_weights(weights)

    def _epoch(self, epoch: int, schedule: Schedule) -> Iterator[tuple[float, float]]:
        """Yield the loss of each step and the completed share of the training; stop at 1.0."""
        order = batches(self.rows, self.random)
        for index, batch in enumerate(order):
            done = schedule.done(epoch + index / len(order))
            if done >= 1.0:
                return
            for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
                optimizer.learning_rate = rate * (1.0 - done)
            yield float(self.step(*self._arrays([self.rows[row] for row in batch]))), done

    def _arrays(self, rows: Sequence[Row]) -> tuple[Ints, Ints, Ints]:
        ids = [ids for ids, _ in rows]
        targets = pad([targets for _, targets in rows], IGNORED)
        return mask_characters(pad(ids, 0), targets, self.mask_id, self.random), _mask(ids), targets


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def format_f1(name: str, scores: Mapping[str, float]) -> str:
    """Format the result of `Evaluator.scores`."""
    return f"{name} F1: " + ", ".join(f"{100 * score:.1f} {decoding}" for decoding, score in scores.items())
