"""The patched encoder is called instead of the model's own during tracing, with equal outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from bertbundle_export.encoder.kernels import Kernels, OneDnnKernels, PublicKernels, has_onednn
from bertbundle_export.encoder.patching import patched_encoders
from bertbundle_export.encoder.tf_graph import EncoderGraph
from optional import skip_without

pytestmark = pytest.mark.slow


Build = Callable[..., Any]


ELECTRA = {"embedding_size": 32}
"""Embeddings of the size of the hidden states, unlike in small ELECTRA models."""


@pytest.fixture
def build(tensorflow: Any) -> Build:
    """Build a model of one of transformers' classes with random weights."""
    del tensorflow

    def make(kind: str = "TFBertModel", **config: Any) -> Any:
        import tf_keras

        from bertbundle_export.tensorflow_import import transformers

        tf_keras.utils.set_random_seed(0)
        sizes = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
        settings = {**sizes, "num_attention_heads": 4, "initializer_range": 0.5, "max_position_embeddings": 40}
        model_class = getattr(transformers, kind)
        model = model_class(model_class.config_class(**{**settings, **config}))
        model.build_in_name_scope()
        return model

    return make


def batch(tensorflow: Any, rows: int = 2) -> dict[str, Any]:
    """Return a batch of rows of 12 tokens, one of them padded."""
    ids = np.random.default_rng(0).integers(2, 50, (rows, 12)).astype(np.int32)
    mask, types = np.ones_like(ids), np.zeros_like(ids)
    mask[1, 7:] = 0
    ids[1, 7:] = 1  # RoBERTa recognizes padding by its id
    types[:, 5:] = 1
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    return {name: tensorflow.constant(value) for name, value in arrays.items()}


def run_patched(
    tensorflow: Any, model: Any, inputs: dict[str, Any], kernels: Kernels | None = None, **options: Any
) -> tuple[Any, list[EncoderGraph]]:
    """Trace a call of a model with its encoders patched, and run it."""
    with patched_encoders(model, lambda found: EncoderGraph(found, kernels or PublicKernels(), "float32")) as graphs:
        function = tensorflow.function(lambda values: model(values, training=False, **options), autograph=False)
        return function(inputs), list(graphs)


def tensors(output: Any) -> Iterator[Any]:
    """Yield each tensor of a model's output, in order."""
    for value in output.to_tuple() if hasattr(output, "to_tuple") else output:
        yield from value if isinstance(value, tuple) else [value]


def assert_same(found: Any, expected: Any, mask: Any) -> None:
    """Compare two outputs without padding."""
    pairs = list(zip(tensors(found), tensors(expected), strict=True))
    assert pairs
    for ours, theirs in pairs:
        rows = np.asarray(mask) == 1 if ours.shape[:2] == mask.shape else slice(None)
        np.testing.assert_allclose(ours.numpy()[rows], theirs.numpy()[rows], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "config", "options"),
    [
        pytest.param("TFBertModel", {}, {}, id="features"),
        pytest.param("TFBertForTokenClassification", {"num_labels": 5}, {}, id="tagger"),
        pytest.param("TFBertForSequenceClassification", {"num_labels": 3}, {}, id="classifier"),
        pytest.param("TFBertModel", {"hidden_act": "gelu_new"}, {}, id="gelu_new"),
        pytest.param("TFBertModel", {"hidden_act": "relu"}, {}, id="relu"),
        pytest.param("TFBertModel", {"layer_norm_eps": 1e-3}, {}, id="epsilon"),
        pytest.param("TFBertModel", {}, {"output_hidden_states": True}, id="hidden_states"),
        pytest.param("TFBertModel", {"output_hidden_states": True}, {}, id="hidden_states_configured"),
        pytest.param("TFBertModel", {}, {"return_dict": False}, id="tuple"),
        pytest.param("TFRobertaModel", {}, {}, id="roberta"),
        pytest.param("TFRobertaForTokenClassification", {"num_labels": 5}, {}, id="roberta_tagger"),
        pytest.param("TFElectraModel", ELECTRA, {}, id="electra"),
        pytest.param("TFElectraModel", {"embedding_size": 16}, {"output_hidden_states": True}, id="electra_projects"),
        pytest.param(
            "TFElectraForSequenceClassification", ELECTRA, {"output_hidden_states": True}, id="electra_classifier"
        ),
        pytest.param(
            "TFElectraModel", ELECTRA, {"return_dict": False, "output_hidden_states": True}, id="electra_tuple"
        ),
        pytest.param("TFDistilBertModel", {"hidden_dim": 64}, {}, id="distilbert"),
        pytest.param("TFDistilBertForTokenClassification", {"hidden_dim": 64}, {}, id="distilbert_tagger"),
        pytest.param("TFDistilBertModel", {"activation": "relu"}, {"return_dict": False}, id="distilbert_tuple"),
    ],
)
@pytest.mark.parametrize("kernels", [PublicKernels(), OneDnnKernels()], ids=["public", "onednn"])
def test_patched_model_equals_the_model(
    tensorflow: Any, build: Build, kernels: Kernels, kind: str, config: dict[str, Any], options: dict[str, Any]
) -> None:
    """A model with its encoder patched gives every output of the model itself."""
    if isinstance(kernels, OneDnnKernels) and not has_onednn("float32"):
        skip_without("a TensorFlow with oneDNN")
    model, inputs = build(kind, **config), batch(tensorflow)
    if model.config.model_type == "distilbert":
        del inputs["token_type_ids"]
    found, graphs = run_patched(tensorflow, model, inputs, kernels, **options)
    assert [graph.calls for graph in graphs] == [1]
    assert_same(found, model(inputs, training=False, **options), inputs["attention_mask"])


@pytest.mark.parametrize("rows", [0, 1, 15, 16, 40])
def test_onednn_batches_of_any_size(tensorflow: Any, build: Build, rows: int) -> None:
    """Few rows and many rows are normalized by different operations, with equal outputs."""
    if not has_onednn("float32"):
        skip_without("a TensorFlow with oneDNN")
    model, inputs = build(), batch(tensorflow, max(rows, 2))
    inputs = {name: value[:rows] for name, value in inputs.items()}
    found, _ = run_patched(tensorflow, model, inputs, OneDnnKernels())
    assert_same(found, model(inputs, training=False), inputs["attention_mask"])


def test_inputs_may_be_omitted(tensorflow: Any, build: Build) -> None:
    """Without a mask no token is padding, and without type ids all tokens have type 0."""
    model, inputs = build(), {"input_ids": batch(tensorflow)["input_ids"]}
    found, graphs = run_patched(tensorflow, model, inputs)
    assert [graph.calls for graph in graphs] == [1]
    assert_same(found, model(inputs, training=False), np.ones((2, 12)))


def test_layer_called_with_a_dict(tensorflow: Any, build: Build) -> None:
    """The main layer of a user's model is replaced also if it is called with a dict, as in functional models."""
    import tf_keras

    names = ("input_ids", "attention_mask", "token_type_ids")
    tensors = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in names}
    model, inputs = tf_keras.Model(tensors, build().bert(tensors)[:2]), batch(tensorflow)
    found, graphs = run_patched(tensorflow, model, inputs)
    assert [graph.calls for graph in graphs] == [1]
    assert_same(tuple(found), tuple(model(inputs, training=False)), inputs["attention_mask"])


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"output_attentions": True}, id="attentions"),
        pytest.param({"position_ids": np.arange(12)[None, ::-1]}, id="positions"),
        pytest.param({"inputs_embeds": None, "output_attentions": True, "output_hidden_states": True}, id="both"),
    ],
)
def test_unsupported_arguments_use_the_models_own_code(tensorflow: Any, build: Build, options: dict[str, Any]) -> None:
    """A call that the graph does not support is computed by the model's own code."""
    model, inputs = build(), batch(tensorflow)
    found, graphs = run_patched(tensorflow, model, inputs, **options)
    assert [graph.calls for graph in graphs] == [0]
    assert_same(found, model(inputs, training=False, **options), inputs["attention_mask"])


def test_model_is_restored(build: Build) -> None:
    """After the context, even after an error, the model has its own encoder and no other variables."""
    model = build()
    attributes, variables = set(vars(model.bert)), [variable.ref() for variable in model.variables]

    def interrupted() -> None:
        with patched_encoders(model, lambda found: EncoderGraph(found, PublicKernels(), "float32")):
            assert "call" in vars(model.bert)
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert set(vars(model.bert)) == attributes
    assert [variable.ref() for variable in model.variables] == variables


def test_encoder_in_a_subclass_is_patched(tensorflow: Any) -> None:
    """The encoder inside a user's own model is patched, and its head is not."""
    from ner_model import small_model

    model, inputs = small_model(("O", "B-X", "I-X"), vocab_size=50, max_length=32), batch(tensorflow)
    expected = model(inputs, training=False)
    found, graphs = run_patched(tensorflow, model, inputs)
    assert [graph.calls for graph in graphs] == [1]
    assert_same(found, expected, inputs["attention_mask"])


def test_functional_model_with_a_dict_of_inputs(tensorflow: Any, build: Build) -> None:
    """A layer of a functional model that is called on a dict of its inputs is patched, too."""
    import tf_keras

    tensors = {name: tf_keras.Input((None,), dtype="int32", name=name) for name in batch(tensorflow)}
    model = tf_keras.Model(tensors, build().bert(tensors)["last_hidden_state"])
    inputs = batch(tensorflow)
    with patched_encoders(model, lambda found: EncoderGraph(found, PublicKernels(), "float32")) as graphs:
        found = tensorflow.function(lambda values: model(values, training=False), autograph=False)(inputs)
    assert [graph.calls for graph in graphs] == [1]
    assert_same([found], [model(inputs, training=False)], inputs["attention_mask"])
