"""Model status and metadata in the JSON form of TensorFlow Serving's messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bertbundle.wire.data_types import DATA_TYPES
from bertbundle_serving.repository.version import ModelVersionStatus
from bertbundle_serving.runtimes.base import SignatureSpec, TensorSpec

__all__ = ["metadata_document", "status_document"]

_DTYPES: Mapping[np.dtype[Any], str] = {row.numpy: f"DT_{row.name.upper()}" for row in DATA_TYPES}


def status_document(statuses: Sequence[ModelVersionStatus]) -> dict[str, Any]:
    """Return a GetModelStatusResponse. 64-bit numbers are strings, as in protobuf's JSON format."""
    return {
        "model_version_status": [
            {
                "version": str(status.version),
                "state": status.state.name,
                "status": {"error_code": status.code, "error_message": status.message},
            }
            for status in statuses
        ]
    }


def metadata_document(model: str, version: int, signatures: Mapping[str, SignatureSpec]) -> dict[str, Any]:
    """Return a GetModelMetadataResponse."""
    return {
        "model_spec": {"name": model, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": {name: _signature(spec) for name, spec in signatures.items()}}},
    }


def _signature(spec: SignatureSpec) -> dict[str, Any]:
    return {
        "inputs": {name: _tensor(tensor) for name, tensor in spec.inputs.items()},
        "outputs": {name: _tensor(tensor) for name, tensor in spec.outputs.items()},
        "method_name": spec.method,
        "defaults": {},
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    sizes = spec.shape or ()
    return {
        "dtype": _DTYPES.get(spec.dtype, "DT_INVALID"),
        "tensor_shape": {
            "dim": [{"size": str(-1 if size is None else size), "name": ""} for size in sizes],
            "unknown_rank": spec.shape is None,
        },
        "name": spec.feed,
    }
