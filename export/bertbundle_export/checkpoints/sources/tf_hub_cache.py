"""Find a TF Hub or Kaggle handle in the caches of their own clients, which are what fetches it."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from bertbundle_export.errors import CheckpointError

__all__ = ["cached_handle", "is_handle"]

_URL = re.compile(r"https?://.+")
# A page's address, or the handle that kagglehub takes.
_KAGGLE = re.compile(
    r"(?:https?://(?:www\.)?kaggle\.com/models/)?"
    r"(?P<owner>[\w.-]+)/(?P<model>[\w.-]+)(?:/frameworks)?/(?P<framework>\w+)(?:/variations)?/(?P<variation>[\w.-]+)"
    r"(?:/versions)?/(?P<version>\d+)/?"
)


def is_handle(name: str) -> bool:
    """Return whether a source is named as TF Hub or Kaggle name a model."""
    return bool(_URL.fullmatch(name) or _KAGGLE.fullmatch(name))


def cached_handle(handle: str) -> Path:
    """Return the directory that tensorflow-hub or kagglehub fetched a model to.

    Args:
        handle: such as https://tfhub.dev/tensorflow/bert_zh_L-12_H-768_A-12/4, or of Kaggle
            OWNER/MODEL/FRAMEWORK/VARIATION/VERSION, or its page's address.

    Raises:
        CheckpointError: it is not there: says how to fetch it.
    """
    kaggle = _KAGGLE.fullmatch(handle)
    found = _in_kaggle_cache(kaggle) if kaggle else None
    directory = found or _tf_hub_cache() / hashlib.sha1(handle.encode(), usedforsecurity=False).hexdigest()
    if directory.is_dir():
        return directory
    fetch = f"import tensorflow_hub; tensorflow_hub.resolve('{handle}')"
    if kaggle:
        fetch = f"import kagglehub; kagglehub.model_download('{'/'.join(kaggle.groups())}')"
    raise CheckpointError(
        f"{handle} is neither in {_tf_hub_cache()} (TFHUB_CACHE_DIR) nor in {_kaggle_cache()} (KAGGLEHUB_CACHE). Fetch "
        f'it with python -c "{fetch}", or pass its .tar.gz or directory.'
    )


def _tf_hub_cache() -> Path:
    """Return tensorflow-hub's cache: a directory per handle, named by its SHA-1 (compressed_module_resolver.py)."""
    return Path(os.environ.get("TFHUB_CACHE_DIR") or Path(tempfile.gettempdir()) / "tfhub_modules")


def _kaggle_cache() -> Path:
    return Path(os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub") / "models"


def _in_kaggle_cache(handle: re.Match[str]) -> Path | None:
    """Return kagglehub's directory of a model (its cache.py); pages write the framework's name in their own case."""
    wanted = "/".join(handle.groups()).lower()
    root = _kaggle_cache()
    return next((item for item in root.glob("*/*/*/*/*") if item.relative_to(root).as_posix().lower() == wanted), None)
