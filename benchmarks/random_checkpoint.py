"""Write a BERT encoder with random weights as a Hugging Face directory: ``random_checkpoint.py SIZE DIRECTORY``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from models import SIZES, VOCABULARY
from tiny_checkpoints import write_checkpoint


def main() -> None:
    """Write the checkpoint; the directory appears once it is complete."""
    size, target = sys.argv[1], Path(sys.argv[2])
    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 512,
        "initializer_range": 0.02,
        **SIZES[size],
    }
    path = write_checkpoint(target.with_suffix(".part"), "BertModel", **shape)
    words = (path / "vocab.txt").read_text(encoding="utf-8").splitlines()
    words += [f"[unused{number}]" for number in range(VOCABULARY - len(words))]
    (path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    path.rename(target)


if __name__ == "__main__":
    main()
