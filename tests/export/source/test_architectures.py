"""The checks of the settings in config.json."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.architectures import check_config, complete_config, find_architecture


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("pad_token_id", "0", "a whole number, at least 0, or null"),
        ("pad_token_id", -1, "a whole number, at least 0, or null"),
        ("pad_token_id", 10**6, "one below vocab_size"),
        ("model_type", ["bert"], "one of bert"),
        ("hidden_size", "32", "a whole number above 0"),
        ("num_hidden_layers", True, "a whole number above 0"),
        ("intermediate_size", "64", "a whole number above 0"),
        ("type_vocab_size", "2", "a whole number above 0"),
        ("type_vocab_size", 0, "a whole number above 0"),
        ("layer_norm_eps", "1e-12", "a number above 0"),
        ("hidden_act", None, "the name of an activation"),
        ("hidden_dropout_prob", "0.1", "a number from 0 to 1"),
    ],
)
def test_settings_have_types(key: str, value: Any, expected: str) -> None:
    """A setting with a wrong type or value raises one error with its name, what was found and what was expected."""
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
    config: dict[str, Any] = {"model_type": "bert", **dict.fromkeys(sizes, 8)}
    check_config(config | {"hidden_act": "gelu", "pad_token_id": None, "layer_norm_eps": 1e-12}, "config.json")
    with pytest.raises(CheckpointError, match=rf"has {key} .*, expected {expected}"):
        check_config(config | {key: value}, "config.json")


SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
BERT: dict[str, Any] = dict.fromkeys(SIZES, 8)


@pytest.mark.parametrize(
    ("config", "completed"),
    [
        pytest.param(BERT, {"model_type": "bert"}, id="google"),
        pytest.param({**BERT, "architectures": ["BertForMaskedLM"]}, {"model_type": "bert"}, id="class"),
        pytest.param({**BERT, "architectures": ["TFElectraModel"]}, {"model_type": "electra"}, id="other_class"),
        pytest.param({**BERT, "embedding_size": 4}, {}, id="albert_or_electra"),
        pytest.param({**BERT, "architectures": ["NezhaModel"]}, {}, id="unknown_class"),
        pytest.param({"vocab_size": 8}, {}, id="incomplete"),
        pytest.param({"model_type": "roberta"}, {}, id="stated"),
        pytest.param(
            {"model_type": "bert", "label2id": {"O": 0, "B-PER": "1"}},
            {"id2label": {0: "O", "1": "B-PER"}},
            id="labels",
        ),
        pytest.param({"model_type": "bert", "label2id": {"O": 0}, "id2label": {0: "o"}}, {}, id="both_labels"),
        pytest.param(
            {"model_type": "bert", "label2id": {"O": 0}, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
            {"id2label": {0: "O"}},
            id="placeholders",
        ),
        pytest.param({"model_type": "bert", "label2id": {}, "id2label": {0: "LABEL_0"}}, {}, id="only_placeholders"),
        pytest.param({"model_type": "bert", "hidden_act": "gelu_python"}, {"hidden_act": "gelu"}, id="gelu_python"),
        pytest.param(
            {"model_type": "bert", "hidden_act": "gelu_pytorch_tanh"}, {"hidden_act": "gelu_new"}, id="gelu_tanh"
        ),
        pytest.param({"model_type": "bert", "hidden_act": ["gelu"]}, {}, id="no_name"),
    ],
)
def test_complete_config(config: dict[str, Any], completed: dict[str, Any]) -> None:
    """What older tools left out of a config.json is completed, and nothing else is changed."""
    assert complete_config(config) == {**config, **completed}


@pytest.mark.parametrize("name", ["gelu_python", "gelu_pytorch_tanh", "gelu_accurate"])
def test_activation_names(name: str) -> None:
    """Another name of an activation means the function that PyTorch's classes of transformers have by that name."""
    x = np.linspace(-4, 4, 101)
    cubic = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    exact = np.array([0.5 * value * (1 + math.erf(value / math.sqrt(2))) for value in x])
    known = {"gelu": exact, "gelu_new": cubic}
    # Source: transformers' activations.py: GELUActivation, PytorchGELUTanh, AccurateGELUActivation.
    expected = exact if name == "gelu_python" else cubic
    np.testing.assert_array_equal(known[complete_config({"hidden_act": name})["hidden_act"]], expected)


def test_no_model_type() -> None:
    """A configuration of an unknown architecture says what to add."""
    with pytest.raises(CheckpointError, match=r'has no model_type. Add "model_type" to it, one of bert'):
        check_config({**BERT, "embedding_size": 4}, "config.json")


def test_albert_groups() -> None:
    """An ALBERT whose groups have several layers is refused: transformers' TensorFlow class fails on them."""
    with pytest.raises(CheckpointError, match="inner_group_num 2"):
        check_config({**BERT, "model_type": "albert", "inner_group_num": 2}, "config.json")


@pytest.mark.parametrize(("stated", "padding", "positions"), [({}, 1, 6), ({"pad_token_id": 3}, 3, 4)])
def test_positions_after_the_padding(stated: dict[str, int], padding: int, positions: int) -> None:
    """RoBERTa's first token has the position after the padding token's id, which is 1 if it is not stated."""
    config = {**BERT, "model_type": "roberta", **stated}
    architecture = find_architecture(config, "config.json")
    assert (architecture.padding(config), architecture.size(config, "positions")) == (padding, positions)
    assert architecture.inputs(config)[0].pad_value == padding
