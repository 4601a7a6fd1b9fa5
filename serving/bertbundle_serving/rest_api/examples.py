"""tf.Examples as JSON objects.

Source of the rules and error messages: tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bertbundle_serving.errors import invalid_argument
from bertbundle_serving.protos import _api_pb2 as api
from bertbundle_serving.rest_api.json_parser import RepeatedKeys, json_text
from bertbundle_serving.rest_api.values import decode_base64, encode_text, is_base64, shortest_float, to_float

__all__ = ["classifications_document", "examples_input", "regressions_document", "signature_name"]

_ELEMENT_TYPES = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64", None: "UNKNOWN"}
_JSON_TYPES: Mapping[type, str] = {type(None): "Null", dict: "Object", list: "Array", str: "String"}
_INT64 = 2**63


def signature_name(document: Mapping[str, Any]) -> str:
    """Return the name of the signature in a request; "" if there is none.

    Raises:
        RequestError: INVALID_ARGUMENT, it is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        text = "not formatted correctly. 'signature_name' key must be a string value."
        raise invalid_argument(f"JSON Value: {json_text(document)} {text}")
    return name


def examples_input(document: Mapping[str, Any]) -> api.Input:
    """Return the examples of a Classify or Regress request, with their context if there is one.

    Raises:
        RequestError: INVALID_ARGUMENT, the request is malformed.
    """
    context = _serialize_example(document["context"]) if "context" in document else None
    if "examples" not in document:
        text = "When method is classify, key 'examples' is expected and was not found"
        raise invalid_argument(f"JSON Value: {json_text(document)} {text}")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid_argument(f"JSON Value: {json_text(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid_argument(f"JSON Value: {json_text(document)} 'examples' value is an empty array")
    serialized = [_serialize_example(example) for example in examples]
    if context is None:
        return api.Input(example_list=api.ExampleList(examples=serialized))
    return api.Input(example_list_with_context=api.ExampleListWithContext(examples=serialized, context=context))


def classifications_document(result: api.ClassificationResult) -> dict[str, Any]:
    """Return the response to a Classify request: a label and a score for each class of each example."""
    return {"results": [[[c.label, shortest_float(c.score)] for c in row.classes] for row in result.classifications]}


def regressions_document(result: api.RegressionResult) -> dict[str, Any]:
    """Return the response to a Regress request: a number for each example."""
    return {"results": [shortest_float(row.value) for row in result.regressions]}


def _serialize_example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {_json_type(value)}")
    features = api.Features()
    for name, content in value.pairs if isinstance(value, RepeatedKeys) else value.items():
        feature = api.Feature()
        for item in content if isinstance(content, list) else [content]:
            _add_element(feature, name, item)
        # Protobuf's strings are UTF-8. Of a repeated name the last feature counts.
        features.feature[encode_text(name).decode(errors="replace")].CopyFrom(feature)
    return api.Example(features=features).SerializeToString()


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    return next((name for kind, name in _JSON_TYPES.items() if isinstance(value, kind)), "Number")


def _add_element(feature: api.Feature, name: str, value: Any) -> None:
    if value is None or isinstance(value, list) or (isinstance(value, dict) and not is_base64(value)):
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {_json_type(value)}")
    kind, item = _to_element(name, value)
    expected = feature.WhichOneof("kind")
    if expected not in (None, kind):
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {_ELEMENT_TYPES[expected]}")
    getattr(feature, kind).value.append(item)


def _to_element(name: str, value: Any) -> tuple[str, Any]:
    """Return the field of a feature that stores a JSON value, and the value to store."""
    if isinstance(value, dict):
        return "bytes_list", decode_base64(value)
    if isinstance(value, str):
        return "bytes_list", encode_text(value)
    if isinstance(value, float) or not -_INT64 <= value < 2 * _INT64:
        return "float_list", to_float(value, np.dtype(np.float32))
    if value >= _INT64:
        raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    return "int64_list", int(value)
