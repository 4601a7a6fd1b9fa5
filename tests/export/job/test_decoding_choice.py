"""The choice of the label decoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bertbundle_export import export_bundle
from tiny_checkpoints import LABELS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(LABELS, ("BIO", "viterbi"), id="BIO"),
        pytest.param(("O", "PER", "LOC", "ORG", "X"), ("IO", "argmax"), id="IO"),
        pytest.param(("B-P", "M-P", "E-P", "S-P", "O"), ("BMES", "viterbi"), id="BMES"),
    ],
)
def test_label_scheme_determines_the_decoding(
    checkpoint: Callable[..., Path], tmp_path: Path, labels: tuple[str, ...], expected: tuple[str, str]
) -> None:
    """Labels with B- are decoded by Viterbi, others by argmax."""
    source = checkpoint(labels=labels)
    manifest = export_bundle(source, name="t", output=tmp_path / "m", lengths=(), formats=("onnx",)).manifest
    assert (manifest.label_scheme, manifest.label_decoding) == expected
