"""Train a Chinese named entity model with a custom head, and export it as a bundle.

    python examples/train_chinese_ner.py --train train.bmes --dev dev.bmes --test test.bmes --vocab vocab.txt

The model is a subclass of transformers' `TFBertPreTrainedModel` with a head over the last four hidden layers of BERT:
a dense layer, a BiLSTM, or a BiLSTM and a CRF (`--head`). It is trained from scratch with a small BERT, or from a
pretrained one with `--bert DIR`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import bertbundle_export.tensorflow_import  # noqa: F401 - must be first: it selects Keras 2 and silences start-up messages

# isort: split
import numpy as np
import tf_keras as keras
from rich.console import Console

from bertbundle import BertBundleError
from bertbundle_export import export_bundle
from bertbundle_export.errors import CheckpointError
from bertbundle_export.report import ConsoleReporter
from bertbundle_export.source.tokenization import character_tokenizer, check_tokenizer
from ner_data import DataError, Sentence, SentenceEncoder, bio_labels, read_sentences
from ner_model import HEADS, BertNerModel, pretrained_model, small_model
from ner_training import Evaluator, Predictor, Schedule, Trainer, format_f1

LEARNING_RATE_SCRATCH = 2e-3
LEARNING_RATE_PRETRAINED = 3e-5
LEARNING_RATE_HEAD = 1e-3  # with a pretrained BERT: at 3e-5 a new LSTM and a CRF's transitions hardly change

console = Console(highlight=False, soft_wrap=True)


def run(args: argparse.Namespace) -> None:
    """Read the data, then train, score and export the model."""
    keras.utils.set_random_seed(args.seed)
    train, dev, test = _read(args)
    labels = bio_labels(train)
    tokenizer = character_tokenizer(_vocabulary(args))
    encoder = SentenceEncoder(tokenizer, labels, args.max_length)
    model = _make_model(args, labels, tokenizer.get_vocab_size())
    check_tokenizer(tokenizer, model.config.vocab_size)
    split = sum(len(encoder.pieces(sentence)) > 1 for sentence in train + dev + test)
    console.print(
        f"{len(train)} training, {len(dev)} dev and {len(test)} test sentences, {len(labels)} labels; "
        f"{split} sentences were longer than {args.max_length - 2} characters and are split"
    )
    rows = [encoder.encode(piece) for sentence in train for piece in encoder.pieces(sentence)]
    predictor = Predictor(model)
    evaluator = Evaluator(predictor, encoder, dev)
    trainer = Trainer(model, rows, mask_id=encoder.mask_id, rates=_learning_rates(args), seed=args.seed)
    trainer.run(Schedule(args.epochs, args.seconds), evaluator, console)
    console.print(format_f1("dev", evaluator.scores()))
    if test:
        console.print(format_f1("test", Evaluator(predictor, encoder, test).scores()))
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
    bert = args.learning_rate or (LEARNING_RATE_PRETRAINED if args.bert else LEARNING_RATE_SCRATCH)
    return bert, args.head_learning_rate or (LEARNING_RATE_HEAD if args.bert else bert)


def _read(args: argparse.Namespace) -> tuple[list[Sentence], list[Sentence], list[Sentence]]:
    train = read_sentences(args.train)
    dev = read_sentences(args.dev) if args.dev else []
    test = read_sentences(args.test) if args.test else []
    if not dev:
        order = np.random.default_rng(args.seed).permutation(len(train)).tolist()
        dev_size = max(1, len(train) // 10)
        train, dev = [train[index] for index in order[dev_size:]], [train[index] for index in order[:dev_size]]
    if len(bio_labels(train)) == 1:
        raise DataError(f"{args.train} has no labelled entity: every label is O, or the file has a single sentence.")
    return train, dev, test


def _vocabulary(args: argparse.Namespace) -> Path:
    path: Path = args.vocab or args.bert / "vocab.txt"
    if not path.is_file():
        raise DataError(f"there is no vocabulary at {path}. Give a BERT's vocab.txt with --vocab.")
    return path


def _make_model(args: argparse.Namespace, labels: Sequence[str], vocab_size: int) -> BertNerModel:
    if not args.bert:
        return small_model(labels, vocab_size, args.max_length, args.head)
    model = pretrained_model(args.bert, labels, head=args.head, freeze_bert=args.freeze_bert)
    limit = model.config.max_position_embeddings
    if args.max_length > limit:
        raise CheckpointError(f"--max-length is {args.max_length}, but {args.bert} accepts at most {limit} tokens.")
    return model


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="train_chinese_ner", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--train", type=Path, required=True, metavar="FILE", help="sentences, labelled BIO or BMES")
    parser.add_argument("--dev", type=Path, metavar="FILE", help="selects the best epoch (default: 10 %% of --train)")
    parser.add_argument("--test", type=Path, metavar="FILE", help="scored at the end")
    parser.add_argument("--vocab", type=Path, metavar="FILE", help="vocab.txt (default: that of --bert)")
    parser.add_argument(
        "--bert", type=Path, metavar="DIR", help="pretrained Hugging Face BERT (default: train from scratch)"
    )
    parser.add_argument("--head", choices=HEADS, default="dense", help="crf: BiLSTM and CRF; default: dense")
    parser.add_argument("--freeze-bert", action="store_true", help="train the head only")
    parser.add_argument("--epochs", type=_positive(int), default=60, metavar="N", help="default: 60")
    parser.add_argument(
        "--seconds", type=_positive(float), default=math.inf, metavar="N", help="time limit of the training"
    )
    parser.add_argument("--learning-rate", type=_positive(float), metavar="X", help="default: 2e-3, with --bert 3e-5")
    parser.add_argument(
        "--head-learning-rate", type=_positive(float), metavar="X", help="default: 2e-3, with --bert 1e-3"
    )
    parser.add_argument("--max-length", type=_positive(int), default=128, metavar="N", help="tokens, default: 128")
    parser.add_argument("--output", type=Path, default=Path("models"), metavar="DIR", help="default: models")
    parser.add_argument("--name", default="chinese-ner", help="model name, default: chinese-ner")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="default: 1")
    args = parser.parse_args(arguments)
    if not args.bert and (args.freeze_bert or not args.vocab):
        parser.error("--freeze-bert needs --bert DIR" if args.freeze_bert else "give --vocab FILE, or --bert DIR")
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
    """Run the command and return its exit code: 0, or 2 for invalid input."""
    args = parse_arguments(arguments)
    try:
        run(args)
    except BertBundleError as error:
        print(f"train_chinese_ner: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
