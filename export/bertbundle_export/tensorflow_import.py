"""Import TensorFlow, without its start-up messages and with the Keras 2 that transformers 4 needs.

Every module of the export imports it from here.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from bertbundle._shared.large_imports import without_collection

# Both must be set before TensorFlow is imported. Level 3, because the C++ code logs a missing GPU driver as an error.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def _suppressed_stderr() -> Iterator[None]:
    """Suppress what the C++ code writes to stderr before it respects a log level; show it if the import fails."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as buffer:
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        except BaseException:
            buffer.seek(0)
            os.write(stderr, buffer.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _prepare_triton() -> None:
    """Keep transformers from importing triton after TensorFlow, which crashes the process.

    PyPI's torch for Linux needs triton, and transformers imports torch if it is installed. If TensorFlow is already
    imported, transformers does without torch.
    """
    if "triton" in sys.modules or find_spec("triton") is None:
        return
    if "tensorflow" in sys.modules:
        os.environ.setdefault("USE_TORCH", "0")
    elif os.environ.get("USE_TORCH") != "0":
        importlib.import_module("triton")


_prepare_triton()
with _suppressed_stderr(), without_collection(), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside TensorFlow and Keras
    import tensorflow as tf
    import transformers

    transformers.TFPreTrainedModel  # noqa: B018 - transformers imports lazily: load its TensorFlow classes here

transformers.logging.set_verbosity_error()
logging.getLogger("tensorflow").setLevel(logging.ERROR)
logging.getLogger("absl").setLevel(logging.ERROR)

__all__ = ["tf", "transformers"]
