"""The one place that imports TensorFlow for the export: quiet, and with the Keras that transformers 4 is built on."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Both must be set before TensorFlow is imported. Level 3: the C++ side calls a missing GPU driver an error.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Hold back what the C++ side writes to stderr before it obeys any log level; show it if the import fails."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


with _quiet_import(), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside TensorFlow and Keras; not ours to mend
    import tensorflow as tf
    import transformers

    transformers.TFPreTrainedModel  # noqa: B018 - transformers imports lazily: load the TensorFlow side here

transformers.logging.set_verbosity_error()
logging.getLogger("tensorflow").setLevel(logging.ERROR)
logging.getLogger("absl").setLevel(logging.ERROR)

__all__ = ["tf", "transformers"]
