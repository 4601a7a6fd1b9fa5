"""Share of padding among the tokens that a client sends for natural texts, by the lengths of a bundle.

The peer is a bundle with a single length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import chinese_sentences, parser, report, shared_file
from vocabulary import write_tokenizer

from bertbundle import Client, Manifest, PredictCall, Prediction, foreign_manifest

LENGTHS = {
    "one": (128,),
    "doubling": (16, 32, 64, 128),
    "default": (*range(8, 65, 8), *range(80, 129, 16)),
    "by_16": tuple(range(16, 129, 16)),
    "by_8": tuple(range(8, 129, 8)),
}


class CountingTransport:
    """A transport that counts tokens and padding."""

    def __init__(self) -> None:
        self.sent = self.used = 0

    def predict(self, call: PredictCall, **_: Any) -> Prediction:
        """See `Transport.predict`."""
        mask = call.inputs["attention_mask"]
        self.sent += mask.size
        self.used += int(mask.sum())
        return Prediction({"sentence_embedding": np.zeros((len(mask), 1), np.float32)}, 1)

    def close(self) -> None:
        """See `Transport.close`."""


def manifest(lengths: tuple[int, ...]) -> Manifest:
    """Return the manifest of a model with one signature per length."""
    from dataclasses import replace

    single = foreign_manifest("feature-extraction", max_length=max(lengths), outputs=("sentence_embedding",))
    return replace(single, signatures={"serving_default": max(lengths), **{f"length_{n}": n for n in lengths}})


def main() -> None:
    """Send the same sentences with each set of lengths."""
    options = parser(__doc__ or "").parse_args()
    tokenizer = write_tokenizer(shared_file("data/bert-base-chinese-vocab.txt"))
    figures = {}
    for name, lengths in LENGTHS.items():
        transport: Any = CountingTransport()
        settings: dict[str, Any] = {"manifest": manifest(lengths), "tokenizer": tokenizer, "concurrency": 1}
        Client("", "m", transport=transport, **settings).embed(chinese_sentences(3000), truncation="truncate")
        figures[f"padding_{name}"] = 1 - transport.used / transport.sent
    report("padding", figures, options)


main()
