"""JSON documents: numbers that JSON does not have are refused by every REST API, in its own form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest

from bertbundle_gateway.core.errors import RequestError
from bertbundle_gateway.web.json_documents import dump_json
from fakes import LABELS, MAX_SPANS
from inference_forms import FORMS, Input
from text_api import TextApi, text_api

REFUSED = {
    "/v1/models/tagger:entities": {"texts": ["wang"]},
    "/v1/models/spans:entities": {"texts": ["wang"]},
    "/v1/models/classifier:classes": {"texts": ["wang"]},
    "/v1/models/regressor:values": {"texts": ["wang"]},
    "/v1/models/embedder:embeddings": {"texts": ["wang"]},
    "/v1/models/reader:answers": {"questions": [{"question": "in", "context": "berlin"}]},
    "/v1/models/filler:fills": {"texts": ["[MASK] lives"]},
    "/v1/models/joint:heads": {"texts": ["wang"]},
    "/v1/embeddings": {"model": "embedder", "input": "wang"},
    "/v1/embeddings?base64": {"model": "embedder", "input": ["wang"], "encoding_format": "base64"},
    "/models/tagger": {"inputs": "wang"},
    "/models/classifier": {"inputs": "wang"},
    "/models/classifier/pipeline/text-classification": {"inputs": ["wang"], "parameters": {"top_k": 1}},
    "/models/embedder": {"inputs": "wang"},
    "/models/embedder/pipeline/sentence-similarity": {"inputs": {"source_sentence": "wang", "sentences": ["in"]}},
    "/models/reader": {"inputs": {"question": "in", "context": "berlin"}},
    "/models/filler": {"inputs": "[MASK] lives"},
    "/models/embedder/embed": {"inputs": "wang"},
    "/models/embedder/embed?raw": {"inputs": "wang", "normalize": False},
    "/models/classifier/predict": {"inputs": "wang"},
    **{
        f"/v2/models/{model}/infer": {
            "inputs": [
                {"name": name, "datatype": "BYTES", "shape": [1], "data": ["[MASK] wang"]}
                for name in (("question", "context") if model == "reader" else ("text",))
            ]
        }
        for model in ("tagger", "spans", "classifier", "regressor", "embedder", "reader", "filler", "joint")
    },
}


def nan(*shape: int) -> Any:
    """Return a function that returns NaN for each row."""
    return lambda inputs: np.full((len(inputs["input_ids"]), *shape), np.nan, np.float32)


def nan_for_tokens(*shape: int) -> Any:
    """Return a function that returns NaN for each token."""
    return lambda inputs: np.full((*inputs["input_ids"].shape, *shape), np.nan, np.float32)


@pytest.fixture(scope="module")
def broken() -> Iterator[TextApi]:
    """A gateway in front of models whose numbers are NaN."""
    outputs = {
        "label_scores": nan_for_tokens(),
        "logits": nan_for_tokens(len(LABELS)),
        "scores": nan(3),
        "value": nan(),
        "sentence_embedding": nan(2),
        "span_scores": nan(MAX_SPANS),
        "start_logits": nan_for_tokens(),
        "end_logits": nan_for_tokens(),
        "token_scores": nan_for_tokens(2),
    }
    with text_api(outputs) as started:
        yield started


@pytest.mark.parametrize("path", REFUSED)
def test_not_finite(broken: TextApi, path: str) -> None:
    """A result with NaN or infinity is an error, whatever the API: in JSON it would become null."""
    status, answer = broken.post(path, REFUSED[path])
    assert status == (424 if path.partition("?")[0].endswith(("/embed", "/predict")) else 500), answer
    # NaN for a token would hide entities and answers: it is already refused by the client's decoders.
    is_refused_by_client = any(f"/{model}" in path for model in ("tagger", "reader", "joint"))
    message = "The log here has its answer" if is_refused_by_client else "NaN or infinity, which JSON does not have"
    assert message in str(answer["error"])


@pytest.mark.parametrize("form", [form for form in FORMS if form != "json"])
def test_not_finite_as_bytes(broken: TextApi, form: str) -> None:
    """The other forms of the Open Inference Protocol have NaN; in JSON within a string it is an error."""
    text = [Input("text", "BYTES", [1], [b"wang"])]
    embedding = FORMS[form](broken, "embedder", text, {}).outputs["embedding"]
    np.testing.assert_equal(embedding, [[np.nan, np.nan]])
    np.testing.assert_equal(FORMS[form](broken, "regressor", text, {}).outputs["value"], [np.nan])
    answer = FORMS[form](broken, "classifier", text, {})
    assert (answer.code, answer.message.partition(",")[0]) == ("INTERNAL", "The model returned NaN or infinity")


def test_null_is_not_nan() -> None:
    """None, and texts that look like it, are no numbers; numbers of numpy are found at any depth."""
    document = {"word": "null", "score": [None, 1.5, np.float32(2)], "ids": np.zeros(3, np.int32)}
    assert orjson.loads(dump_json(document)) == {"word": "null", "score": [None, 1.5, 2.0], "ids": [0, 0, 0]}
    for value in (float("nan"), float("-inf"), np.float32("nan"), np.array([[1, np.inf]]), [{"x": (np.nan,)}]):
        with pytest.raises(RequestError) as caught:
            dump_json({"a": [0.5], "b": value})
        assert caught.value.reason == "NOT_FINITE"
