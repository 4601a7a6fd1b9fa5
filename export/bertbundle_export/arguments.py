"""The arguments of the `bertbundle-export` command."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from bertbundle._shared.commands import CommandParser
from bertbundle_export.checkpoints import CHECKPOINT_FORMATS
from bertbundle_export.head_flags import add_head_flags, split_labels
from bertbundle_export.options import ADDED_TOKENS, BUNDLE_FORMATS, DECODINGS, WORD_LABELS
from bertbundle_export.precision import PRECISIONS
from bertbundle_export.tasks import POOLINGS, TASKS

__all__ = ["export_parser", "inspect_parser"]

_CRF_TABLES = {
    "transitions": "of label pairs, for example crf.transitions",
    "start": "of the first label",
    "end": "of the last label",
}


def inspect_parser() -> argparse.ArgumentParser:
    """Return the parser of `bertbundle-export inspect`."""
    parser = CommandParser(
        prog="bertbundle-export inspect", description="Describe a checkpoint without loading its weights."
    )
    _add_source(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def export_parser() -> argparse.ArgumentParser:
    """Return the parser of `bertbundle-export`."""
    parser = CommandParser(
        prog="bertbundle-export",
        description="Export a BERT checkpoint to a bundle that TensorFlow Serving and bertbundle-serve can serve. "
        "`bertbundle-export inspect SOURCE` describes a checkpoint.",
    )
    _add_source(parser)
    _add_target(parser)
    _add_bundle_options(parser)
    _add_label_options(parser)
    add_head_flags(parser)
    _add_task_options(parser)
    _add_custom_model(parser)
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the checkpoint and state what its files do not state."""
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        help="a checkpoint (directory, file, archive, prefix), a Hugging Face hub name, or a TF Hub handle",
    )
    add("--format", choices=list(CHECKPOINT_FORMATS), help="format of the checkpoint (default: detected)")
    add("--revision", help="branch, tag or commit of a hub source")
    add("--config", type=Path, metavar="PATH", help="config.json or bert_config.json, for weights without one")
    add("--tokenizer", type=Path, metavar="PATH", help="directory or vocab.txt to take the tokenizer from")
    add("--task", choices=list(TASKS), help="default: the task of the checkpoint's architecture")
    add("--labels", type=split_labels, metavar="L,L,..", help="label of each class index (default: the checkpoint's)")
    add(
        "--allow-pickle",
        action="store_true",
        help="read PyTorch pickles, which may run code: only for trusted sources",
    )
    _add_switch(parser, "--lowercase", "--do-lower-case", text="lower-case texts (default: the checkpoint's setting)")


def _add_target(parser: argparse.ArgumentParser) -> None:
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--name", help="model name: the bundle is written to OUTPUT/NAME/VERSION")
    target.add_argument("--to-hf", type=Path, metavar="DIR", help="write a Hugging Face directory instead of a bundle")
    add = parser.add_argument
    add("--output", type=Path, default=Path("models"), help="directory of all models (default: %(default)s)")
    add("--version", type=int, help="version number (default: the next free one)")


def _add_bundle_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--max-length", type=int, metavar="N", help="length of serving_default (default: 128, or the model's limit)")
    add(
        "--lengths",
        type=_numbers,
        metavar="N,N,..",
        help="lengths of the shorter signatures (default: 8,16,24,...,64,80,...; with bfloat16: 16,32,64,...)",
    )
    add(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="bfloat16: only in the SavedModel; float16: only in the ONNX files, for GPUs; int8: in both formats; "
        "auto: depends on this CPU (default: float32)",
    )
    add("--formats", type=_words, default=BUNDLE_FORMATS, metavar="F,F", help="saved_model,onnx (default: both)")
    add(
        "--added-tokens",
        choices=ADDED_TOKENS,
        default="match",
        help="recognize tokens added to the model's own, such as entity markers, in a text, or tokenize them as text",
    )
    add("--characters", action="store_true", help="tokenize into single characters, as most Chinese taggers do")
    add(
        "--texts",
        type=Path,
        metavar="FILE",
        help="verify the export on these texts, one per line, instead of the built-in ones",
    )


def _add_label_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--label-scheme", metavar="S", help="IO, BIO, BIOES, BMES or BILOU (default: detected from the labels)")
    add(
        "--label-decoding",
        choices=DECODINGS,
        default="auto",
        help="default: crf if the model has one, else viterbi if the labels have a scheme",
    )
    for table, description in _CRF_TABLES.items():
        add(f"--crf-{table}", metavar="ATTR", help=f"model attribute with the CRF's scores {description}")
    add(
        "--word-labels",
        choices=WORD_LABELS,
        default="token",
        help="how a word gets its label (default: token, each token has its own)",
    )


def _add_task_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    _add_switch(parser, "--multi-label", text="classes are independent (default: the checkpoint's setting)")
    add("--pooling", choices=list(POOLINGS), help="sentence embedding (default: the checkpoint's, else mean)")
    add("--last-layers", type=int, default=1, metavar="N", help="concatenate the last N layers before pooling")
    _add_switch(parser, "--normalize", text="scale sentence embeddings to length 1 (default: the checkpoint's setting)")
    add(
        "--top-k",
        type=int,
        metavar="K",
        help="tokens per mask (default: 10), or largest number of spans (default: 128)",
    )
    add("--span-threshold", type=float, default=0.0, metavar="X", help="logit that a span must exceed (default: 0)")


def _add_custom_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model-class", metavar="MODULE:NAME", help="your own class or function that builds the model")
    add("--init-args", type=_settings, default={}, metavar="K=V,..", help="arguments for it, or settings of the config")


def _add_switch(parser: argparse.ArgumentParser, *names: str, text: str) -> None:
    parser.add_argument(*names, action=argparse.BooleanOptionalAction, default=None, help=text)


# ---- values


def _settings(text: str) -> dict[str, Any]:
    """Parse ``name=value,name=value``; a value that is not JSON (true, 3, [2,3]) is a string."""
    pairs = [word.strip(" ,").partition("=") for word in re.split(r",(?=\s*\w+=)", text)]
    if not all(name.isidentifier() and equals for name, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"expected name=value,name=value, got {text!r}")
    return {name: _value(value) for name, _, value in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in _words(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers like 16,32,64, got {text!r}") from None
