"""The options of the pipelines' decoders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertbundle import InputError, ServerError
from fakes import LABELS, FakeTransport, Model, connect, make_manifest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"top_k": 3}, r"top_k is 3, but the model returns only the best 2 .*--top-k", id="top_k"),
        pytest.param(
            {"targets": ["wang", "berlin"]}, "targets has 'berlin', but the model returns only", id="not-returned"
        ),
        pytest.param({"targets": ["\u200b"]}, "has no tokens", id="no-token"),
    ],
)
def test_tokens_that_the_model_does_not_return(options: dict[str, Any], message: str) -> None:
    """More tokens, or other tokens, than the model returns raise an error that says how to export more."""
    transport = FakeTransport(Model(make_manifest("fill-mask")))
    with pytest.raises(InputError, match=message):
        connect(transport).pipeline("fill-mask", **options)("[MASK] lives")


def test_logits_that_are_nan() -> None:
    """NaN as logits of a token raises ServerError: there would be no entities."""

    def logits(inputs: Any) -> Any:
        return np.full((*inputs["input_ids"].shape, len(LABELS)), np.nan, np.float32)

    pipeline = connect(FakeTransport(Model(overrides={"logits": logits}))).pipeline("token-classification")
    with pytest.raises(ServerError, match="logits that are NaN or infinite"):
        pipeline("wang")
