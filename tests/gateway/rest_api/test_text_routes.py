"""The text API over REST, in front of a small model of each task."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import FakeServer, Model, make_manifest, predict_method, status_method
from gateways import running_gateway
from text_api import TextApi, text_api
from waiting import wait_until

TEXT = "😀 Wang lives in Berlin"


def reason(answer: Any) -> str:
    """Return the reason in an error."""
    (info,) = answer["error"]["details"]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    return str(info["reason"])


ANSWERS = [
    ("classifier:classes", {"texts": ["wang"], "top_k": 1}, {"label": "perhaps", "scores": {"perhaps": 0.75}}),
    ("classifier:classes", {"texts": [["wang", "in"]]}, {"label": "perhaps", "labels": ["perhaps"], "score": 0.75}),
    ("regressor:values", {"texts": ["wang"]}, {"value": 4.0}),
    ("embedder:embeddings", {"texts": ["wang in"]}, {"embedding": [4.0, 4.0]}),
    (
        "reader:answers",
        {"questions": [{"question": "wang", "context": "😀 in Berlin"}], "offset_unit": "utf8"},
        {"text": "Berlin", "start": 8, "end": 14},
    ),
    ("joint:heads", {"texts": ["in"]}, {"heads": {}}),
]


@pytest.mark.parametrize(("path", "body", "expected"), ANSWERS, ids=[path for path, _, _ in ANSWERS])
def test_each_method_has_a_route(api: TextApi, path: str, body: Any, expected: dict[str, Any]) -> None:
    """A route answers the texts of its task with one result for each."""
    status, answer = api.post(f"/v1/models/{path}", body)
    assert (status, answer["model"], answer["model_version"]) == (200, path.split(":")[0], 1)
    (result,) = answer["results"]
    if "heads" in expected:
        assert result["heads"]["intent"]["label"] == "no"
        assert result["heads"]["slots"] == {"entities": []}
    else:
        assert {name: result[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("unit", "start", "end"), [(None, 2, 6), ("code_points", 2, 6), ("utf16", 3, 7), ("utf8", 5, 9)]
)
def test_offsets_have_a_unit(api: TextApi, unit: str | None, start: int, end: int) -> None:
    """Offsets are code points unless the request names another unit; they refer to the text as it was sent."""
    status, answer = api.post(
        "/v1/models/tagger:entities", {"texts": [TEXT], **({"offset_unit": unit} if unit else {})}
    )
    wang = answer["results"][0]["entities"][0]
    assert (status, wang["label"], wang["text"], wang["start"], wang["end"]) == (200, "PER", "Wang", start, end)


def test_masks(api: TextApi) -> None:
    """Each mask of a text has its tokens; a text without a mask has none."""
    status, answer = api.post("/v1/models/filler:fills", {"texts": ["[MASK] lives", "wang"], "top_k": 1})
    assert status == 200
    filled, unfilled = (result["masks"] for result in answer["results"])
    assert [[(fill["token"], fill["text"], fill["start"], fill["end"]) for fill in fills] for fills in filled] == [
        [("wang", "wang lives", 0, 6)]
    ]
    assert unfilled == []


def test_words(api: TextApi) -> None:
    """Words are joined by single spaces."""
    status, answer = api.post("/v1/models/tagger:entities", {"texts": [["in", "Berlin"]], "is_split_into_words": True})
    assert status == 200
    assert [(item["text"], item["start"]) for item in answer["results"][0]["entities"]] == [("Berlin", 3)]


def test_bad_texts_do_not_fail_the_others(api: TextApi) -> None:
    """An invalid text has an error as its result, and the others have theirs."""
    texts = ["", "wang", "wang " * 50, "\x00"]
    status, answer = api.post("/v1/models/classifier:classes", {"texts": texts})
    assert status == 200
    kinds = [result.get("error", {}).get("reason", result.get("label")) for result in answer["results"]]
    assert kinds == ["EMPTY_TEXT", "perhaps", "TEXT_TOO_LONG", "INVALID_TEXT"]


def test_no_text_has_a_result(api: TextApi) -> None:
    """If no text has a result, the status is that of the first error, and the results are there as well."""
    status, answer = api.post("/v1/models/tagger:entities", {"texts": ["", "  "]})
    assert (status, answer["error"]["status"], reason(answer)) == (400, "INVALID_ARGUMENT", "EMPTY_TEXT")
    assert len(answer["results"]) == 2


@pytest.mark.parametrize(("truncation", "status"), [("error", 400), ("truncate", 200), ("window", 200), (None, 200)])
def test_truncation(api: TextApi, truncation: str | None, status: int) -> None:
    """A long text is an error, truncated or split, as the request says."""
    answer = api.post("/v1/models/tagger:entities", {"texts": ["in " * 30 + "Berlin"], "truncation": truncation})
    assert answer[0] == status
    if status == 400:
        assert reason(answer[1]) == "TEXT_TOO_LONG"
    else:
        found = [item["text"] for item in answer[1]["results"][0]["entities"]]
        assert found == ([] if truncation == "truncate" else ["Berlin"])


def test_wrong_task(api: TextApi) -> None:
    """The error for a model of another task names its task and the route that answers it."""
    status, answer = api.post("/v1/models/tagger:embeddings", {"texts": ["wang"]})
    assert (status, reason(answer)) == (400, "WRONG_TASK")
    assert "token-classification" in answer["error"]["message"]
    assert answer["error"]["message"].endswith("Use POST /v1/models/tagger:entities.")


BAD_REQUESTS = [
    ({"texts": ["wang"], "colour": 1}, "UNKNOWN_FIELD", "Unknown field colour, the fields are "),
    ({"texts": "wang"}, "INVALID_FIELD", "The field texts must be a valid list."),
    ({"texts": ["wang", 7]}, "INVALID_FIELD", "The field texts[1] must be a valid string."),
    ({"texts": []}, "NO_TEXTS", "The request has no texts."),
    ({}, "MISSING_FIELD", "The field texts is missing."),
    ({"texts": ["wang"], "stride": -1}, "INVALID_FIELD", "The field stride must be greater than or equal to 0."),
    ({"texts": ["wang"], "stride": 1.5}, "INVALID_FIELD", "The field stride must be a valid integer."),
    ({"texts": ["wang"], "stride": True}, "INVALID_FIELD", "The field stride must be a valid integer."),
    ({"texts": ["wang"], "head": "none"}, "INVALID_TEXT", "Model 'tagger' has one head"),
    ({"texts": ["wang"] * 101}, "TOO_MANY_TEXTS", "The request has 101 texts, at most 100 are accepted."),
    ({"texts": ["w" * 10_001]}, "TOO_MANY_CHARACTERS", "The request has 10001 characters"),
    (
        {"texts": ["wang"], "truncation": "some"},
        "INVALID_FIELD",
        "The field truncation must be 'window', 'truncate' or",
    ),
]


@pytest.mark.parametrize(("body", "expected", "message"), BAD_REQUESTS)
def test_bad_requests(api: TextApi, body: Any, expected: str, message: str) -> None:
    """A request with an unknown field or a wrong value is refused by name."""
    status, answer = api.post("/v1/models/tagger:entities", body)
    assert (status, reason(answer)) == (400, expected)
    assert answer["error"]["message"].startswith(message)


def test_no_model(api: TextApi) -> None:
    """A model that no server has is not found, with the name that was asked for."""
    with running_gateway(api.server.address, rest_port=0) as running:
        other = TextApi(f"http://127.0.0.1:{running.gateway.rest_port}", api.server)
        status, answer = other.post("/v1/models/nobody:entities", {"texts": ["wang"]})
    assert (status, reason(answer)) == (404, "MODEL_NOT_FOUND")
    assert "'nobody'" in answer["error"]["message"]


def test_versions() -> None:
    """A request may name the version that answers; another one is not found."""
    server = FakeServer(predict_method(Model(make_manifest(), version=7)), status_method)
    with running_gateway(server.address, rest_port=0) as running:
        api = TextApi(f"http://127.0.0.1:{running.gateway.rest_port}", server)
        assert api.post("/v1/models/tiny:entities", {"texts": ["wang"], "version": 7})[1]["model_version"] == 7
        both = api.post("/v1/models/tiny:entities", {"texts": ["wang"], "version": 7, "label": "stable"})
    server.stop()
    assert (both[0], reason(both[1])) == (400, "INVALID_VERSION")


def test_server_is_away() -> None:
    """If the server of the model is away, the status is 503; when it is back, the gateway answers again."""
    with text_api() as api:
        assert api.post("/v1/models/tagger:entities", {"texts": ["wang"]})[0] == 200
        api.server.stop()
        status, answer = api.post("/v1/models/tagger:entities", {"texts": ["wang"]})
        assert (status, reason(answer)) == (503, "SERVER_UNAVAILABLE")
        assert "127.0.0.1" not in answer["error"]["message"]
        models = {"tagger": Model(make_manifest())}
        again = FakeServer(predict_method(models=models), status_method, listen=api.server.address)
        # gRPC waits up to some seconds before it connects again.
        wait_until(lambda: api.post("/v1/models/tagger:entities", {"texts": ["wang"]})[0] == 200)
        again.stop()
