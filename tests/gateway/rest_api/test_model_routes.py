"""The routes about models."""

from __future__ import annotations

from text_api import MODELS, TextApi, text_api


def test_list(api: TextApi) -> None:
    """The list has each model with its task and the route that answers it; the fields of OpenAI's list are there."""
    status, answer = api.get("/v1/models")
    assert (status, answer["object"]) == (200, "list")
    assert {model["id"]: model["task"] for model in answer["data"]} == MODELS
    routes = {model["id"]: model["route"] for model in answer["data"]}
    assert routes == {
        "classifier": ":classes",
        "embedder": ":embeddings",
        "filler": ":fills",
        "joint": ":heads",
        "reader": ":answers",
        "regressor": ":values",
        "spans": ":entities",
        "tagger": ":entities",
    }
    assert {(model["object"], model["owned_by"], model["created"]) for model in answer["data"]} == {
        ("model", "bertbundle", 0)
    }


def test_routes_in_the_list_answer(api: TextApi) -> None:
    """Each route of the list exists: it refuses the empty request by its field."""
    for model in api.get("/v1/models")[1]["data"]:
        status, answer = api.post(f"/v1/models/{model['id']}{model['route']}", {})
        assert (status, answer["error"]["details"][0]["reason"]) == (400, "MISSING_FIELD")


def test_one_model(api: TextApi) -> None:
    """A model is described with its labels, heads and versions."""
    status, model = api.get("/v1/models/joint:info")
    assert (status, model["task"], model["max_length"]) == (200, "multi-task", 12)
    assert model["heads"]["intent"] == {"task": "text-classification", "labels": ["no", "perhaps", "yes"]}
    assert {"version": 1, "state": "AVAILABLE"} in model["versions"]
    assert api.get("/v1/models/nobody:info")[0] == 404


def test_server_is_away() -> None:
    """A model whose server is away is in the list, with the reason why nothing is known about it."""
    with text_api() as api:
        api.server.stop()
        status, answer = api.get("/v1/models")
    assert (status, {model["task"] for model in answer["data"]}) == (200, {""})
    assert {model["error"] for model in answer["data"]} == {
        f"The server of model {model['id']!r} cannot be reached. Retry later." for model in answer["data"]
    }
