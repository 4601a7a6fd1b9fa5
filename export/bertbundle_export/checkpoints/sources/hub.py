"""Open a source: a path, an archive, a model in TF Hub's cache, or a repository of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bertbundle_export.checkpoints.readers.sentence_transformers import dense_directories, encoder_directory
from bertbundle_export.checkpoints.sources.archive import unpacked
from bertbundle_export.checkpoints.sources.tf_hub_cache import find_cached, is_handle
from bertbundle_export.errors import CheckpointError
from bertbundle_export.unicode import check_unicode

__all__ = ["open_source"]

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_TOKENIZERS = ("vocab.txt", "merges.txt", "spiece.model")
# The folders are those of sentence-transformers' modules; * also matches the slash of a path.
_SMALL_FILES = ["*.json", *_TOKENIZERS, *(f"*/{name}" for name in _TOKENIZERS)]
# In order of preference: a repository often has the same weights in several formats, but only one is downloaded.
_WEIGHT_FILES = (
    ["model.safetensors", "model-*.safetensors"],
    ["tf_model.h5", "tf_model-*.h5"],
    ["pytorch_model.bin", "pytorch_model-*.bin"],
)


@contextmanager
def open_source(source: str | Path, *, revision: str | None = None) -> Iterator[Path]:
    """Yield the local path of a source: a path, an archive's content, a model in TF Hub's cache, or a hub snapshot.

    From the Hugging Face hub only small files and one format of weights are downloaded, with a progress bar. Offline,
    the hub's local cache is used (HF_HOME and HF_HUB_OFFLINE as for any hub client). The content of an archive is
    removed afterwards.

    Raises:
        CheckpointError: the source does not exist or is not valid UTF-8, or the archive cannot be unpacked.
    """
    check_unicode(Path(source).absolute(), "the source")
    with unpacked(_resolve(source, revision)) as path:
        yield path


def _resolve(source: str | Path, revision: str | None) -> Path:
    path = Path(source).expanduser()
    name = str(source)
    if path.exists() or Path(f"{path}.index").exists():  # the prefix of a TensorFlow checkpoint
        return path
    if is_handle(name):
        return find_cached(name)
    if not _HUB_NAME.fullmatch(name) or name.startswith(".") or (path.parent.name and path.parent.is_dir()):
        raise CheckpointError(f"no file or directory {name}. Check the path.")
    return _download(name, revision)


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        snapshot = Path(snapshot_download(name, revision=revision, allow_patterns=_SMALL_FILES))
        folders = [directory.relative_to(snapshot).as_posix() for directory in dense_directories(snapshot)]
        if folders:
            dense = [f"{folder}/{file}" for folder in folders for file in ("model.safetensors", "pytorch_model.bin")]
            snapshot_download(name, revision=revision, allow_patterns=dense)
        encoder = encoder_directory(snapshot).relative_to(snapshot)
        for names in _WEIGHT_FILES:
            patterns = [(encoder / item).as_posix() for item in names]
            snapshot = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
            if any(any(snapshot.glob(pattern)) for pattern in patterns):
                return snapshot
    except CheckpointError:
        raise
    except Exception as error:  # the hub client raises its own exceptions, those of requests, and OSError
        reason = str(error).rstrip(".")
        raise CheckpointError(
            f"there is no directory {name}, and it cannot be downloaded from the hub: {reason}. Check the name and the "
            "network, or give a directory."
        ) from error
    return snapshot
