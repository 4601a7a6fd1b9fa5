"""The gateway's `/monitoring/prometheus/metrics`."""

from __future__ import annotations

import http.client
import json
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from bertbundle.text.v1 import text_service_pb2 as pb
from bertbundle_gateway.rest_api.metrics_route import METRICS_PATH
from embedded_server import start_server
from fakes import write_bundle
from http_calls import fetch
from inference_forms import FORMS, Input
from paths import ROOT
from series import read_series, request_counts
from text_api import MODELS, TextApi, text_api
from waiting import SECONDS, wait_until

TEXT = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["wang"]}
TAGGER = pb.ModelSelector(name="tagger")


def counts(api: TextApi) -> dict[tuple[str, ...], float]:
    """Return the requests that a gateway has counted."""
    return request_counts(fetch(api.url + METRICS_PATH)[2])


def test_scrape(make_stub: Any) -> None:
    """Requests of both ports count, over the text API and the others, by model, method and code."""
    with text_api() as api, grpc.insecure_channel(api.address) as channel:
        status, headers, body = fetch(api.url + METRICS_PATH)
        assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        series = read_series(body)
        for model in MODELS:
            labels = f'code="UNAVAILABLE",method="entities",model="{model}"'
            assert series[f"bertbundle_gateway_requests_total{{{labels}}}"] == 0
        assert series["bertbundle_gateway_requests_in_flight_limit"] == 512
        stub = make_stub(channel)
        stub.FindEntities(pb.FindEntitiesRequest(model=TAGGER, texts=["wang", ""]), timeout=20)
        for request in (pb.FindEntitiesRequest(model=TAGGER), pb.FindEntitiesRequest(model=pb.ModelSelector(name="x"))):
            with pytest.raises(grpc.RpcError):
                stub.FindEntities(request, timeout=20)
        assert api.post("/v1/models/tagger:entities", {"texts": ["wang"]})[0] == 200
        assert api.post("/v1/models/invented:entities", {"texts": ["wang"]})[0] == 404
        assert api.post("/models/invented", {"inputs": "wang"})[0] == 404
        assert api.post("/v1/models/tagger:entities", {"texts": []})[0] == 400
        ids = [Input(name, "INT32", [1, 4], (1, 1, 1, 1)) for name in ("input_ids", "attention_mask", "token_type_ids")]
        for form in FORMS.values():
            assert form(api, "regressor", ids, {"signature_name": "length_4"}).code == "OK"
        assert counts(api) == {
            ("tagger", "entities", "OK"): 2,
            ("tagger", "entities", "INVALID_ARGUMENT"): 2,
            ("", "entities", "INVALID_ARGUMENT"): 1,
            ("", "entities", "NOT_FOUND"): 1,
            ("", "describe", "NOT_FOUND"): 1,
            ("regressor", "predict", "OK"): len(FORMS),
        }
        after = read_series(fetch(api.url + METRICS_PATH)[2])
        assert after['bertbundle_gateway_texts_total{method="entities",model="tagger"}'] == 3
        assert not [name for name in after if "invented" in name or 'model="x"' in name]


def test_server_that_is_away() -> None:
    """Requests that failed because a server is away count as UNAVAILABLE."""
    with text_api() as api:
        api.server.stop()
        assert api.post("/v2/models/tagger/infer", {"inputs": [TEXT]})[0] == 503
        assert counts(api) == {("tagger", "describe", "UNAVAILABLE"): 1}


def test_callers_that_leave(make_stub: Any) -> None:
    """Requests in flight are visible during a scrape; those whose callers leave count as CANCELLED."""
    end = threading.Event()

    def wait(inputs: Any) -> Any:
        end.wait(SECONDS)
        return inputs["input_ids"]

    def in_flight() -> float:
        return read_series(fetch(api.url + METRICS_PATH)[2])["bertbundle_gateway_requests_in_flight"]

    with text_api({"value": wait}) as api, grpc.insecure_channel(api.address) as channel:
        request = pb.RegressRequest(model=pb.ModelSelector(name="regressor"), texts=["wang"])
        call = make_stub(channel).Regress.future(request, timeout=SECONDS)
        connection = http.client.HTTPConnection(api.url.removeprefix("http://"))
        connection.request("POST", "/v1/models/regressor:values", json.dumps({"texts": ["wang"]}))
        wait_until(lambda: in_flight() == 2)
        call.cancel()
        connection.close()
        wait_until(lambda: in_flight() == 0)
        assert counts(api) == {("regressor", "regress", "CANCELLED"): 2}
        end.set()


def test_deadlines(make_stub: Any) -> None:
    """A request whose deadline passes counts as DEADLINE_EXCEEDED, which its caller receives, and not as CANCELLED."""
    end = threading.Event()

    def wait(inputs: Any) -> Any:
        end.wait(SECONDS)
        return inputs["input_ids"]

    with (
        text_api({"value": wait}, rest_timeout_seconds=1.5) as api,
        grpc.insecure_channel(api.address) as channel,
    ):
        request = pb.RegressRequest(model=pb.ModelSelector(name="regressor"), texts=["wang"])
        call = make_stub(channel).Regress.future(request, timeout=1.5)
        stream = make_stub(channel).Annotate(iter([pb.AnnotateRequest(regress=request)]), timeout=1.5)
        assert api.post("/v1/models/regressor:values", {"texts": ["wang"]})[0] == 504
        for answer in (call.result, lambda: next(stream)):
            with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
                answer()
        wait_until(lambda: counts(api) == {("regressor", "regress", "DEADLINE_EXCEEDED"): 3})
        end.set()


def test_keys(tmp_path: Path) -> None:
    """With keys, the metrics need one, because they name the models; errors have the form of the text API."""
    (tmp_path / "keys").write_text("secret\n")
    with text_api(api_keys_file=tmp_path / "keys") as api:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            status, answered, body = fetch(api.url + METRICS_PATH, headers=headers)
            assert (status, answered["www-authenticate"]) == (401, "Bearer")
            assert json.loads(body)["error"]["status"] == "UNAUTHENTICATED"
        status, _, body = fetch(api.url + METRICS_PATH, headers={"Authorization": "Bearer secret"})
        assert (status, request_counts(body)) == (200, {})


def test_only_get(api: TextApi) -> None:
    """Another HTTP method is refused as on all routes, and the path is none of the documented APIs."""
    status, answer = api.post(METRICS_PATH, {})
    assert (status, answer["error"]["details"][0]["reason"]) == (405, "NO_SUCH_ROUTE")
    assert METRICS_PATH not in api.get("/openapi.json")[1]["paths"]


@pytest.mark.slow
@pytest.mark.parametrize("has_metrics", [False, True])
def test_embedded_server(tmp_path: Path, has_metrics: bool) -> None:
    """An embedded server with the text API has its own metrics at the path, if it is told to, and not the gateway's."""
    write_bundle(tmp_path / "tiny")
    assert METRICS_PATH in (ROOT / "serving/deploy/monitoring.config").read_text(encoding="utf-8")
    options = {"metrics_path": METRICS_PATH} if has_metrics else {}
    server = start_server(tmp_path / "tiny", rest_port=0, text_api=True, poll_seconds=0, **options)
    try:
        status, _, body = fetch(f"http://127.0.0.1:{server.server.rest_port}{METRICS_PATH}")
    finally:
        server.stop()
    assert status == (200 if has_metrics else 404)
    assert (b"bertbundle_queue_depth" in body) == has_metrics
    assert b"bertbundle_gateway_" not in body
