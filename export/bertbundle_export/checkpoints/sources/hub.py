"""Find a source on disk, in an archive, in the cache of TF Hub, or fetch it from the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bertbundle_export.checkpoints.sources.archive import unpacked
from bertbundle_export.checkpoints.sources.tf_hub_cache import cached_handle, is_handle
from bertbundle_export.errors import CheckpointError

__all__ = ["open_source"]

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SMALL_FILES = ["*.json", "vocab.txt", "merges.txt", "spiece.model", "1_Pooling/*"]
# In the order of preference: a repository often has the same weights in several formats, one is enough.
_WEIGHT_FILES = (
    ["model.safetensors", "model-*.safetensors"],
    ["tf_model.h5", "tf_model-*.h5"],
    ["pytorch_model.bin", "pytorch_model-*.bin"],
)


@contextmanager
def open_source(source: str | Path, *, revision: str | None = None) -> Iterator[Path]:
    """Give the path of a source: a local one, an archive's content, a model in TF Hub's cache, or a hub's snapshot.

    From the Hugging Face hub fetches only small files and one format of weights; shows a progress bar. Without a
    network, what the hub's local cache holds is used (HF_HOME, HF_HUB_OFFLINE as for any hub client). What an archive
    is unpacked to is gone afterwards.

    Raises:
        CheckpointError: there is nothing of the name, or an archive cannot be unpacked.
    """
    with unpacked(_resolve(source, revision)) as path:
        yield path


def _resolve(source: str | Path, revision: str | None) -> Path:
    path = Path(source).expanduser()
    name = str(source)
    if path.exists() or Path(f"{path}.index").exists():  # the latter: the prefix of a TensorFlow checkpoint
        return path
    if is_handle(name):
        return cached_handle(name)
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
