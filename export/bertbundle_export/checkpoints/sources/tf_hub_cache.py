"""Find the model of a TF Hub or Kaggle handle in the caches of tensorflow-hub and kagglehub, which download it."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from bertbundle_export.errors import CheckpointError

__all__ = ["find_cached", "is_handle"]

_URL = re.compile(r"https?://.+")
# The address of a page, or the handle that kagglehub takes.
_KAGGLE = re.compile(
    r"(?:https?://(?:www\.)?kaggle\.com/models/)?"
    r"(?P<owner>[\w.-]+)/(?P<model>[\w.-]+)(?:/frameworks)?/(?P<framework>\w+)(?:/variations)?/(?P<variation>[\w.-]+)"
    r"(?:/versions)?/(?P<version>\d+)/?"
)


def is_handle(name: str) -> bool:
    """Return whether a source is a TF Hub or Kaggle handle."""
    return bool(_URL.fullmatch(name) or _KAGGLE.fullmatch(name))


def find_cached(handle: str) -> Path:
    """Return the directory that tensorflow-hub or kagglehub downloaded a model to.

    Args:
        handle: such as https://tfhub.dev/tensorflow/bert_zh_L-12_H-768_A-12/4, or for Kaggle
            OWNER/MODEL/FRAMEWORK/VARIATION/VERSION or the address of the model's page.

    Raises:
        CheckpointError: it is not there. The message says how to download it.
    """
    kaggle = _KAGGLE.fullmatch(handle)
    found = _in_kaggle_cache(kaggle) if kaggle else None
    directory = found or _tf_hub_cache() / hashlib.sha1(handle.encode(), usedforsecurity=False).hexdigest()
    if directory.is_dir():
        return directory
    command = f"import tensorflow_hub; tensorflow_hub.resolve('{handle}')"
    if kaggle:
        command = f"import kagglehub; kagglehub.model_download('{'/'.join(kaggle.groups())}')"
    raise CheckpointError(
        f"{handle} is neither in {_tf_hub_cache()} (TFHUB_CACHE_DIR) nor in {_kaggle_cache()} (KAGGLEHUB_CACHE). "
        f'Download it with python -c "{command}", or pass its .tar.gz or directory.'
    )


def _tf_hub_cache() -> Path:
    """Return tensorflow-hub's cache: a directory per handle, named by its SHA-1 (compressed_module_resolver.py)."""
    return Path(os.environ.get("TFHUB_CACHE_DIR") or Path(tempfile.gettempdir()) / "tfhub_modules")


def _kaggle_cache() -> Path:
    return Path(os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub") / "models"


def _in_kaggle_cache(handle: re.Match[str]) -> Path | None:
    """Return kagglehub's directory of a model (see its cache.py), ignoring case: pages capitalize the framework."""
    wanted = "/".join(handle.groups()).lower()
    root = _kaggle_cache()
    return next((item for item in root.glob("*/*/*/*/*") if item.relative_to(root).as_posix().lower() == wanted), None)
