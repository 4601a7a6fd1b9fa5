"""The measured models: a BERT with random weights, saved by transformers and as bundles; and real sentence lengths."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bertbundle import PredictCall
from bertbundle.transports.grpc import GrpcTransport
from harness import HERE
from ner_data import read_sentences

VOCABULARY = 21128
PEER = "TFBert as saved"
MAX_LENGTH = 128
LENGTHS = (16, 24, 32, 48, 80, MAX_LENGTH)
SECONDS = 300.0
# Speed does not depend on the weights.
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    # all-MiniLM-L6-v2's
    "small": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
"""BERT configurations by the name of ``--size``."""

BUNDLES: dict[str, tuple[str, ...]] = {
    "bfloat16": ("--precision=bfloat16",),
    "float32": ("--formats=saved_model",),
    "int8": ("--precision=int8",),
    "float16": ("--precision=float16",),
}
"""Export flags of the bundles, by name. The first one has both formats."""

SERVED = (
    (PEER, "usual", "saved_model"),
    ("saved_model float32", "float32", "saved_model"),
    ("saved_model bfloat16", "bfloat16", "saved_model"),
    ("saved_model int8", "int8", "saved_model"),
    ("auto", "bfloat16", "auto"),
    ("auto int8", "int8", "auto"),
)
"""Servers: name, model, ``--runtime``."""

Features = Mapping[str, Any]
Request = Callable[[int, int], object]
"""Sends a request with a number of rows and tokens."""


def data_file(name: str) -> Path:
    """Return the path of a file in the data directory (see CONTRIBUTING.md); the file may not exist."""
    return Path(os.environ.get("BERTBUNDLE_DATA") or HERE.parents[1] / "shared") / name


@dataclass(frozen=True, slots=True)
class Models:
    """The models in a directory, each created on first use.

    Attributes:
        size: a key of `SIZES`.
        directory: the parent of the models' directories.
    """

    size: str
    directory: Path

    def path(self, name: str) -> Path:
        """Return the path of the checkpoint, or of version 1 of a model."""
        return self.directory / name if name == "checkpoint" else self.directory / name / "1"

    def command(self, name: str) -> list[str]:
        """Return the command that creates a model."""
        checkpoint, target = str(self.path("checkpoint")), str(self.path(name))
        if name == "checkpoint":
            return [sys.executable, str(HERE / "random_checkpoint.py"), self.size, target]
        if name == "usual":
            return [sys.executable, str(HERE / "usual_route.py"), checkpoint, target]
        lengths = ",".join(map(str, LENGTHS))
        options = [f"--name={name}", f"--output={self.directory}", "--version=1", f"--lengths={lengths}"]
        return [sys.executable, "-m", "bertbundle_export", checkpoint, *options, "--pooling=mean", *BUNDLES[name]]

    def get(self, name: str) -> Path:
        """Return the path of a model, creating it if it does not exist."""
        if not self.path(name).is_dir():
            if name != "checkpoint":
                self.get("checkpoint")
            subprocess.run(self.command(name), check=True, stdout=subprocess.DEVNULL)
        return self.path(name)


@contextmanager
def open_models(options: argparse.Namespace) -> Iterator[Models]:
    """Yield the models in ``--work``, or in a temporary directory."""
    if options.work:
        yield Models(options.size, options.work / options.size)
        return
    with TemporaryDirectory() as scratch:
        yield Models(options.size, Path(scratch))


def features(rows: int, length: int) -> dict[str, Any]:
    """Return random inputs without padding."""
    ids = np.random.default_rng(length).integers(1, VOCABULARY, (rows, length)).astype(np.int32)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def sentence_lengths() -> tuple[list[int], str]:
    """Return the lengths of real sentences in tokens, at most `MAX_LENGTH`, and the name of the data set.

    The lengths are those of ResumeNER's test set, tokenized by character, plus special tokens. If the data directory
    does not contain it, they are those of the exporter's parity texts.
    """
    data = data_file("data/resume-ner/test.char.bmes")
    if not data.is_file():
        from bertbundle_export.job.texts import PARITY_TEXTS

        return [min(len(text) + 2, MAX_LENGTH) for text in PARITY_TEXTS], "parity texts"
    sentences = read_sentences(data)
    return [min(len(sentence.chars) + 2, MAX_LENGTH) for sentence in sentences], "ResumeNER"


def signatures(version: Path) -> dict[int, str]:
    """Return a model's signatures by length, shortest first; TFBert's only signature is used with length 128."""
    manifest = version / "bundle.json"
    if not manifest.is_file():
        return {MAX_LENGTH: "serving_default"}
    found: dict[str, int] = json.loads(manifest.read_text(encoding="utf-8"))["signatures"]
    return {length: name for name, length in sorted(found.items(), key=lambda item: item[1])}


def output(version: Path) -> str:
    """Return the name of the output to request: one vector per row."""
    return "sentence_embedding" if (version / "bundle.json").is_file() else "pooler_output"


def requester(address: str, name: str, version: Path) -> Request:
    """Return a function that requests a number of rows and tokens, padded to the shortest signature that fits."""
    transport, names, outputs = GrpcTransport(address), signatures(version), (output(version),)

    def request(rows: int, tokens: int) -> object:
        length = min(length for length in names if length >= tokens)
        return transport.predict(
            PredictCall(name, names[length], features(rows, length), outputs=outputs), timeout=SECONDS
        )

    return request
