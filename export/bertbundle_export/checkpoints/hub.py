"""Find a source on disk, or fetch it from the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from bertbundle.errors import CheckpointError

__all__ = ["resolve_source"]

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SMALL_FILES = ["*.json", "vocab.txt", "merges.txt", "spiece.model", "1_Pooling/*"]
# In the order of preference: a repository often has the same weights in several formats, one is enough.
_WEIGHT_FILES = (
    ["model.safetensors", "model-*.safetensors"],
    ["tf_model.h5", "tf_model-*.h5"],
    ["pytorch_model.bin", "pytorch_model-*.bin"],
)


def resolve_source(source: str | Path, *, revision: str | None = None) -> Path:
    """Return the directory of a source: a local one, or a hub repository's snapshot.

    Fetches only small files and one format of weights; shows a progress bar. Without a network, what the hub's local
    cache holds is used (HF_HOME, HF_HUB_OFFLINE as for any hub client).

    Raises:
        CheckpointError: neither a directory nor a repository that can be had.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    name = str(source)
    if not _HUB_NAME.fullmatch(name) or name.startswith(".") or (path.parent.name and path.parent.is_dir()):
        raise CheckpointError(f"no file or directory {name}. Check the path.")
    return _fetch(name, revision)


def _fetch(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        snapshot = Path(snapshot_download(name, revision=revision, allow_patterns=_SMALL_FILES))
        for patterns in _WEIGHT_FILES:
            snapshot = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
            if any(any(snapshot.glob(pattern)) for pattern in patterns):
                return snapshot
    except Exception as error:  # the hub's client raises its own, requests' and OSError alike
        raise CheckpointError(
            f"no directory {name}, and it cannot be had from the hub: {error}. Check the name, the network, or give a "
            "directory."
        ) from error
    return snapshot
