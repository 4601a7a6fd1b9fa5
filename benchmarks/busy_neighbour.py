"""Multiply matrices on one core until the process is killed; see shared_cores.py."""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np

if __name__ == "__main__":
    matrix = np.random.default_rng(0).random((512, 512), np.float32)
    while True:
        matrix @ matrix
