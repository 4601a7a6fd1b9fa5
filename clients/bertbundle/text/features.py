"""Convert tokens to the fixed-length input arrays of a signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

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
    """
    unknown = [spec.name for spec in inputs if spec.name not in _INPUT_VALUES]
    if unknown:
        raise ManifestError(f"the model has an unknown input {unknown[0]!r}. Upgrade bertbundle.")
    arrays = {spec.name: np.full((len(encodings), length), spec.pad_value, spec.dtype) for spec in inputs}
    for row, encoding in enumerate(encodings):
        for name, array in arrays.items():
            array[row, : len(encoding.ids)] = _INPUT_VALUES[name](encoding)
    return InputFeatures(signature, arrays)
