"""Warmup requests run before a version is served; if one fails, the version is broken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from bertbundle.wire import _wire_pb2 as wire
from bertbundle_serving.errors import RequestError
from bertbundle_serving.repository.warmup import MAX_RECORDS, warm_up
from bertbundle_serving.runtimes import RuntimeOptions, loader
from tiny_bundles import TinyBundles


def load(directory: Path) -> Any:
    """Load a bundle with onnxruntime."""
    return loader("onnx", RuntimeOptions(threads=1))(directory)


def test_warmup_runs_every_record(bundles: TinyBundles) -> None:
    """Every record is run on the loaded model."""
    path = bundles.write(1, warmup=bundles.record(bundles.warmup_record()) * 3)
    assert warm_up(load(path), path) == 3


def test_warmup_is_optional(bundles: TinyBundles) -> None:
    """A warmup file may be empty."""
    path = bundles.write(1, warmup=b"")
    assert warm_up(load(path), path) == 0


def test_invalid_warmup(bundles: TinyBundles) -> None:
    """The warmup fails with the number of a record that is damaged, of another kind or invalid, or one too many."""
    short = bundles.warmup_record({name: array[:, :4] for name, array in bundles.features().items()})
    good = bundles.record(bundles.warmup_record())
    cases = {
        "truncated record": good[:-1],
        "record 2 is not a PredictionLog": good + bundles.record(b"\xff\xff"),
        "record 1 failed: it has no predict_log": bundles.record(wire.PredictionLog().SerializeToString()),
        "record 1 failed: input_ids has shape [2, 4], expected [batch, 8]": bundles.record(short),
        "exceeds the maximum (1000)": good * (MAX_RECORDS + 1),
    }
    for number, (message, content) in enumerate(cases.items(), start=1):
        path = bundles.write(number, warmup=content)
        with pytest.raises(RequestError, match=re.escape(message)):
            warm_up(load(path), path)
