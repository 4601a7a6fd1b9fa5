"""bert-for-tf2's .h5 files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bertbundle_export.source.model import run_source
from keras_files import (
    bert_for_tf2,
    random_weights,
)
from source_models import example_inputs, load

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


def test_bert_for_tf2_without_token_types(write_keras_h5: Write) -> None:
    """The outputs of a BertModelLayer built without token types do not depend on token_type_ids."""
    weights = {name: value for name, value in random_weights(pooler=False).items() if "token_type" not in name}
    path = write_keras_h5(weights, bert_for_tf2("my_bert"))
    model = load(path)
    inputs = example_inputs()
    first = run_source(model, inputs)["last_hidden_state"]
    other = run_source(model, {**inputs, "token_type_ids": 1 - inputs["token_type_ids"]})["last_hidden_state"]
    np.testing.assert_array_equal(first, other)
