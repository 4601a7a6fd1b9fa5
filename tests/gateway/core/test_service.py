"""The service behind all text APIs, against the client that it is built on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from bertbundle import AsyncClient, InvalidRequest, ModelNotFound, PredictCall, Prediction, ServerUnavailable
from bertbundle.decoding.decoders import DECODERS
from bertbundle.session.batches import AskOptions
from bertbundle_gateway.core.batching import BatchingTransport
from bertbundle_gateway.core.errors import ItemError, RequestError
from bertbundle_gateway.core.limits import Limits
from bertbundle_gateway.core.methods import METHOD_OF_TASK, METHODS, Options
from bertbundle_gateway.core.metrics import GatewayMetrics
from bertbundle_gateway.core.models import ClientSettings, ModelRef, Models
from bertbundle_gateway.core.servers import ServerBackend, Servers
from bertbundle_gateway.core.service import TextService
from fakes import FakeAsyncTransport, Model, make_manifest
from gateways import make_service
from series import read_series, request_counts

pytestmark = pytest.mark.anyio
TINY = ModelRef("tiny")
TEXTS = ["wang lives in berlin", "王建国", "in", "[MASK] lives", "wang " * 40]
EVERY_TASK = pytest.mark.parametrize("task", METHOD_OF_TASK)


def transport(task: str, **changes: Any) -> FakeAsyncTransport:
    """Return a transport to a model for a task."""
    return FakeAsyncTransport(Model(make_manifest(task, **changes)))


def items_of(method: str, texts: list[str]) -> list[Any]:
    """Return the items that a method takes."""
    return [("in", text) for text in texts] if METHODS[method].takes == "pair" else list(texts)


async def from_client(task: str, method: str, texts: list[str], **options: Any) -> list[Any]:
    """Return what the client's method returns for each text."""
    client = AsyncClient("", "tiny", transport=transport(task))
    ask = getattr(client, method)
    arguments = [("in", text) for text in texts] if method == "answer" else [(text,) for text in texts]
    return [await ask(*values, **options) for values in arguments]


@EVERY_TASK
async def test_results(task: str) -> None:
    """The results are those of the client's method of the same name, whatever else is in flight."""
    method = METHOD_OF_TASK[task]
    service = make_service(BatchingTransport(transport(task), in_flight=1))
    texts = TEXTS[:4] if task == "span-classification" else TEXTS
    options: dict[str, Any] = {"truncation": "window", "stride": 2}
    expected = await from_client(task, method, texts, **options)
    requests = [service.annotate(TINY, method, items_of(method, texts), Options(**options)) for _ in range(4)]
    for results in await asyncio.gather(*requests):
        np.testing.assert_equal(list(results), expected)
        assert results.version == 1


@EVERY_TASK
async def test_a_bad_text_does_not_fail_the_others(task: str) -> None:
    """An empty text and one that is too long have errors in their places, which do not quote them."""
    method = METHOD_OF_TASK[task]
    long_text = "Berlin " * 40
    items = items_of(method, ["wang", " ", long_text, "wang", "\x00", "\ud800 in"])
    results = await make_service(transport(task)).annotate(TINY, method, items, Options(truncation="error"))
    reasons = [result.reason if isinstance(result, ItemError) else "" for result in results]
    assert reasons == ["", "EMPTY_TEXT", "TEXT_TOO_LONG", "", "INVALID_TEXT", "INVALID_UNICODE"]
    assert "erlin" not in str(results)
    assert "wang" not in str([result for result in results if isinstance(result, ItemError)])
    np.testing.assert_equal(results[0], results[3])


async def test_many_items_are_refused_unread() -> None:
    """Only as many items are checked one by one as are accepted: the event loop waits for it."""

    class Items(list[Any]):
        def __iter__(self) -> Any:
            raise AssertionError("all items are read")

    with pytest.raises(RequestError) as caught:
        await make_service(transport("regression"), Limits(texts=2)).annotate(TINY, "regress", Items(["wang"] * 3))
    assert caught.value.reason == "TOO_MANY_TEXTS"


@EVERY_TASK
async def test_wrong_task(task: str) -> None:
    """Every other method is refused, with the task of the model and the method that answers it."""
    service = make_service(transport(task))
    for name, method in METHODS.items():
        heads = ("token-classification", "text-classification") if task == "multi-task" else (task,)
        if {task, *heads} & set(method.tasks):
            continue
        with pytest.raises(RequestError) as caught:
            await service.annotate(TINY, name, items_of(name, ["wang"]))
        assert (caught.value.code, caught.value.reason) == ("FAILED_PRECONDITION", "WRONG_TASK")
        assert task in caught.value.message
        assert caught.value.right_method == METHOD_OF_TASK[task]


async def test_heads() -> None:
    """A head is chosen by name; a wrong name, or a method for another head's task, is refused with the heads."""
    service = make_service(transport("multi-task"))
    (entities,) = await service.annotate(TINY, "entities", ["wang"], Options(head="slots"))
    assert [entity.label for entity in entities] == ["PER"]
    with pytest.raises(RequestError, match="no head 'none', its heads are intent") as unknown:
        await service.annotate(TINY, "entities", ["wang"], Options(head="none"))
    assert unknown.value.code == "INVALID_ARGUMENT"
    with pytest.raises(RequestError, match="head 'intent' of model 'tiny' is for text-classification") as wrong:
        await service.annotate(TINY, "entities", ["wang"], Options(head="intent"))
    assert wrong.value.right_method == "classify"
    with pytest.raises(RequestError, match="single texts only"):
        await service.annotate(TINY, "heads", [("wang", "in")])


@pytest.mark.parametrize("error", [TypeError("inner"), ValueError("inner")], ids=lambda error: type(error).__name__)
async def test_bugs_are_no_fault_of_the_caller(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """An exception in a decoder is not taken for a wrong kind of item; it is logged as an internal error."""

    def fail(_: object) -> Any:
        raise error

    service = make_service(transport("multi-task"), log_requests=True)
    decoder = dataclasses.replace(DECODERS["multi-task"], decode=fail)
    with caplog.at_level(logging.INFO, "bertbundle_gateway.requests"), pytest.raises(type(error), match="inner"):
        await service.ask(TINY, "heads", ["wang"], decoder, AskOptions(keep_errors=True))
    assert vars(caplog.records[-1])["fields"]["code"] == "INTERNAL"


async def test_limits() -> None:
    """Limits are checked before anything is tokenized; requests beyond those in flight are refused."""
    inner = transport("token-classification")
    service = make_service(inner, Limits(texts=2, characters=10, requests=1))
    for items, reason in (([], "NO_TEXTS"), (["a"] * 3, "TOO_MANY_TEXTS"), (["a" * 11], "TOO_MANY_CHARACTERS")):
        with pytest.raises(RequestError) as caught:
            await service.annotate(TINY, "entities", items)
        assert caught.value.reason == reason
    assert not inner.sync.calls
    results = await asyncio.gather(
        *[service.annotate(TINY, "entities", ["wang"]) for _ in range(3)], return_exceptions=True
    )
    assert [getattr(result, "code", "OK") for result in results] == ["OK", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"]
    await service.annotate(TINY, "entities", ["wang"])


class Away(FakeAsyncTransport):
    """A transport whose calls fail."""

    def __init__(self, error: type[ModelNotFound | ServerUnavailable]) -> None:
        super().__init__(Model())
        self.error = error

    async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
        """Fail."""
        del call, timeout
        raise self.error("call to 10.0.0.1:8500 failed", code="X")


@pytest.mark.parametrize(
    ("error", "code"), [(ModelNotFound, "NOT_FOUND"), (ServerUnavailable, "UNAVAILABLE")], ids=["missing", "away"]
)
async def test_server_errors(error: Any, code: str, caplog: pytest.LogCaptureFixture) -> None:
    """A failure of the server is an error of the request, without its address, which is logged."""
    with caplog.at_level(logging.WARNING), pytest.raises(RequestError) as caught:
        await make_service(Away(error)).annotate(TINY, "entities", ["wang"], timeout=5)
    assert caught.value.code == code
    assert "10.0.0.1" not in caught.value.message
    assert "10.0.0.1" in caplog.text


async def test_deadline() -> None:
    """A request ends at the caller's deadline."""

    class Slow(FakeAsyncTransport):
        async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
            await asyncio.sleep(timeout)
            return await super().predict(call, timeout=timeout)

    with pytest.raises(RequestError) as caught:
        await make_service(Slow(Model())).annotate(TINY, "entities", ["wang"], timeout=0.01)
    assert caught.value.code == "DEADLINE_EXCEEDED"


async def test_tensors_of_several_callers() -> None:
    """Calls with tensors are made as they are: inputs of several callers that are all wrong are not right together."""

    class Sum(FakeAsyncTransport):
        async def predict(self, call: PredictCall, *, timeout: float) -> Prediction:
            del timeout
            await asyncio.sleep(0)
            if len(call.inputs["left"]) != len(call.inputs["right"]):
                raise InvalidRequest("rows", code="INVALID_ARGUMENT", details="different numbers of rows")
            return Prediction({"sum": call.inputs["left"] + call.inputs["right"]}, 1)

    backend = ServerBackend(Servers("a:1", {}), lambda _: Sum(Model()), batches_in_flight=1)
    service = TextService(Models(backend, ClientSettings()))

    def predict(left: int, right: int) -> Awaitable[Prediction]:
        inputs = {"left": np.full((left, 1), left), "right": np.full((right, 1), right)}
        return service.predict(PredictCall("any", "serving_default", inputs), timeout=20)

    results = await asyncio.gather(predict(1, 1), predict(2, 1), predict(1, 2), predict(2, 2), return_exceptions=True)
    first, *wrong, last = results
    assert isinstance(first, Prediction)
    assert isinstance(last, Prediction)
    assert (first.outputs["sum"].tolist(), last.outputs["sum"].tolist()) == ([[2]], [[4], [4]])
    assert [getattr(error, "reason", "") for error in wrong] == ["INVALID_TENSORS"] * 2


async def test_describe() -> None:
    """A model is described by its manifest and the states of its versions."""
    service = make_service(transport("regression"))
    info = await service.describe(TINY)
    assert (info.name, info.manifest.task, info.method) == ("tiny", "regression", "regress")
    assert [version.state for version in info.versions] == ["AVAILABLE"]
    assert service.models() == ["tiny"]
    with pytest.raises(RequestError, match="no model 'other'"):
        await service.describe(ModelRef("other"))


async def test_describe_after_a_change_of_version() -> None:
    """A description is that of the version that answers now, even if nobody has asked it anything yet."""
    inner = transport("text-classification")
    service = make_service(inner)
    assert (await service.describe(TINY)).manifest.labels == ("no", "perhaps", "yes")
    new = dataclasses.replace(make_manifest("text-classification"), labels=("bad", "so-so", "good"))
    inner.sync.models = [Model(new, version=2)]
    assert (await service.describe(TINY)).manifest.labels == ("bad", "so-so", "good")
    calls = len(inner.sync.calls)
    assert (await service.describe(TINY)).manifest.labels == ("bad", "so-so", "good")
    assert len(inner.sync.calls) == calls, "it is requested again only if the version has changed"


async def test_request_log(caplog: pytest.LogCaptureFixture) -> None:
    """A line for each request, failed ones included, never with a text."""
    service = make_service(transport("token-classification"), log_requests=True)
    with caplog.at_level(logging.INFO, "bertbundle_gateway.requests"):
        await service.annotate(TINY, "entities", ["wang", "berlin"])
        with pytest.raises(RequestError):
            await service.annotate(TINY, "embed", ["wang"])
    fields = [vars(record)["fields"] for record in caplog.records]
    assert [(line["method"], line["texts"], line["code"]) for line in fields] == [
        ("entities", 2, "OK"),
        ("embed", 1, "FAILED_PRECONDITION"),
    ]
    assert "wang" not in caplog.text + str(fields)


ROWS = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), np.array([[2, 4, 6, 3]]))
TENSORS = PredictCall("tiny", "length_4", ROWS, ("label_ids",))
TOP_1 = Options(top_k=1)
NOBODY = ModelRef("nobody")
NER = DECODERS["token-classification"]
COUNTED: list[tuple[str, str, str, Callable[[TextService], Awaitable[Any]]]] = [
    ("tiny", "entities", "OK", lambda service: service.annotate(TINY, "entities", ["wang", ""])),
    ("tiny", "entities", "OK", lambda service: service.ask(TINY, "entities", ["in"], NER, AskOptions())),
    ("tiny", "entities", "INVALID_ARGUMENT", lambda service: service.annotate(TINY, "entities", [])),
    ("tiny", "entities", "INVALID_ARGUMENT", lambda service: service.annotate(TINY, "entities", ["in"], TOP_1)),
    ("tiny", "entities", "INVALID_ARGUMENT", lambda service: service.annotate(TINY, "entities", [("in", "in")])),
    ("tiny", "embed", "FAILED_PRECONDITION", lambda service: service.annotate(TINY, "embed", ["wang"])),
    ("", "entities", "NOT_FOUND", lambda service: service.annotate(NOBODY, "entities", ["wang"])),
    ("tiny", "describe", "OK", lambda service: service.describe(TINY)),
    ("", "describe", "NOT_FOUND", lambda service: service.describe(NOBODY)),
    ("", "describe", "NOT_FOUND", lambda service: service.manifest(NOBODY)),
    ("tiny", "predict", "OK", lambda service: service.predict(TENSORS, timeout=20)),
    (
        "tiny",
        "predict",
        "INVALID_ARGUMENT",
        lambda service: service.predict(dataclasses.replace(TENSORS, signature="other"), timeout=20),
    ),
    (
        "",
        "predict",
        "NOT_FOUND",
        lambda service: service.predict(dataclasses.replace(TENSORS, model="nobody"), timeout=20),
    ),
]


@pytest.mark.parametrize(("model", "method", "code", "request_of"), COUNTED)
async def test_counted_requests(
    model: str, method: str, code: str, request_of: Callable[[TextService], Awaitable[Any]]
) -> None:
    """A request counts once, by model, method and code, whichever step refuses it."""
    metrics = GatewayMetrics(["tiny"])
    service = make_service(transport("token-classification"), metrics=metrics)
    with contextlib.nullcontext() if code == "OK" else pytest.raises(RequestError):
        await request_of(service)
    assert request_counts(metrics.exposition()) == {(model, method, code): 1}


async def test_counted_texts() -> None:
    """The texts of requests that are answered count, and the time of these requests; a manifest is no request."""
    metrics = GatewayMetrics(["tiny"])
    service = make_service(transport("token-classification"), Limits(requests=1), metrics=metrics)
    await service.manifest(TINY)
    requests = [service.annotate(TINY, "entities", ["wang", ""]) for _ in range(2)]
    await asyncio.gather(*requests, return_exceptions=True)
    assert request_counts(metrics.exposition()) == {
        ("tiny", "entities", "OK"): 1,
        ("tiny", "entities", "RESOURCE_EXHAUSTED"): 1,
    }
    series = read_series(metrics.exposition())
    assert series['bertbundle_gateway_texts_total{method="entities",model="tiny"}'] == 2
    assert series['bertbundle_gateway_request_seconds_count{method="entities",model="tiny"}'] == 1
    assert series["bertbundle_gateway_requests_in_flight_limit"] == 1
