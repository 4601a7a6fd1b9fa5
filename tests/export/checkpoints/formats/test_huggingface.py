"""Hugging Face directories: the pooling stored by sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertbundle_export.errors import CheckpointError
from source_models import load, predict
from tiny_checkpoints import change_config

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("files", "options", "expected"),
    [
        pytest.param({}, {}, ("mean", False), id="plain"),
        pytest.param(
            {
                "modules.json": [
                    {"type": "sentence_transformers.models.Transformer"},
                    {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
                    {"type": "sentence_transformers.models.Normalize"},
                ],
                "1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
            },
            {},
            ("cls", True),
            id="sentence_transformers",
        ),
        pytest.param(
            {"modules.json": [{"type": "sentence_transformers.models.Normalize"}]},
            {"normalize": False},
            ("mean", False),
            id="overridden",
        ),
        pytest.param(
            {"1_Pooling/config.json": {"pooling_mode_cls_token": True}},
            {"pooling": "mean"},
            ("mean", False),
            id="pooling",
        ),
    ],
)
def test_pooling(checkpoint: Write, files: dict[str, Any], options: dict[str, Any], expected: tuple[str, bool]) -> None:
    """Pooling and normalization are those that sentence-transformers stored, unless the user says otherwise."""
    path = checkpoint("BertModel")
    for name, content in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps(content), encoding="utf-8")
    model = load(path, **options)
    assert (model.pooling, model.normalized) == expected


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"1_Pooling/config.json": {"pooling_mode_lasttoken": True}}, id="last"),
        pytest.param({"modules.json": [{"type": "sentence_transformers.models.Dense"}]}, id="dense"),
    ],
)
def test_unknown_pooling(checkpoint: Write, files: dict[str, Any]) -> None:
    """An unsupported pooling is refused: the sentence embedding would be wrong."""
    path = checkpoint("BertModel")
    for name, content in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match="Pass --pooling"):
        load(path)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        pytest.param(
            {"auto_map": {"AutoConfig": "my.Config", "AutoModelForTokenClassification": "my.Tagger"}},
            "auto_map my.Tagger, code of its own, which is not run. Pass --model-class",
            id="auto_map",
        ),
        pytest.param({"auto_map": ["my.Tagger"]}, r"auto_map \['my.Tagger'\], expected an object", id="not-an-object"),
        pytest.param(
            {"quantization_config": {"bits": 8}}, "quantization_config .*which is not supported", id="quantized"
        ),
    ],
)
def test_models_that_are_not_run(checkpoint: Write, settings: dict[str, Any], named: str) -> None:
    """A model that is code of its own, or quantized, is refused by name."""
    path = checkpoint()
    change_config(path, **settings)
    with pytest.raises(CheckpointError, match=named):
        load(path)


def test_class_in_place_of_code(checkpoint: Write) -> None:
    """A class that the user gives replaces the code of the checkpoint; a configuration of its own changes nothing."""
    path = checkpoint()
    expected = predict(path)
    change_config(path, auto_map={"AutoConfig": "my.Config"})
    np.testing.assert_array_equal(predict(path), expected)
    change_config(path, auto_map={"AutoModelForTokenClassification": "my.Tagger"})
    found = predict(path, model_class="transformers:TFBertForTokenClassification", task="token-classification")
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "noted"),
    [
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, True),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}, True),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, False),
        ({"sentence_transformers": {"version": "5.0"}}, False),
        ({}, False),
    ],
)
def test_activation_of_a_cross_encoder(checkpoint: Write, setting: dict[str, Any], *, noted: bool) -> None:
    """A note says that a bundle does not apply the activation that a CrossEncoder has in its config.json."""
    path = checkpoint("BertForSequenceClassification", labels=("LABEL_0",))
    change_config(path, **setting)
    notes = load(path).notes
    assert any("Sigmoid to the logits" in note for note in notes) is noted
