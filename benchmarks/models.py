"""The models of the benchmarks, with random weights: speed does not depend on them; and lengths of real sentences."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests/support"))

import numpy as np

from bertbundle_export.texts import PARITY_TEXTS
from local_server import serving as serving  # for whoever imports this module, which finds it
from ner_data import read_sentences
from tiny_checkpoints import write_checkpoint

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY = 21128
PEER = "TFBert as saved"
MAX_LENGTH = 128
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    # all-MiniLM-L6-v2's
    "small": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
"""BERT configurations by the name of ``--size``."""

# TFBert saved as one does it: the model, and one signature of any shape.
_USUAL = """
import sys
from bertbundle_export.quiet import tf, transformers
model = transformers.TFBertModel.from_pretrained(sys.argv[1])
spec = {name: tf.TensorSpec([None, None], tf.int32, name=name)
        for name in ("input_ids", "attention_mask", "token_type_ids")}
call = tf.function(lambda features: dict(model(features, training=False)), input_signature=[spec])
tf.saved_model.save(model, sys.argv[2], signatures=call.get_concrete_function())
"""

Features = Mapping[str, Any]


def save_usual(source: Path) -> Path:
    """Save a checkpoint as one does it today, below a new base path beside it; return the version directory."""
    saved = source.parent / "usual" / "1"
    subprocess.run([sys.executable, "-c", _USUAL, str(source), str(saved)], check=True)
    return saved


def features(rows: int, length: int) -> dict[str, Any]:
    """Return inputs whose tokens are all real."""
    ids = np.random.default_rng(length).integers(1, VOCABULARY, (rows, length)).astype(np.int32)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


@contextmanager
def checkpoint(size: str) -> Iterator[Path]:
    """Give a Hugging Face directory with a BERT encoder, and beside it a place for what is made of it."""
    with TemporaryDirectory() as scratch:
        config: dict[str, Any] = {"vocab_size": VOCABULARY, "max_position_embeddings": 512, "initializer_range": 0.02}
        config |= SIZES[size]
        path = write_checkpoint(Path(scratch) / "checkpoint", "BertModel", **config)
        words = (path / "vocab.txt").read_text(encoding="utf-8").splitlines()
        words += [f"[unused{number}]" for number in range(VOCABULARY - len(words))]
        (path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        yield path


def sentence_lengths() -> tuple[list[int], str]:
    """Return how many tokens real sentences have, special tokens included, at most `MAX_LENGTH`; and whose they are.

    Those of ResumeNER's test set by characters, where BERTBUNDLE_DATA or ``../shared`` has it; else of our own texts.
    """
    data = Path(os.environ.get("BERTBUNDLE_DATA") or ROOT.parent / "shared") / "data/resume-ner/test.char.bmes"
    if not data.is_file():
        return [min(len(text) + 2, MAX_LENGTH) for text in PARITY_TEXTS], "parity texts"
    sentences = read_sentences(data)
    return [min(len(sentence.chars) + 2, MAX_LENGTH) for sentence in sentences], "ResumeNER's test set"


def signatures(version: Path) -> dict[int, str]:
    """Return a bundle's length signatures by length, the shortest first."""
    found: dict[str, int] = json.loads((version / "bundle.json").read_text(encoding="utf-8"))["signatures"]
    return {length: name for name, length in sorted(found.items(), key=lambda item: item[1])}
