"""Tests of all .h5 formats: keras-h5, keras-bert and bert-for-tf2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bertbundle_export.checkpoints.registry import find_format
from bertbundle_export.errors import CheckpointError
from keras_files import (
    CONFIG,
    NAMINGS,
    head_weights,
    random_weights,
    write_beside,
)
from source_models import predict

pytestmark = pytest.mark.slow


Write = Callable[..., Path]


# First six logits computed by the packages themselves: keras-bert 0.89.0 and bert-for-tf2 0.14.9 on tf_keras 2.21, with
# models built by get_model and by BertModelLayer(mask_zero=True), with a Dense layer and the weights of the file. In
# both packages gelu is the tanh approximation; with transformers' exact gelu the first logit is -4.17510.
TOKENS = [-4.1749153, 1.2428027, -1.2696228, 1.081197, -4.815441, -4.1791515]


# keras-bert: MaskedGlobalMaxPool1D, and Extract with NSP-Dense, before the Dense layer.
MAXIMUM = [-4.188512, 1.2104561, -1.2907317, 1.0324062, -4.856285, -4.181407]


POOLER = [1.6614931, 1.8864949, -2.462849, 5.0868626, 2.1141346, 1.6814643]


# bert4keras 0.11.5 on tf_keras 2.21, its models built by build_transformer_model, with_pool for the second.
EXACT_TOKENS = [-4.175097, 1.24269, -1.270333, 1.081642, -4.815341, -4.179335]
EXACT_POOLER = [1.661407, 1.886464, -2.462433, 5.086522, 2.114135, 1.681378]


@pytest.mark.parametrize(
    ("name", "pooler", "options", "expected"),
    [
        pytest.param("keras-bert", False, {"task": "token-classification"}, TOKENS, id="keras_bert"),
        pytest.param("bert-for-tf2", False, {"task": "token-classification"}, TOKENS, id="bert_for_tf2"),
        pytest.param("keras-bert", False, {"task": "text-classification", "pooling": "max"}, MAXIMUM, id="max"),
        pytest.param("keras-bert", True, {"task": "text-classification", "pooling": "pooler"}, POOLER, id="pooler"),
        pytest.param("bert4keras", False, {"task": "token-classification"}, EXACT_TOKENS, id="bert4keras"),
        pytest.param(
            "bert4keras",
            True,
            {"task": "text-classification", "pooling": "pooler"},
            EXACT_POOLER,
            id="exact_pooler",
        ),
    ],
)
def test_logits_equal_those_of_the_package(
    write_keras_h5: Write, name: str, pooler: bool, options: dict[str, Any], expected: list[float]
) -> None:
    """A model of keras-bert or bert-for-tf2 gives the logits of that package's own code."""
    path = write_keras_h5({**random_weights(pooler=pooler), **head_weights("dense_3", 5)}, NAMINGS[name])
    assert find_format(path).name == name
    np.testing.assert_allclose(predict(path, **options).reshape(-1)[:6], expected, atol=1e-5)


def _change(path: Path, change: Callable[[Any], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def _truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _find(file: Any, end: str) -> str:
    names: list[str] = []
    file.visit(names.append)
    return next(name for name in names if name.endswith(end))


def _drop_bias(path: Path) -> None:
    _change(path, lambda file: file.__delitem__(_find(file, "beta:0")))


def _not_finite(path: Path) -> None:
    def change(file: Any) -> None:
        file[_find(file, "gamma:0")][0] = np.nan

    _change(path, change)


def _other_names(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["dense/dense/kernel:0"] = np.zeros((3, 3), np.float32)


def _no_h5(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")


def _config(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        write_beside(path, {key: value for key, value in {**CONFIG, **changes}.items() if value is not None})

    return change


def _small_vocabulary(path: Path) -> None:
    (path.parent / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n", encoding="utf-8")


BROKEN = {
    "truncated": (_truncate, r"model\.h5 cannot be read as h5"),
    "not_h5": (_no_h5, r"model\.h5 cannot be read as h5"),
    "other_names": (_other_names, r"no BERT in it.*found dense/kernel.*own code: export_bundle\(model"),
    "missing": (_drop_bias, "no weights for .*LayerNorm/beta"),
    "not_finite": (_not_finite, "gamma that are not finite"),
    "no_config": (lambda path: (path.parent / "bert_config.json").unlink(), "number of attention heads.*Pass --config"),
    "no_heads": (_config(num_attention_heads=None), "number of attention heads.*Pass --config"),
    "heads": (_config(num_attention_heads=5), "multiple of the number"),
    "too_few_layers": (_config(num_hidden_layers=1), r"does not have: bert\.encoder\.layer\.1\."),
    "too_many_layers": (_config(num_hidden_layers=3), r"no weights for .*layer_\._2"),
    "width": (_config(intermediate_size=48), r"intermediate\.dense\.weight \[32, 64\], expected \[32, 48\]"),
    "vocabulary": (_config(vocab_size=300), r"word_embeddings.*\[226, 32\], expected \[300, 32\]"),
    "tokenizer": (_small_vocabulary, "the tokenizer has 6 tokens, the model's embeddings have 226"),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", NAMINGS)
def test_broken_files(write_keras_h5: Write, name: str, broken: str) -> None:
    """A file that is damaged, or does not match its configuration or vocabulary, raises one error that names it."""
    change, message = BROKEN[broken]
    path = write_keras_h5({**random_weights(pooler=False), **head_weights("output", 5)}, NAMINGS[name])
    change(path)
    options = {"task": "token-classification", "format": name if broken in ("truncated", "not_h5") else None}
    with pytest.raises(CheckpointError, match=message):
        predict(path, **options)
