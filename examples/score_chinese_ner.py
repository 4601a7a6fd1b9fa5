"""Score a served model on labelled characters by strict span F1, through the client.

python examples/score_chinese_ner.py --server localhost:8500 --model chinese-ner --test test.bmes
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bertbundle import BertBundleError, Client
from ner_data import Sentence, Span, f1, read_sentences, spans, split_sentence

__all__ = ["main", "served_f1", "served_spans"]


def served_f1(address: str, model: str, sentences: Sequence[Sentence]) -> float:
    """Return the F1 of a served model, in [0, 1].

    Sentences longer than the model's limit are split, after a clause where possible.
    """
    pieces, found = served_spans(address, model, sentences)
    return f1([spans(piece.labels) for piece in pieces], found)


def served_spans(address: str, model: str, sentences: Sequence[Sentence]) -> tuple[list[Sentence], list[set[Span]]]:
    """Return the pieces of the split sentences, and the spans that a served model finds in each."""
    with Client(address, model, timeout=300) as client:
        size = client.manifest().max_length - 2  # [CLS] and [SEP] take two tokens
        pieces = [piece for sentence in sentences for piece in split_sentence(sentence, size)]
        results = client.entities(["".join(piece.chars) for piece in pieces])
    return pieces, [{(entity.label, entity.start, entity.end) for entity in entities} for entities in results]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, or 2 for an invalid file or unreachable server."""
    parser = argparse.ArgumentParser(prog="score_chinese_ner", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--server", default="localhost:8500", metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument("--model", default="chinese-ner", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--test", type=Path, required=True, metavar="FILE", help="sentences, labelled BIO or BMES")
    args = parser.parse_args(arguments)
    try:
        score = served_f1(args.server, args.model, read_sentences(args.test))
    except BertBundleError as error:
        print(f"score_chinese_ner: {error}", file=sys.stderr)
        return 2
    print(f"{args.model} F1: {100 * score:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
