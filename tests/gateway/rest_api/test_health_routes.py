"""The gateway's `/healthz` and `/readyz`."""

from __future__ import annotations

from fakes import FakeServer, predict_method, status_method
from gateways import running_gateway
from http_calls import fetch_json
from text_api import MODELS, TextApi, text_api


def test_ready(api: TextApi) -> None:
    """A gateway whose models are all available is ready."""
    assert api.get("/healthz") == (200, {"alive": True})
    assert api.get("/readyz") == (200, {"ready": True})


def test_server_is_away() -> None:
    """Without its server the gateway lives, but is not ready: each model has a reason."""
    with text_api() as api:
        api.server.stop()
        assert api.get("/healthz")[0] == 200
        status, answer = api.get("/readyz")
    assert (status, answer["ready"]) == (503, False)
    assert all(
        answer["models"][name] == f"The server of model {name!r} cannot be reached. Retry later." for name in MODELS
    )


def test_server_without_named_models() -> None:
    """With the address of a server alone, the gateway is ready when the server answers."""
    server = FakeServer(predict_method(), status_method)
    with running_gateway(server.address, rest_port=0) as running:
        url = f"http://127.0.0.1:{running.gateway.rest_port}/readyz"
        assert fetch_json(url) == (200, {"ready": True})
        server.stop()
        assert fetch_json(url) == (
            503,
            {
                "ready": False,
                "reason": "not available: *",
                "models": {"*": "The server of the other models cannot be reached. Retry later."},
            },
        )
