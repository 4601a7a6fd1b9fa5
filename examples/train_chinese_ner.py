"""Train a Chinese named entity model with a head of its own, and export it as a bundle.

    python examples/train_chinese_ner.py --train train.bmes --dev dev.bmes --test test.bmes --vocab vocab.txt

The model is a subclass of transformers' `TFBertPreTrainedModel` with a head over the last four hidden layers of BERT:
a dense layer, or BiLSTM, or BiLSTM and CRF (`--head`). It starts from scratch with a small BERT, or from a pretrained
one with `--bert DIR`.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import bertbundle_export.quiet  # noqa: F401 - first: TensorFlow on Keras 2, without its start-up chatter

# isort: split
import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bertbundle import BertBundleError, CheckpointError
from bertbundle_export import export_bundle
from bertbundle_export.report import ConsoleReporter
from bertbundle_export.tokenization import character_tokenizer, check_tokenizer
from bertbundle_export.viterbi import constraint_tables, viterbi_reference
from ner_crf import crf_loss
from ner_data import (
    IGNORED,
    DataError,
    Encoder,
    Ints,
    Row,
    Sentence,
    batches,
    bio_labels,
    f1,
    mask_characters,
    pad,
    read_sentences,
    spans,
)
from ner_model import HEADS, BertNerModel, NerOutput, pretrained_model, small_model

Floats: TypeAlias = npt.NDArray[np.float32]

LEARNING_RATE_SCRATCH = 2e-3
LEARNING_RATE_PRETRAINED = 3e-5
LEARNING_RATE_HEAD = 1e-3  # over a pretrained BERT: at its 3e-5 a new LSTM and the transitions of a CRF hardly move

console = Console(highlight=False, soft_wrap=True)


class Evaluator:
    """Score a model on sentences by strict span F1, decoded by argmax and by Viterbi.

    Viterbi is under the rules of BIO, or with the transitions of the model's CRF.
    """

    def __init__(self, model: BertNerModel, encoder: Encoder, sentences: Sequence[Sentence]) -> None:
        self.model = model
        self.labels = encoder.labels
        self.tables = constraint_tables(self.labels)
        self.gold = [spans(sentence.labels) for sentence in sentences]
        pieces = [encoder.pieces(sentence) for sentence in sentences]
        self.counts = [len(group) for group in pieces]
        self.rows = [encoder.encode(piece) for group in pieces for piece in group]
        self.predict = _make_predict(model)

    def scores(self) -> tuple[float, float]:
        """Return the F1 by argmax and the F1 by Viterbi."""
        logits = self._logits()
        argmax = [row[1:-1].argmax(axis=-1) for row in logits]
        return self._f1(argmax), self._f1([self._viterbi(row) for row in logits])

    def _viterbi(self, row: Floats) -> Ints:
        if self.model.transitions is None:
            return viterbi_reference(row[1:-1], *self.tables)
        # The CRF has learned [CLS] and [SEP] as part of the sequence.
        return viterbi_reference(row, np.zeros(len(self.labels), np.float32), self.model.transitions.numpy())[1:-1]

    def _logits(self) -> list[Floats]:
        found: dict[int, Floats] = {}
        for batch in batches(self.rows):
            ids = [self.rows[index][0] for index in batch]
            logits = self.predict(pad(ids, 0), _mask(ids)).numpy()
            found |= {index: logits[place, : len(ids[place])] for place, index in enumerate(batch)}
        return [found[index] for index in range(len(self.rows))]

    def _f1(self, label_ids: Sequence[Ints]) -> float:
        rows = iter(label_ids)
        joined = [[self.labels[index] for _ in range(count) for index in next(rows)] for count in self.counts]
        return f1(self.gold, [spans(labels) for labels in joined])


def _mask(ids: Sequence[Sequence[int]]) -> Ints:
    return pad([[1] * len(row) for row in ids], 0)


def _make_predict(model: BertNerModel) -> Any:
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)] * 2)  # type: ignore[untyped-decorator]
    def predict(ids: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return model(input_ids=ids, attention_mask=mask).logits

    return predict


def _mean_loss(output: NerOutput, mask: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return the loss per token; to a CRF [CLS] and [SEP] are tokens, labelled O, which is label 0."""
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

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)] * 3)  # type: ignore[untyped-decorator]
    def step(ids: tf.Tensor, mask: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = _mean_loss(model(input_ids=ids, attention_mask=mask, training=True), mask, targets)
        gradients = tape.gradient(loss, [variables for _, variables in trained])
        for (optimizer, variables), changes in zip(trained, gradients, strict=True):
            optimizer.apply_gradients(zip(changes, variables, strict=True))
        return loss

    return step


def _split_variables(model: BertNerModel) -> tuple[list[Any], list[Any]]:
    """Return what is trained of BERT, and of the head."""
    bert = list(model.bert.trainable_variables)
    known = {id(variable) for variable in bert}
    return bert, [variable for variable in model.trainable_variables if id(variable) not in known]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When training ends: after `epochs`, or earlier when `seconds` have passed since `start`."""

    epochs: int
    seconds: float
    start: float = field(default_factory=time.monotonic)

    def done(self, epochs_done: float) -> float:
        """Return the share of the training that is done, by epochs or by time, whichever is more; 1.0 at the end."""
        return min(1.0, max(epochs_done / self.epochs, (time.monotonic() - self.start) / self.seconds))


class Trainer:
    """Train a model in place on rows of ids and label ids; the learning rates, BERT's and the head's, fall to 0."""

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

    def run(self, schedule: Schedule, dev: Evaluator) -> None:
        """Train to the end of the schedule; the model ends with the weights that were best on the dev sentences."""
        best, weights = -1.0, self.model.get_weights()
        with _progress() as progress:
            task = progress.add_task("training", total=1.0)
            for epoch in range(schedule.epochs):
                losses = []
                for loss, done in self._epoch(epoch, schedule):
                    losses.append(loss)
                    progress.update(task, completed=done, description=f"epoch {epoch + 1}")
                if not losses:
                    break
                argmax, viterbi = dev.scores()
                progress.console.print(
                    f"epoch {epoch + 1:3}  loss {np.mean(losses):.4f}  {_f1s('dev', argmax, viterbi)}"
                )
                if viterbi > best:
                    best, weights = viterbi, self.model.get_weights()
        self.model.set_weights(weights)

    def _epoch(self, epoch: int, schedule: Schedule) -> Iterator[tuple[float, float]]:
        """Yield each step's loss and the share of the training that is done; stop when it is all."""
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


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _f1s(name: str, argmax: float, viterbi: float) -> str:
    return f"{name} F1: {100 * argmax:.1f} argmax, {100 * viterbi:.1f} Viterbi"


def run(args: argparse.Namespace) -> None:
    """Read, train, score and export as the command line says."""
    keras.utils.set_random_seed(args.seed)
    train, dev, test = _read(args)
    labels = bio_labels(train)
    tokenizer = character_tokenizer(_vocabulary(args))
    encoder = Encoder(tokenizer, labels, args.max_length)
    model = _make_model(args, labels, tokenizer.get_vocab_size())
    check_tokenizer(tokenizer, model.config.vocab_size)
    split = sum(len(encoder.pieces(sentence)) > 1 for sentence in train + dev + test)
    console.print(
        f"{len(train)} training, {len(dev)} dev and {len(test)} test sentences, {len(labels)} labels; "
        f"{split} sentences were longer than {args.max_length - 2} characters and are split"
    )
    rows = [encoder.encode(piece) for sentence in train for piece in encoder.pieces(sentence)]
    evaluator = Evaluator(model, encoder, dev)
    trainer = Trainer(model, rows, mask_id=encoder.mask_id, rates=_learning_rates(args), seed=args.seed)
    trainer.run(Schedule(args.epochs, args.seconds), evaluator)
    console.print(_f1s("dev", *evaluator.scores()))
    if test:
        console.print(_f1s("test", *Evaluator(model, encoder, test).scores()))
    exported = export_bundle(
        model,
        name=args.name,
        output=args.output,
        task="token-classification",
        labels=labels,
        tokenizer=tokenizer,
        max_length=args.max_length,
        reporter=ConsoleReporter(console),
    )
    console.print(f"exported to {exported.path}")


def _learning_rates(args: argparse.Namespace) -> tuple[float, float]:
    """Return the learning rates of BERT and of the head."""
    if args.bert:
        return args.learning_rate or LEARNING_RATE_PRETRAINED, LEARNING_RATE_HEAD
    return (args.learning_rate or LEARNING_RATE_SCRATCH,) * 2


def _read(args: argparse.Namespace) -> tuple[list[Sentence], list[Sentence], list[Sentence]]:
    train = read_sentences(args.train)
    dev = read_sentences(args.dev) if args.dev else []
    test = read_sentences(args.test) if args.test else []
    if not dev:
        order = np.random.default_rng(args.seed).permutation(len(train)).tolist()
        held_out = max(1, len(train) // 10)
        train, dev = [train[index] for index in order[held_out:]], [train[index] for index in order[:held_out]]
    if len(bio_labels(train)) == 1:
        raise DataError(f"{args.train} labels no entity: every label is O, or the file has a single sentence.")
    return train, dev, test


def _vocabulary(args: argparse.Namespace) -> Path:
    path: Path = args.vocab or args.bert / "vocab.txt"
    if not path.is_file():
        raise DataError(f"there is no vocabulary at {path}. Name a BERT's vocab.txt with --vocab.")
    return path


def _make_model(args: argparse.Namespace, labels: Sequence[str], vocab_size: int) -> BertNerModel:
    if not args.bert:
        return small_model(labels, vocab_size, args.max_length, args.head)
    model = pretrained_model(args.bert, labels, head=args.head, freeze_bert=args.freeze_bert)
    longest = model.config.max_position_embeddings
    if args.max_length > longest:
        raise CheckpointError(f"--max-length is {args.max_length}, but {args.bert} takes at most {longest} tokens.")
    return model


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="train_chinese_ner", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--train", type=Path, required=True, metavar="FILE", help="sentences, labelled BIO or BMES")
    parser.add_argument("--dev", type=Path, metavar="FILE", help="picks the best epoch (default: 10 %% of --train)")
    parser.add_argument("--test", type=Path, metavar="FILE", help="scored at the end")
    parser.add_argument("--vocab", type=Path, metavar="FILE", help="vocab.txt (default: the one inside --bert)")
    parser.add_argument("--bert", type=Path, metavar="DIR", help="start from this Hugging Face BERT, not from scratch")
    parser.add_argument("--head", choices=HEADS, default="dense", help="crf: BiLSTM and CRF; default: dense")
    parser.add_argument("--freeze-bert", action="store_true", help="train the head only")
    parser.add_argument("--epochs", type=_positive(int), default=60, metavar="N", help="default: 60")
    parser.add_argument("--seconds", type=_positive(float), default=math.inf, metavar="N", help="train no longer")
    parser.add_argument("--learning-rate", type=_positive(float), metavar="X", help="default: 2e-3, with --bert 3e-5")
    parser.add_argument("--max-length", type=_positive(int), default=128, metavar="N", help="tokens, default: 128")
    parser.add_argument("--output", type=Path, default=Path("models"), metavar="DIR", help="default: models")
    parser.add_argument("--name", default="chinese-ner", help="of the model, default: chinese-ner")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default: 1")
    args = parser.parse_args(arguments)
    if not args.bert and (args.freeze_bert or not args.vocab):
        parser.error("--freeze-bert needs --bert DIR" if args.freeze_bert else "name --vocab FILE, or --bert DIR")
    if args.max_length < 3:
        parser.error(f"--max-length must be at least 3, [CLS] and [SEP] take two, got {args.max_length}")
    return args


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        if (value := kind(text)) > 0:
            return value
        raise ValueError  # argparse says which option and which value

    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for input that cannot be used."""
    args = parse_arguments(arguments)
    try:
        run(args)
    except BertBundleError as error:
        print(f"train_chinese_ner: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
