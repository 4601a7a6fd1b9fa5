"""Predict requests and responses as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from bertbundle.contract.types import Arrays
from bertbundle_serving.errors import invalid_argument
from bertbundle_serving.requests.call import DEFAULT_SIGNATURE, SignatureCall, make_call
from bertbundle_serving.rest_api.json_parser import json_text
from bertbundle_serving.rest_api.responses import encode_json
from bertbundle_serving.rest_api.tensors import column_inputs, row_inputs, to_json_values
from bertbundle_serving.runtimes.base import SignatureSpec

__all__ = ["encode_predictions", "read_predict_call"]

# About 15 ms of encoding. A million numbers take 1.5 s, during which the event loop could not serve other requests.
_MAX_INLINE_NUMBERS = 10_000


def read_predict_call(signatures: Mapping[str, SignatureSpec], name: str, document: Mapping[str, Any]) -> SignatureCall:
    """Return the signature call for a Predict request.

    Args:
        signatures: the model's signatures.
        name: the signature that the request names; empty for the default signature.
        document: the request.

    Raises:
        RequestError: INVALID_ARGUMENT, no such signature, or the request does not fit it.
    """
    signature = signatures.get(name or DEFAULT_SIGNATURE)
    if signature is None:
        raise invalid_argument(f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def')
    if not signature.inputs:
        raise invalid_argument(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    if "instances" in document and "inputs" in document:
        raise invalid_argument(
            f"JSON Value: {json_text(document)} Not formatted correctly expecting only "
            "one of 'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        inputs = row_inputs(document["instances"], signature.inputs, document)
    elif "inputs" in document:
        inputs = column_inputs(document["inputs"], signature.inputs)
    else:
        raise invalid_argument("Missing 'inputs' or 'instances' key")
    return make_call(signature, {alias: inputs[alias] for alias in sorted(inputs)})


async def encode_predictions(outputs: Arrays, *, by_row: bool) -> bytes:
    """Return the response to a Predict request in the row or the column format. Large ones are encoded in a thread.

    Raises:
        RequestError: INVALID_ARGUMENT, the outputs have different numbers of rows, or a dtype has no JSON form.
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    if by_row:
        _check_row_counts(outputs)
    if sum(array.size for array in outputs.values()) <= _MAX_INLINE_NUMBERS:
        return _encode(outputs, by_row)
    return await asyncio.to_thread(_encode, outputs, by_row)


def _encode(outputs: Arrays, by_row: bool) -> bytes:
    values = to_json_values(dict(sorted(outputs.items())))
    if not by_row:
        return encode_json({"outputs": values if len(values) > 1 else next(iter(values.values()))})
    if len(values) == 1:
        return encode_json({"predictions": next(iter(values.values()))})
    return encode_json(
        {"predictions": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]}
    )


def _check_row_counts(outputs: Arrays) -> None:
    """Check that all outputs have the same number of rows, as the row format requires."""
    size = -1
    # TensorFlow Serving looks at the outputs in the order of a hash map: which error comes first differs.
    for name, array in sorted(outputs.items()):
        if array.ndim and size not in (-1, len(array)):
            raise invalid_argument(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}")
        size = len(array) if array.ndim else size
    for name, array in sorted(outputs.items()):
        if not array.ndim:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
