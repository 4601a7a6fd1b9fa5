"""The REST form of tf.Examples: JSON objects. Rules and texts: tensorflow_serving/util/json_tensor.cc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bertbundle_serving.errors import RequestError
from bertbundle_serving.protos import _api_pb2 as api
from bertbundle_serving.rest_api.json_parser import json_text
from bertbundle_serving.rest_api.tensors import decode_base64, is_base64

__all__ = ["examples_input", "signature_name"]

_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64", None: "UNKNOWN"}
_NAMES = {type(None): "Null", dict: "Object", list: "Array"}
_INT64 = 2**63


def signature_name(document: Mapping[str, Any]) -> str:
    """Return the signature that a request names; "" if it names none.

    Raises:
        RequestError: INVALID_ARGUMENT, it is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        text = "not formatted correctly. 'signature_name' key must be a string value."
        raise _invalid(f"JSON Value: {json_text(document)} {text}")
    return name


def examples_input(document: Mapping[str, Any]) -> api.Input:
    """Return the examples of a classify or regress request, with their context.

    Raises:
        RequestError: INVALID_ARGUMENT, something in it does not fit.
    """
    context = _example(document["context"]) if "context" in document else None
    if "examples" not in document:
        text = "When method is classify, key 'examples' is expected and was not found"
        raise _invalid(f"JSON Value: {json_text(document)} {text}")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise _invalid(f"JSON Value: {json_text(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise _invalid(f"JSON Value: {json_text(document)} 'examples' value is an empty array")
    serialized = [_example(example) for example in examples]
    if context is None:
        return api.Input(example_list=api.ExampleList(examples=serialized))
    return api.Input(example_list_with_context=api.ExampleListWithContext(examples=serialized, context=context))


def _example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise _invalid(f"Example must be JSON object but got JSON {_NAMES.get(type(value), _scalar(value))}")
    features = api.Features()
    for name, content in value.items():
        feature = features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add(feature, name, item)
    return api.Example(features=features).SerializeToString()


def _scalar(value: Any) -> str:
    return str(value) if isinstance(value, bool) else "String" if isinstance(value, str) else "Number"


def _add(feature: api.Feature, name: str, value: Any) -> None:
    if value is None or isinstance(value, list) or (isinstance(value, dict) and not is_base64(value)):
        raise _invalid(f"Feature: {name} has element with unexpected JSON type: {_NAMES[type(value)]}")
    kind, item = _item(name, value)
    there = feature.WhichOneof("kind")
    if there not in (None, kind):
        raise _invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[there]}")
    getattr(feature, kind).value.append(item)


def _item(name: str, value: Any) -> tuple[str, Any]:
    """Return the field of a feature that takes a value, and the value for it."""
    if isinstance(value, dict):
        return "bytes_list", decode_base64(value)
    if isinstance(value, str):
        return "bytes_list", value.encode(errors="surrogatepass")
    if isinstance(value, float):
        if np.isfinite(value) and abs(value) > np.finfo(np.float32).max:
            raise _invalid(f"Cannot convert JSON value: {json_text(value)} to float without loss of precision.")
        return "float_list", value
    if not -_INT64 <= value < _INT64:
        raise _invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
    return "int64_list", int(value)


def _invalid(message: str) -> RequestError:
    return RequestError("INVALID_ARGUMENT", message)
