"""Hugging Face's inference API, called by `huggingface_hub.InferenceClient` and by @huggingface/inference."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from node import node_output
from text_api import TextApi, text_api

TEXT = "Wang lives in Berlin"


@pytest.fixture(scope="session")
def connect(api: TextApi) -> Callable[..., InferenceClient]:
    """A function that returns Hugging Face's client of a model, with nothing changed but the address."""
    return lambda model, task="": InferenceClient(
        model=f"{api.url}/models/{model}{f'/pipeline/{task}' if task else ''}"
    )


# The logits of a token are 10 for its label and 0 for the 4 others.
SCORE = math.exp(10) / (math.exp(10) + 4)


@pytest.mark.parametrize("task", ["", "token-classification"])
def test_token_classification(connect: Any, task: str) -> None:
    """Entities are groups of tokens unless the client asks for another strategy."""
    found = connect("tagger", task).token_classification(TEXT)
    assert [(item.entity_group, item.word, item.start, item.end) for item in found] == [
        ("PER", "wang", 0, 4),
        ("LOC", "berlin", 14, 20),
    ]
    assert found[0].score == pytest.approx(SCORE, rel=1e-6)
    tokens = connect("tagger", task).token_classification(
        TEXT, aggregation_strategy="none", ignore_labels=["O", "B-PER"]
    )
    assert [(item.entity, item.word, item.start) for item in tokens] == [("B-LOC", "ber", 14), ("I-LOC", "##lin", 17)]


def test_long_texts_are_split(connect: Any) -> None:
    """A long text is split into windows that share `stride` tokens."""
    (found,) = connect("tagger").token_classification("in " * 30 + "Berlin", stride=2)
    assert (found.start, found.end) == (90, 96)


def test_text_classification(connect: Any) -> None:
    """All labels are returned, best first, or the best `top_k`."""
    client = connect("classifier")
    assert [(item.label, item.score) for item in client.text_classification("wang")] == [
        ("perhaps", 0.75),
        ("yes", 0.5),
        ("no", 0.25),
    ]
    assert [item.label for item in client.text_classification("wang", top_k=2)] == ["perhaps", "yes"]


@pytest.mark.parametrize(
    ("function", "expected"),
    [("none", 2.0), ("sigmoid", 1 / (1 + math.exp(-2))), ("softmax", math.exp(2) / (math.exp(2) + math.e + 1))],
)
def test_function_to_apply(function: str, expected: float) -> None:
    """The function is applied to the logits."""
    import numpy as np

    logits = {"logits": lambda inputs: np.tile(np.array([0, 1, 2], np.float32), (len(inputs["input_ids"]), 1))}
    with text_api(logits) as api:
        client = InferenceClient(model=f"{api.url}/models/classifier")
        best = client.text_classification("wang", top_k=1, function_to_apply=function)
    assert (best[0].label, best[0].score) == ("yes", pytest.approx(expected, rel=1e-6))


def test_feature_extraction(connect: Any) -> None:
    """Embeddings are a matrix; they are normalized, and long texts truncated, only on request."""
    client = connect("embedder")
    assert client.feature_extraction("wang").tolist() == [[4, 3]]
    assert client.feature_extraction(["wang", "in"]).tolist() == [[4, 3], [6, 3]]
    assert client.feature_extraction("wang", normalize=True)[0] == pytest.approx([0.8, 0.6])
    truncated = client.feature_extraction("wang " * 50, truncate=True, truncation_direction="Right")
    assert truncated.tolist() == [[4, 12]]


def test_fill_mask(connect: Any) -> None:
    """The tokens for a mask are those of the model, the best `top_k`, or the targets."""
    client = connect("filler")
    filled = [(item.token_str, item.token, item.sequence, item.score) for item in client.fill_mask("[MASK] lives")]
    assert filled == [("wang", 4, "wang lives", 0.75), ("lives", 5, "lives lives", 0.25)]
    assert [item.token_str for item in client.fill_mask("[MASK] lives", top_k=1)] == ["wang"]
    assert [item.token_str for item in client.fill_mask("[MASK] lives", targets=["lives"])] == ["lives"]


def test_question_answering(connect: Any) -> None:
    """The answer is a span of the context; with `top_k` there are several."""
    client, context = connect("reader"), "lives in Berlin today"
    answer = client.question_answering("wang", "lives in Berlin")
    assert (answer.answer, answer.start, answer.end) == ("Berlin", 9, 15)
    answers = client.question_answering("wang", context, top_k=2, max_answer_len=3, align_to_words=False, doc_stride=2)
    assert {item.answer for item in answers} == {"Berlin", "today"}


def test_sentence_similarity(connect: Any) -> None:
    """The similarity is the cosine of the embeddings."""
    scores = connect("embedder").sentence_similarity("wang", ["in", "wang"])
    # The embeddings are [4, 3] and [6, 3].
    assert scores == pytest.approx([33 / (5 * math.sqrt(45)), 1], rel=1e-6)


REFUSED: list[tuple[str, str, Callable[[InferenceClient], Any], int, str]] = [
    ("tagger", "", lambda client: client.token_classification(""), 400, "Text 0 is empty"),
    (
        "tagger",
        "text-classification",
        lambda client: client.text_classification("x"),
        400,
        "is for token-classification",
    ),
    ("tagger", "", lambda client: client.question_answering("a", "b"), 400, "This model is for token-classification"),
    (
        "embedder",
        "",
        lambda client: client.feature_extraction("a", prompt_name="q"),
        400,
        "prompt_name is not supported",
    ),
    (
        "embedder",
        "",
        lambda client: client.feature_extraction("a", truncation_direction="Left"),
        400,
        "truncation_direction Left is not supported",
    ),
    ("embedder", "", lambda client: client.feature_extraction("a " * 50), 400, 'send "truncate": true'),
    ("classifier", "", lambda client: client.text_classification("a " * 50), 400, '"truncation": true'),
    (
        "reader",
        "",
        lambda client: client.question_answering("a", "b", max_seq_len=9),
        400,
        "does not support max_seq_len",
    ),
    (
        "reader",
        "",
        lambda client: client.question_answering("a", "b", max_question_len=9),
        400,
        "does not support max_question_len",
    ),
    ("filler", "", lambda client: client.fill_mask("[MASK]", top_k=9), 400, "returns only the best 2 tokens"),
    ("filler", "", lambda client: client.fill_mask("[MASK]", targets=["in"]), 400, "returns only the best 2 tokens"),
    ("joint", "", lambda client: client.token_classification("x"), 400, "/models/MODEL/pipeline/TASK"),
    ("regressor", "", lambda client: client.text_classification("x"), 400, "Use POST /v1/models/regressor:values"),
    ("spans", "", lambda client: client.token_classification("x"), 400, "Use POST /v1/models/spans:entities"),
    (
        "tagger",
        "",
        lambda client: client.token_classification("x", aggregation_strategy="best"),
        400,
        "parameters.aggregation_strategy must be 'none', 'simple'",
    ),
    ("tagger", "", lambda client: client.token_classification("\ud800"), 400, "not valid JSON in UTF-8"),
]


@pytest.mark.parametrize(("model", "task", "ask", "status", "message"), REFUSED)
def test_refused(connect: Any, model: str, task: str, ask: Any, status: int, message: str) -> None:
    """What cannot be followed is refused in the form that the client shows."""
    with pytest.raises(HfHubHTTPError) as raised:
        ask(connect(model, task))
    assert raised.value.response.status_code == status
    assert message in str(raised.value)


def test_head_of_a_model_with_several(connect: Any) -> None:
    """With the task in the URL, the head for it answers."""
    assert [item.word for item in connect("joint", "token-classification").token_classification(TEXT)] == [
        "wang",
        "berlin",
    ]
    assert connect("joint", "text-classification").text_classification("wang", top_k=1)[0].label == "perhaps"


def test_server_is_away() -> None:
    """The status is 502: with 503, @huggingface/inference would try again forever."""
    with text_api() as api:
        api.server.stop()
        with pytest.raises(HfHubHTTPError) as raised:
            InferenceClient(model=f"{api.url}/models/tagger").token_classification("wang")
    assert raised.value.response.status_code == 502


SCRIPT = """
import { InferenceClient } from "@huggingface/inference";
const ask = async ([model, method, args]) => {
  const client = new InferenceClient("", { endpointUrl: `${process.argv[2]}/models/${model}` });
  try { return await client[method](args); } catch (error) { return error.message; }
};
const results = [];
for (const call of JSON.parse(process.argv[3])) results.push(await ask(call));
console.log(JSON.stringify(results));
"""
CALLS: list[tuple[str, str, Any, Any]] = [
    (
        "classifier",
        "textClassification",
        {"inputs": "wang", "parameters": {"top_k": 1}},
        [{"label": "perhaps", "score": 0.75}],
    ),
    ("embedder", "featureExtraction", {"inputs": ["wang", "in"]}, [[4, 3], [6, 3]]),
    ("embedder", "sentenceSimilarity", {"inputs": {"source_sentence": "in", "sentences": ["in"]}}, [pytest.approx(1)]),
    (
        "nobody",
        "fillMask",
        {"inputs": "x"},
        "Failed to perform inference: There is no model 'nobody'. Check its name, version and label.",
    ),
]


def test_node(api: TextApi) -> None:
    """The npm package gets the same answers, and understands the errors."""
    calls = [
        *([model, method, args] for model, method, args, _ in CALLS),
        ["tagger", "tokenClassification", {"inputs": TEXT}],
        ["reader", "questionAnswering", {"inputs": {"question": "wang", "context": "lives in Berlin"}}],
        ["filler", "fillMask", {"inputs": "[MASK] lives"}],
    ]
    output = node_output(SCRIPT, api.url, json.dumps(calls), packages=("@huggingface/inference",))
    *results, entities, answer, fills = json.loads(output)
    assert results == [expected for _, _, _, expected in CALLS]
    assert [item["word"] for item in entities] == ["wang", "berlin"]
    assert answer["answer"] == "Berlin"
    assert [item["token_str"] for item in fills] == ["wang", "lives"]
