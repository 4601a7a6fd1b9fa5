"""Turn tokens into the fixed-length arrays that a bundle's signatures take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bertbundle.contract.manifest import InputSpec
from bertbundle.contract.types import Encoding, InputFeatures
from bertbundle.errors import InputError, ManifestError

__all__ = ["choose_signature", "pack"]


def choose_signature(length: int, signatures: Mapping[str, int]) -> str:
    """Return the name of the shortest signature that holds `length` tokens.

    Raises:
        InputError: none does.

    >>> choose_signature(20, {"serving_default": 128, "length_16": 16, "length_32": 32})
    'length_32'
    """
    holding = [name for name, size in signatures.items() if size >= length]
    if not holding:
        raise InputError(f"no signature holds {length} tokens, the longest takes {max(signatures.values())}.")
    return min(holding, key=lambda name: (signatures[name], name))


_VALUES: Mapping[str, Callable[[Encoding], Sequence[int] | int]] = {
    "input_ids": lambda encoding: encoding.ids,
    "attention_mask": lambda encoding: 1,  # noqa: ARG005 - one shape for all rows
    "token_type_ids": lambda encoding: encoding.type_ids,
}


def pack(encodings: Sequence[Encoding], signature: str, *, length: int, inputs: Sequence[InputSpec]) -> InputFeatures:
    """Pad encodings to one length with the model's own pad values.

    Returns:
        Features with an array of the input's dtype and shape ``[len(encodings), length]`` for each input.

    Raises:
        ManifestError: the model takes an input that is not one of `input_ids`, `attention_mask`, `token_type_ids`.
    """
    unknown = [spec.name for spec in inputs if spec.name not in _VALUES]
    if unknown:
        raise ManifestError(f"the model takes an input {unknown[0]!r} that is not known here. Upgrade bertbundle.")
    arrays = {spec.name: np.full((len(encodings), length), spec.pad_value, spec.dtype) for spec in inputs}
    for row, encoding in enumerate(encodings):
        for name, array in arrays.items():
            array[row, : len(encoding)] = _VALUES[name](encoding)
    return InputFeatures(signature, arrays)
