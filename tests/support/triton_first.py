"""Import triton, which PyPI's torch for Linux needs, before TensorFlow: it crashes the process if it comes second."""

from __future__ import annotations

import importlib
from importlib.util import find_spec

if find_spec("triton") is not None:
    importlib.import_module("triton")
