"""GlobalPointer and CRF heads of bert4keras files: equal to bert4keras, or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert4keras_heads import (
    LAST,
    crf_weights,
    efficient_weights,
    layer,
    pointer_weights,
    write_bert4keras,
)
from bertbundle_export import LoadOptions
from bertbundle_export.checkpoints import load_checkpoint
from bertbundle_export.checkpoints.loader import find_task
from bertbundle_export.checkpoints.registry import describe_checkpoint
from bertbundle_export.errors import CheckpointError
from bertbundle_export.source.model import SourceModel, run_source
from bertbundle_export.tasks import TASKS, HeadConfig

pytestmark = pytest.mark.slow

IDS = np.array([[2, 20, 40, 60, 3], [2, 33, 3, 0, 0]], np.int32)
TYPES = ("PER", "LOC", "ORG")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
POINTER, EFFICIENT, CRF = "global_pointer", "efficient_global_pointer_1", "conditional_random_field"


def pointer_layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    """Return the configuration of a GlobalPointer layer of a whole model."""
    return layer(kind, name, LAST, heads=3, use_bias=True, tril_mask=True, **config)


DENSE = layer("Dense", "dense_13", LAST, activation="linear")
CRF_LAYERS = [DENSE, layer("ConditionalRandomField", CRF, "dense_13", lr_multiplier=50)]
# The variables of each head, its layers in a whole model, and what must be stated about a file of weights.
HEADS: Mapping[str, tuple[Any, list[dict[str, Any]], dict[str, Any]]] = {
    "pointer": (
        pointer_weights(3, 8),
        [pointer_layer("GlobalPointer", POINTER, head_size=8, RoPE=True)],
        {"RoPE": True, "head_size": 8},
    ),
    "plain_pointer": (
        pointer_weights(3, 6, layer="spans", bias=False),
        [pointer_layer("GlobalPointer", "spans", head_size=6, RoPE=False)],
        {"RoPE": False, "head_size": 6},
    ),
    "efficient": (
        efficient_weights(3, 8),
        [pointer_layer("EfficientGlobalPointer", EFFICIENT, head_size=8, RoPE=True)],
        {"RoPE": True},
    ),
    "crf": (crf_weights(5, multiplier=50), CRF_LAYERS, {"lr_multiplier": 50}),
}
# The logits of bert4keras 0.11.5 (TensorFlow 2.13.1, its Keras as tf.keras, TF_KERAS=1) for IDS: of each row, those
# that its mask leaves, in order. A script assigned the variables of these files by name to build_transformer_model(...)
# with GlobalPointer(3, 8), GlobalPointer(3, 6, RoPE=False, use_bias=False), EfficientGlobalPointer(3, 8), and Dense(5)
# with ConditionalRandomField(50), and printed model.predict([IDS, zeros]).
LOGITS: Mapping[str, tuple[str, str]] = {
    "pointer": (
        (
            "-2.58 -1.797 -3.517 -2.095 2.907 -2.584 -4.394 -3.643 1.552 -4.836 -3.348 0.08 -3.47 -3.285 -9.386 "
            "-5.167 -1.513 -4.439 -5.727 -8.444 -3.47 -5.102 -4.261 -7.317 -6.097 -4.692 -7.477 -8.57 -11.812 "
            "-9.134 2.748 1.049 3.843 4.961 5.015 -1.497 0.199 2.227 1.596 2.368 3.549 2.911 2.853 2.461 6.25"
        ),
        (
            "-3.447 -0.788 -2.41 -2.821 -4.163 -3.746 -7.911 -10.275 -15.757 -10.387 -10.907 -10.265 10.915 9.02 "
            "10.478 12.24 14.991 12.063"
        ),
    ),
    "plain_pointer": (
        (
            "22.645 23.878 24.504 24.269 24.018 20.082 20.291 19.821 21.623 21.231 21.006 20.631 22.516 22.246 "
            "16.611 2.023 2.801 0.539 4.096 -0.867 2.159 -0.215 3.535 -1.016 0.676 4.088 -0.303 3.493 -1.347 "
            "-8.566 -10.434 -8.889 -9.77 -8.289 -5.994 -8.371 -9.05 -7.636 -4.465 -10.257 -8.773 -6.08 -8.78 "
            "-5.55 -2.384"
        ),
        (
            "21.847 19.447 22.609 17.683 20.143 20.537 6.172 5.112 4.975 5.832 5.945 5.851 -3.851 -4.106 -3.671 "
            "-1.78 -1.704 -2.889"
        ),
    ),
    "efficient": (
        (
            "17.637 23.369 24.097 18.268 16.724 17.639 20.269 18.464 19.064 19.45 22.112 25.074 16.656 22.472 "
            "19.485 8.841 13.765 14.855 9.307 6.837 8.891 11.884 10.36 10.034 9.734 12.679 14.715 8.102 12.991 "
            "11.387 6.795 11.201 13.05 7.282 5.538 6.344 10.096 8.352 8.752 8.052 10.775 13.538 6.098 11.714 "
            "11.451"
        ),
        (
            "-3.663 0.478 -0.016 5.073 6.501 -0.333 -10.165 -5.922 -6.361 0.096 1.579 -6.349 -10.431 -4.952 "
            "-5.636 -0.11 1.129 -5.896"
        ),
    ),
    "crf": (
        (
            "-0.365 -2.746 -5.769 3.927 2.543 0.335 -3.816 -6.985 3.308 2.873 -0.767 -3.169 -5.358 3.958 2.58 "
            "0.109 -3.539 -5.681 3.912 3.097 -1.567 -5.626 -5.616 2.039 3.76"
        ),
        "0.934 -2.957 -2.29 1.61 2.658 1.009 -3.975 -3.936 1.481 4.332 0.799 -3.195 -2.749 1.884 3.791",
    ),
}
# ViterbiDecoder(trans=K.eval(crf.trans), starts=..., ends=...).decode of the same logits, without padding.
PATHS = {
    (None, None): [[3, 3, 3, 3, 4], [4, 4, 4]],
    (0, 0): [[0, 3, 3, 3, 0], [0, 4, 0]],
    (1, 4): [[1, 4, 3, 3, 4], [1, 4, 4]],
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a file with a head, see `HEADS`; with its layers, the file has the whole model."""

    def write_head(name: str, layers: list[dict[str, Any]] | None = None) -> Path:
        return write_bert4keras(tmp_path / name / "best_model.weights", HEADS[name][0], layers=layers)

    return write_head


def load(path: Path, name: str, **options: Any) -> SourceModel:
    """Load a file with its labels."""
    return load_checkpoint(path, str(path), LoadOptions(labels=TAGS if name == "crf" else TYPES, **options))


def outputs_of(model: SourceModel) -> dict[str, Any]:
    """Return a model's outputs for IDS."""
    inputs = {"input_ids": IDS, "attention_mask": (IDS != 0).astype(np.int32), "token_type_ids": np.zeros_like(IDS)}
    return run_source(model, inputs)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "weights"])
@pytest.mark.parametrize("name", HEADS)
def test_equals_bert4keras(tensorflow: Any, write: Callable[..., Path], name: str, whole: bool) -> None:
    """The logits are those of bert4keras, for a whole model, and for weights with what the user states."""
    del tensorflow
    _, layers, stated = HEADS[name]
    path = write(name, layers if whole else None)
    named = whole or name != "plain_pointer"  # a layer of another name is known by the task
    task = None if named else "span-classification"
    model = load(path, name, task=task, init_args={} if whole else stated)
    assert model.task == ("token-classification" if name == "crf" else "span-classification")
    for row, (expected, length) in enumerate(zip(LOGITS[name], (5, 3), strict=True)):
        logits = outputs_of(model)["logits"][row]
        found = logits[:length] if name == "crf" else np.stack([head[np.triu_indices(length)] for head in logits])
        np.testing.assert_allclose(found.ravel(), np.array(expected.split(), float), rtol=1e-4, atol=6e-4)


@pytest.mark.parametrize("ends", PATHS)
def test_paths_of_the_crf(tensorflow: Any, write: Callable[..., Path], ends: tuple[int | None, int | None]) -> None:
    """The best sequences are those of bert4keras' ViterbiDecoder, also with labels for the first and last token."""
    del tensorflow
    stated = {key: [label] for key, label in zip(("starts", "ends"), ends, strict=True) if label is not None}
    raw = outputs_of(load(write("crf", CRF_LAYERS), "crf", init_args=stated))
    inputs = {"input_ids": IDS, "attention_mask": (IDS != 0).astype(np.int32)}
    head = HeadConfig(labels=TAGS, label_scheme="BIO", label_decoding="crf")
    found = TASKS["token-classification"].reference(raw, inputs, head)["label_ids"]
    assert [found[0].tolist(), found[1, :3].tolist()] == PATHS[ends]


@pytest.mark.parametrize(
    ("name", "stated", "message"),
    [
        pytest.param("pointer", {}, "do not say RoPE and head_size: pass --init-args", id="nothing"),
        pytest.param("pointer", {"RoPE": True}, "do not say head_size", id="head_size"),
        pytest.param(
            "pointer", {"RoPE": True, "head_size": 6}, "kernel of 48 columns, 3 labels with head_size 6", id="6"
        ),
        pytest.param("efficient", {}, "do not say RoPE: pass", id="rope"),
        pytest.param("efficient", {"RoPE": "False"}, "RoPE must be true or false, got 'False'", id="rope_is_text"),
        pytest.param("efficient", {"RoPE": True, "head_size": 4}, "has head_size 8, not 4", id="4"),
        pytest.param("crf", {}, "do not say lr_multiplier", id="lr_multiplier"),
        pytest.param("crf", {"lr_multiplier": "x"}, "lr_multiplier must be a number", id="lr_multiplier_is_text"),
        pytest.param("crf", {"lr_multiplier": 1, "starts": [5]}, "label indices below 5", id="starts"),
    ],
)
def test_what_weights_do_not_say(
    tensorflow: Any, write: Callable[..., Path], name: str, stated: dict[str, Any], message: str
) -> None:
    """A setting that the variables do not say is never guessed, and one that does not fit them is an error."""
    del tensorflow
    with pytest.raises(CheckpointError, match=message):
        load(write(name), name, init_args=stated)


def test_more_labels_than_heads(tensorflow: Any, write: Callable[..., Path]) -> None:
    """Labels that do not fit the kernel are an error, also if their number divides its columns."""
    del tensorflow
    path = write("pointer")
    options = LoadOptions(labels=("A", "B", "C", "D"), init_args={"RoPE": True, "head_size": 8})
    with pytest.raises(CheckpointError, match="4 labels with head_size 8 need 64"):
        load_checkpoint(path, "x", options)


@pytest.mark.parametrize(
    ("name", "layers", "options", "message"),
    [
        pytest.param("pointer", None, {"task": "token-classification"}, "whose task is span-class", id="task"),
        pytest.param("crf", None, {"task": "text-classification"}, "whose task is token-class", id="task_of_a_crf"),
        pytest.param(
            "pointer", HEADS["pointer"][1], {"init_args": {"RoPE": False}}, "has RoPE=True .* RoPE=False", id="rope"
        ),
        pytest.param(
            "crf", CRF_LAYERS, {"init_args": {"lr_multiplier": 1}}, "has lr_multiplier=50", id="lr_multiplier"
        ),
        pytest.param(
            "pointer",
            [*HEADS["pointer"][1], layer("Activation", "activation", POINTER, activation="sigmoid")],
            {},
            "has activation after global_pointer",
            id="layer_after",
        ),
        pytest.param(
            "pointer",
            [layer("Conv1D", "conv", LAST), layer("GlobalPointer", POINTER, "conv", head_size=8, RoPE=True)],
            {},
            "calls its layer global_pointer on other inputs",
            id="layer_before",
        ),
        pytest.param(
            "crf",
            [layer("Dense", "dense_13", LAST, activation="softmax"), CRF_LAYERS[1]],
            {},
            "Dense layer dense_13 without an activation, found softmax",
            id="softmax_before_a_crf",
        ),
    ],
)
def test_contradictions(
    write: Callable[..., Path], name: str, layers: Any, options: dict[str, Any], message: str
) -> None:
    """Options against the file, and layers that a bundle would leave out, are refused by name."""
    with pytest.raises(CheckpointError, match=message):
        describe_checkpoint(write(name, layers), LoadOptions(**options))


def test_other_variables(tmp_path: Path) -> None:
    """A CRF of another size, three Dense layers in one, a further layer and a Markov model are refused by name."""
    crf = {**crf_weights(5), f"{CRF}/trans": np.zeros((4, 4), np.float32)}
    three = {**efficient_weights(3, 8), f"{EFFICIENT}/dense_11/kernel": np.zeros((6, 6), np.float32)}
    further = {**pointer_weights(3, 8), "dense_20/kernel": np.zeros((32, 3), np.float32)}
    markov = {name.replace(CRF, "maximum_entropy_markov_model"): value for name, value in crf_weights(5).items()}
    for index, (head, message) in enumerate(
        [
            (crf, r"conditional_random_field/trans \[4, 4\]"),
            (three, "other variables after BERT than a EfficientGlobalPointer"),
            (further, "more than BERT and one Dense layer"),
            (markov, r"one Dense layer of .* maximum_entropy_markov_model/trans \[5, 5\]"),
        ]
    ):
        path = write_bert4keras(tmp_path / str(index) / "model.h5", head)
        with pytest.raises(CheckpointError, match=message):
            find_task(describe_checkpoint(path, LoadOptions()), LoadOptions())


def test_features_do_not_need_the_head(write: Callable[..., Path]) -> None:
    """For feature extraction the head is left out, and nothing about it must be stated."""
    description = describe_checkpoint(write("pointer"), LoadOptions(task="feature-extraction"))
    assert description.build_model is None
