"""Convert tokens to the fixed-length input arrays of a signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bertbundle.contract.manifest import InputSpec
from bertbundle.contract.types import Encoding, InputFeatures
from bertbundle.errors import InputError, ManifestError

__all__ = ["choose_signature", "pad_encodings"]


def choose_signature(length: int, signatures: Mapping[str, int]) -> str:
    """Return the name of the shortest signature that fits `length` tokens.

    Raises:
        InputError: no signature is long enough.

    >>> choose_signature(20, {"serving_default": 128, "length_16": 16, "length_32": 32})
    'length_32'
    """
    fitting = [name for name, size in signatures.items() if size >= length]
    if not fitting:
        raise InputError(f"no signature fits {length} tokens, the longest takes {max(signatures.values())}.")
    return min(fitting, key=lambda name: (signatures[name], name))


_INPUT_VALUES: Mapping[str, Callable[[Encoding], Sequence[int] | int]] = {
    "input_ids": lambda encoding: encoding.ids,
    "attention_mask": lambda encoding: 1,  # noqa: ARG005 - all rows have one signature
    "token_type_ids": lambda encoding: encoding.type_ids,
}


def pad_encodings(
    encodings: Sequence[Encoding], signature: str, *, length: int, inputs: Sequence[InputSpec]
) -> InputFeatures:
    """Pad encodings to the length of a signature with the pad values of the model.

    Returns:
        Features with an array of the input's dtype and shape ``[len(encodings), length]`` for each input.

    Raises:
        ManifestError: the model has an input other than `input_ids`, `attention_mask` and `token_type_ids`.
        InputError: a value is too large for the model, such as the token type of the second text of a pair.
    """
    unknown = [spec.name for spec in inputs if spec.name not in _INPUT_VALUES]
    if unknown:
        raise ManifestError(f"the model has an unknown input {unknown[0]!r}. Upgrade bertbundle.")
    arrays = {spec.name: np.full((len(encodings), length), spec.pad_value, spec.dtype) for spec in inputs}
    for row, encoding in enumerate(encodings):
        for name, array in arrays.items():
            array[row, : len(encoding.ids)] = _INPUT_VALUES[name](encoding)
    for spec in inputs:
        _check_size(arrays[spec.name], spec)
    return InputFeatures(signature, arrays)


_TOO_LARGE = {
    "input_ids": "The tokenizer has tokens that the model has not: export the bundle again.",
    "token_type_ids": "It takes no pairs of texts: pass single texts.",
}


def _check_size(array: npt.NDArray[Any], spec: InputSpec) -> None:
    """Refuse values that the model has no embedding for: some runtimes compute something without an error."""
    largest = array.max(initial=0)
    if 0 < spec.size <= largest:
        hint = _TOO_LARGE.get(spec.name, "Export the bundle again.")
        raise InputError(f"{spec.name} has the value {largest}, this model takes values below {spec.size}. {hint}")
