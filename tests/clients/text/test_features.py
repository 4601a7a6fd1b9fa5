"""Choice of the signature, and padding."""

from __future__ import annotations

import numpy as np
import pytest

from bertbundle import InputError, ManifestError
from bertbundle.contract.manifest import InputSpec
from bertbundle.contract.types import Encoding
from bertbundle.text.features import choose_signature, pad_encodings


@pytest.mark.parametrize(
    ("length", "signature"),
    [
        pytest.param(1, "length_16", id="shortest"),
        pytest.param(16, "length_16", id="exactly"),
        pytest.param(17, "length_32", id="one-more"),
        pytest.param(33, "length_64", id="two-of-64"),
    ],
)
def test_choose_signature(length: int, signature: str) -> None:
    """The shortest signature that fits the tokens is chosen, and of equally long ones the first by name."""
    lengths = {"serving_default": 64, "length_32": 32, "length_64": 64, "length_16": 16}
    assert choose_signature(length, lengths) == signature


def test_no_signature_fits() -> None:
    """If no signature fits, the error has the number of tokens and the longest length."""
    with pytest.raises(InputError, match="no signature fits 65 tokens, the longest takes 64"):
        choose_signature(65, {"serving_default": 64, "length_16": 16})


INPUTS = (
    InputSpec("input_ids", "int32", 9, 100),
    InputSpec("attention_mask", "int32", 0, 2),
    InputSpec("token_type_ids", "int32", 1, 2),
)


def test_pad_encodings() -> None:
    """Each input is padded with its own pad value, and the mask is 1 for tokens only."""
    encodings = [
        Encoding((2, 5, 3), (0, 0, 0), ("", "", ""), ((0, 0),) * 3, (None, 0, None), (None, 0, None)),
        Encoding((2, 3), (0, 1), ("", ""), ((0, 0),) * 2, (None, None), (None, None)),
    ]
    features = pad_encodings(encodings, "length_4", length=4, inputs=INPUTS)
    assert features.signature == "length_4"
    assert {name: array.tolist() for name, array in features.inputs.items()} == {
        "input_ids": [[2, 5, 3, 9], [2, 3, 9, 9]],
        "attention_mask": [[1, 1, 1, 0], [1, 1, 0, 0]],
        "token_type_ids": [[0, 0, 0, 1], [0, 1, 1, 1]],
    }
    assert {array.dtype for array in features.inputs.values()} == {np.dtype(np.int32)}


def test_inputs_of_the_model() -> None:
    """Only the inputs that the model has are created, and an unknown input is an error."""
    encodings = [Encoding((2, 3), (0, 0), ("", ""), ((0, 0),) * 2, (None, None), (None, None))]
    assert list(pad_encodings(encodings, "s", length=4, inputs=INPUTS[:2]).inputs) == ["input_ids", "attention_mask"]
    with pytest.raises(ManifestError, match="has an unknown input 'position_ids'"):
        pad_encodings(encodings, "s", length=4, inputs=(InputSpec("position_ids", "int32", 0, 4),))


@pytest.mark.parametrize(
    ("ids", "types", "message"),
    [
        pytest.param((2, 100), (0, 0), "input_ids has the value 100, this model takes values below 100", id="tokens"),
        pytest.param((2, 3), (0, 2), "token_type_ids has the value 2, .* below 2. It takes no pairs", id="types"),
    ],
)
def test_values_that_the_model_has_no_embedding_for(ids: tuple[int, int], types: tuple[int, int], message: str) -> None:
    """A value beyond the model's is an error before it is sent; a model of unknown size takes any."""
    encodings = [Encoding(ids, types, ("", ""), ((0, 0),) * 2, (None, None), (None, None))]
    with pytest.raises(InputError, match=message):
        pad_encodings(encodings, "length_4", length=4, inputs=INPUTS)
    unknown = tuple(InputSpec(spec.name, spec.dtype, spec.pad_value, 0) for spec in INPUTS)
    assert pad_encodings(encodings, "length_4", length=4, inputs=unknown).inputs["input_ids"][0, 1] == ids[1]
