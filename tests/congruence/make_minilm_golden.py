"""Compute the reference embeddings of minilm_golden.json with PyTorch.

Run ``python tests/congruence/make_minilm_golden.py``. Needs torch (``make setup-torch``). PyTorch's BertModel is what
all-MiniLM-L6-v2 was published for; its modules.json states mean pooling over the attention mask and L2 normalization.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

SENTENCES = [
    "A man is playing a guitar.",
    "Someone plays an instrument on stage.",
    "The stock market fell sharply today.",
]
GOLDEN = Path(__file__).parent / "minilm_golden.json"


def reference(directory: Path, sentences: list[str]) -> list[list[float]]:
    """Return the normalized embedding of each sentence, ``[sentences, 384]``."""
    import torch
    from transformers import BertModel, BertTokenizerFast

    tokenizer: Any = BertTokenizerFast.from_pretrained(directory)
    model: Any = BertModel.from_pretrained(directory).eval()
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None].float()
    mean = (hidden * mask).sum(1) / mask.sum(1)
    vectors: list[list[float]] = torch.nn.functional.normalize(mean).tolist()
    return vectors


def main() -> None:
    """Write the golden file."""
    from real_weights import fetch

    vectors = reference(fetch("all-MiniLM-L6-v2"), SENTENCES)
    source = f"transformers {version('transformers')} BertModel, torch {version('torch')}, {Path(__file__).name}"
    rounded = [[round(value, 7) for value in vector] for vector in vectors]
    content = {"source": source, "sentences": SENTENCES, "embeddings": rounded}
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
    main()
