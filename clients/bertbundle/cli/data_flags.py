"""Command-line flags that say how to read a data file of labelled texts."""

from __future__ import annotations

import argparse

from bertbundle.data.examples import DataOptions
from bertbundle.data.reader import FORMATS
from bertbundle.data.tags import SCHEMES

__all__ = ["add_data_flags", "data_options"]


def add_data_flags(
    parser: argparse.ArgumentParser, *, required: bool = True, text: str = "texts, with labels unless --unlabelled"
) -> None:
    """Add the flags to a parser; `text` is the help of --data."""
    parser.add_argument("--data", required=required, metavar="FILE", help=text)
    parser.add_argument("--format", choices=[*FORMATS], help="format of the data (default: from the file's suffix)")
    parser.add_argument(
        "--text", metavar="COLUMN", help="column of the text or the tokens; in CoNLL a number, -1 is the last column"
    )
    parser.add_argument("--pair", metavar="COLUMN", help="column of the second text of a pair, or of the context")
    parser.add_argument("--label", metavar="COLUMN", help="column of the labels, tags, entities, answers or numbers")
    parser.add_argument(
        "--rename",
        action="append",
        type=_renaming,
        default=[],
        metavar="LABEL=NEW",
        help="replace a label of the data; LABEL= leaves it out of the evaluation. May be repeated",
    )
    parser.add_argument("--scheme", choices=[*SCHEMES], help="label scheme of tags (default: the one they suggest)")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="count only entities that follow the label scheme, as in seqeval's strict mode (default: as conlleval)",
    )
    parser.add_argument(
        "--units",
        choices=["auto", "characters", "words"],
        default="auto",
        help="what tokens are: auto means characters if each token is a single one (default: %(default)s)",
    )


def _renaming(text: str) -> tuple[str, str]:
    label, separator, new = text.rpartition("=")
    if label and separator:
        return label, new
    raise argparse.ArgumentTypeError(f"expected LABEL=NEW, got {text!r}")


def data_options(options: argparse.Namespace, *, need_labels: bool = True, ignore_labels: bool = False) -> DataOptions:
    """Return how to read the data file, from the parsed flags."""
    return DataOptions(
        format=options.format,
        text=options.text,
        pair=options.pair,
        label=options.label,
        rename=dict(options.rename),
        scheme=options.scheme,
        strict=options.strict,
        units=options.units,
        need_labels=need_labels,
        ignore_labels=ignore_labels,
    )
