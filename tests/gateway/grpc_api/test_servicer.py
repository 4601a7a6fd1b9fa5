"""TextService over gRPC, called with the stub that protoc generates."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from bertbundle import Client
from bertbundle.text.v1 import text_service_pb2 as pb
from bertbundle_gateway.core.methods import METHOD_OF_TASK
from bertbundle_gateway.grpc_api.methods import RPC_OF_METHOD, RPCS
from bertbundle_gateway.grpc_api.servicer import _Servicer
from fakes import FakeServer, FakeTransport, Model, connect, make_manifest, predict_method, status_method
from gateways import MODEL, RunningGateway, running_gateway
from waiting import wait_until

TEXT = "😀é wang lives in berlin"
StartServer = Callable[..., FakeServer]


def call(running: RunningGateway, name: str, data: bytes, metadata: Any = ()) -> bytes:
    """Call a method with bytes."""
    path = f"/bertbundle.text.v1.TextService/{name}"
    response: bytes = running.channel.unary_unary(path)(data, metadata=metadata, timeout=20)
    return response


@pytest.fixture(scope="module")
def gateways() -> Iterator[dict[str, RunningGateway]]:
    """A gateway for each task."""
    with contextlib.ExitStack() as stack:
        running = {}
        for task in METHOD_OF_TASK:
            server = FakeServer(predict_method(Model(make_manifest(task))), status_method)
            stack.callback(server.stop)
            running[task] = stack.enter_context(running_gateway(server.address))
        yield running


@pytest.fixture
def ner(gateways: dict[str, RunningGateway], make_stub: Any) -> Any:
    """The stub of a gateway for token classification."""
    return make_stub(gateways["token-classification"].channel)


def client(task: str) -> Client:
    """Return the Python client of the model for a task."""
    return connect(FakeTransport(Model(make_manifest(task))))


def units(text: str, start: int, end: int) -> pb.Span:
    """Return a span whose units are computed by Python's encoders."""
    lengths = [
        (len(text[:index]), len(text[:index].encode("utf-16-le")) // 2, len(text[:index].encode()))
        for index in (start, end)
    ]
    (start, utf16_start, utf8_start), (end, utf16_end, utf8_end) = lengths
    return pb.Span(
        start=start, end=end, utf16_start=utf16_start, utf16_end=utf16_end, utf8_start=utf8_start, utf8_end=utf8_end
    )


def entity_list(text: str, entities: list[Any]) -> pb.EntityList:
    """Return entities as messages."""
    return pb.EntityList(
        entities=[
            pb.Entity(label=item.label, text=item.text, span=units(text, item.start, item.end), score=item.score)
            for item in entities
        ]
    )


def classification(item: Any) -> pb.Classification:
    """Return a classification as a message."""
    scores = [pb.LabelScore(label=label, score=score) for label, score in item.scores.items()]
    return pb.Classification(label=item.label, score=item.score, labels=item.labels, scores=scores)


@pytest.mark.parametrize("task", ["token-classification", "span-classification"])
def test_entities(gateways: dict[str, RunningGateway], make_stub: Any, task: str) -> None:
    """Entities are those of the Python client, with offsets in three units; of words, too."""
    stub = make_stub(gateways[task].channel)
    words = ["😀", "wang", "é"]
    expected = client(task)
    response = stub.FindEntities(pb.FindEntitiesRequest(model=MODEL, texts=[TEXT, "in"]), timeout=20)
    assert response.results[0].entities == entity_list(TEXT, expected.entities(TEXT))
    assert response.results[1].WhichOneof("result") == "entities"
    assert response.model_version == 1
    response = stub.FindEntities(pb.FindEntitiesRequest(model=MODEL, word_lists=[pb.WordList(words=words)]), timeout=20)
    assert response.results[0].entities == entity_list(
        " ".join(words), expected.entities(words, is_split_into_words=True)
    )


def test_classification(gateways: dict[str, RunningGateway], make_stub: Any) -> None:
    """Texts and pairs are classified, with top_k."""
    stub, expected = make_stub(gateways["text-classification"].channel), client("text-classification")
    request = pb.ClassifyRequest(model=MODEL, texts=["wang", "in"], top_k=2)
    response = stub.Classify(request, timeout=20)
    assert [result.classification for result in response.results] == [
        classification(item) for item in expected.classify(["wang", "in"], top_k=2)
    ]
    request = pb.ClassifyRequest(model=MODEL, texts=["wang"], second_texts=["in"])
    assert stub.Classify(request, timeout=20).results[0].classification == classification(
        expected.classify(("wang", "in"))
    )


def test_values_and_vectors(gateways: dict[str, RunningGateway], make_stub: Any) -> None:
    """Values and embeddings are those of the Python client."""
    stub = make_stub(gateways["regression"].channel)
    response = stub.Regress(pb.RegressRequest(model=MODEL, texts=["wang"], second_texts=["in"]), timeout=20)
    assert response.results[0].value == client("regression").regress(("wang", "in"))
    stub = make_stub(gateways["feature-extraction"].channel)
    response = stub.Embed(pb.EmbedRequest(model=MODEL, texts=["wang in", ""]), timeout=20)
    assert list(response.results[0].embedding.values) == client("feature-extraction").embed("wang in").tolist()
    assert response.results[1].error.reason == "EMPTY_TEXT"


def test_answers(gateways: dict[str, RunningGateway], make_stub: Any) -> None:
    """An answer is a span of the context, in three units."""
    expected = client("question-answering").answer("wang", TEXT)
    stub = make_stub(gateways["question-answering"].channel)
    questions = [pb.Question(question="wang", context=TEXT), pb.Question(question="wang")]
    response = stub.AnswerQuestions(pb.AnswerQuestionsRequest(model=MODEL, questions=questions), timeout=20)
    answer = response.results[0].answer
    assert (answer.text, answer.score, answer.null_score) == (expected.text, expected.score, expected.null_score)
    assert answer.span == units(TEXT, expected.start, expected.end)
    assert response.results[1].error.reason == "EMPTY_TEXT"


def test_masks(gateways: dict[str, RunningGateway], make_stub: Any) -> None:
    """Each mask has its span, and its tokens."""
    text = "é [MASK] 😀 [MASK]"
    stub = make_stub(gateways["fill-mask"].channel)
    response = stub.FillMask(pb.FillMaskRequest(model=MODEL, texts=[text, "in"], top_k=1), timeout=20)
    masks = client("fill-mask").fill_mask(text, top_k=1)
    assert list(response.results[0].masks.masks) == [
        pb.Mask(
            span=units(text, fill.start, fill.end),
            fills=[pb.Fill(token=fill.token, token_id=fill.token_id, text=fill.text, score=fill.score)],
        )
        for (fill,) in masks
    ]
    assert response.results[1].WhichOneof("result") == "masks"


def test_heads(gateways: dict[str, RunningGateway], make_stub: Any) -> None:
    """Every head has a result of the kind of its task; one of them answers by name."""
    stub, expected = make_stub(gateways["multi-task"].channel), client("multi-task").heads(TEXT)
    heads = stub.RunHeads(pb.RunHeadsRequest(model=MODEL, texts=[TEXT]), timeout=20).results[0].heads.heads
    assert dict(heads) == {
        "slots": pb.HeadResult(entities=entity_list(TEXT, expected["slots"])),
        "intent": pb.HeadResult(classification=classification(expected["intent"])),
    }
    response = stub.FindEntities(pb.FindEntitiesRequest(model=MODEL, texts=[TEXT], head="slots"), timeout=20)
    assert response.results[0].entities == heads["slots"].entities


@pytest.mark.parametrize("task", METHOD_OF_TASK)
def test_models(gateways: dict[str, RunningGateway], make_stub: Any, task: str) -> None:
    """A model is described, with the method that answers it."""
    stub, manifest = make_stub(gateways[task].channel), make_manifest(task)
    model = stub.GetModel(pb.GetModelRequest(model=MODEL), timeout=20).model
    assert (model.task, model.method) == (task, RPC_OF_METHOD[METHOD_OF_TASK[task]])
    assert (list(model.labels), list(model.lengths), model.max_length) == (list(manifest.labels), [4, 8, 12], 12)
    assert {name: head.task for name, head in model.heads.items()} == {
        name: head.task for name, head in manifest.heads.items()
    }
    assert [(version.version, pb.VersionState.Name(version.state)) for version in model.versions] == [
        (2, "VERSION_STATE_LOADING"),
        (1, "VERSION_STATE_AVAILABLE"),
        (0, "VERSION_STATE_END"),
    ]
    assert list(stub.ListModels(pb.ListModelsRequest(), timeout=20).names) == ["tiny"]


NER = pb.FindEntitiesRequest(model=MODEL, texts=["wang"])
BAD_REQUESTS = {
    "no texts": (pb.FindEntitiesRequest(model=MODEL).SerializeToString(), "INVALID_ARGUMENT", "NO_TEXTS"),
    "no model": (pb.FindEntitiesRequest(texts=["a"]).SerializeToString(), "INVALID_ARGUMENT", "NO_MODEL"),
    "no such model": (
        pb.FindEntitiesRequest(model=pb.ModelSelector(name="other"), texts=["a"]).SerializeToString(),
        "NOT_FOUND",
        "MODEL_NOT_FOUND",
    ),
    "10000 texts": (
        pb.FindEntitiesRequest(model=MODEL, texts=["secret"] * 10_000).SerializeToString(),
        "INVALID_ARGUMENT",
        "TOO_MANY_TEXTS",
    ),
    "too many characters": (
        pb.FindEntitiesRequest(model=MODEL, texts=["secret" * 100_000]).SerializeToString(),
        "INVALID_ARGUMENT",
        "TOO_MANY_CHARACTERS",
    ),
    "no message": (b"\xff\xff\xff", "INVALID_ARGUMENT", "MALFORMED_REQUEST"),
    "no UTF-8": (NER.SerializeToString() + b"\x12\x02\xff\xfe", "INVALID_ARGUMENT", "MALFORMED_REQUEST"),
    "lone surrogate": (NER.SerializeToString() + b"\x12\x03\xed\xa0\x80", "INVALID_ARGUMENT", "MALFORMED_REQUEST"),
    "unknown field": (NER.SerializeToString() + b"\xf8\x07\x01", "INVALID_ARGUMENT", "UNKNOWN_FIELD"),
    "unknown field of the model": (
        b"\x0a\x09" + MODEL.SerializeToString() + b"\xf8\x07\x01" + b"\x12\x01a",
        "INVALID_ARGUMENT",
        "UNKNOWN_FIELD",
    ),
    "texts and words": (
        pb.FindEntitiesRequest(model=MODEL, texts=["a"], word_lists=[pb.WordList(words=["a"])]).SerializeToString(),
        "INVALID_ARGUMENT",
        "WRONG_KIND_OF_ITEM",
    ),
    "stride": (
        pb.FindEntitiesRequest(
            model=MODEL, texts=["a"], long_texts=pb.LongTextOptions(stride=-1)
        ).SerializeToString(),
        "INVALID_ARGUMENT",
        "INVALID_OPTION",
    ),
    "truncation": (
        pb.FindEntitiesRequest(
            model=MODEL, texts=["a"], long_texts=pb.LongTextOptions(truncation=9)  # type: ignore[arg-type]
        ).SerializeToString(),
        "INVALID_ARGUMENT",
        "INVALID_OPTION",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_requests(gateways: dict[str, RunningGateway], ner: Any, name: str) -> None:
    """A bad request has its status, details with a reason, a message without its texts, and leaves the server up."""
    data, code, reason = BAD_REQUESTS[name]
    with pytest.raises(grpc.RpcError) as caught:
        call(gateways["token-classification"], "FindEntities", data)
    assert caught.value.code().name == code
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason, "bertbundle")
    assert status.message == caught.value.details()
    assert "secret" not in status.message
    assert len(status.message) < 200
    assert len(ner.FindEntities(NER, timeout=20).results[0].entities.entities) == 1


def test_long_messages(gateways: dict[str, RunningGateway], make_stub: Any) -> None:
    """A message of characters that take many bytes in a header still arrives, with its status."""
    stub = make_stub(gateways["multi-task"].channel)
    with pytest.raises(grpc.RpcError, match="has no head '王王") as caught:
        stub.FindEntities(pb.FindEntitiesRequest(model=MODEL, texts=["wang"], head="王" * 5000), timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert rpc_status.from_call(caught.value).message == caught.value.details()


def test_bad_fields(ner: Any) -> None:
    """If a field is wrong, the details name it."""
    request = pb.FindEntitiesRequest(model=MODEL, texts=["a"], long_texts=pb.LongTextOptions(stride=-1))
    with pytest.raises(grpc.RpcError) as caught:
        ner.FindEntities(request, timeout=20)
    details = error_details_pb2.BadRequest()
    assert rpc_status.from_call(caught.value).details[1].Unpack(details)
    assert [violation.field for violation in details.field_violations] == ["stride"]


@pytest.mark.parametrize("name", [name for name in RPCS if name not in ("FindEntities", "AnswerQuestions")])
def test_wrong_method(ner: Any, name: str) -> None:
    """A method for another task says the model's task, and which method answers it."""
    with pytest.raises(grpc.RpcError) as caught:
        getattr(ner, name)(RPCS[name].request(model=MODEL, texts=["wang"]), timeout=20)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    message = caught.value.details()
    assert "is for token-classification" in message
    assert message.endswith("Use the method FindEntities.")


@pytest.mark.parametrize(
    ("truncation", "count"), [(pb.TRUNCATION_WINDOW, 40), (pb.TRUNCATION_TRUNCATE, 10), (pb.TRUNCATION_ERROR, None)]
)
def test_long_texts(ner: Any, truncation: Any, count: int | None) -> None:
    """A long text is split, truncated or refused, as the request says."""
    options = pb.LongTextOptions(truncation=truncation)
    request = pb.FindEntitiesRequest(model=MODEL, texts=["wang " * 40], long_texts=options)
    result = ner.FindEntities(request, timeout=20).results[0]
    if count is None:
        assert (result.error.code, result.error.reason) == (3, "TEXT_TOO_LONG")
    else:
        assert len(result.entities.entities) == count


def annotate(*texts: list[str]) -> Iterator[pb.AnnotateRequest]:
    """Yield a request for each list of texts."""
    for item in texts:
        yield pb.AnnotateRequest(find_entities=pb.FindEntitiesRequest(model=MODEL, texts=item))


def test_stream(ner: Any) -> None:
    """A long list in pieces: the responses come in the order of the requests."""
    responses = ner.Annotate(annotate(*[["wang"] * number for number in range(1, 60)]), timeout=20)
    assert [len(response.find_entities.results) for response in responses] == list(range(1, 60))


def test_stream_step_by_step(ner: Any) -> None:
    """A caller may wait for each response before it sends the next request."""
    received: list[int] = []

    def has_received(number: int) -> bool:
        return len(received) == number

    def requests() -> Iterator[pb.AnnotateRequest]:
        for number in range(1, 6):
            yield from annotate(["wang"] * number)
            wait_until(functools.partial(has_received, number))

    for response in ner.Annotate(requests(), timeout=20):
        received += [len(response.find_entities.results)]
    assert received == [1, 2, 3, 4, 5]


def test_stream_errors(ner: Any) -> None:
    """A request that fails ends the stream after the responses to the earlier ones; an empty one, too."""
    responses = ner.Annotate(annotate(["wang"], ["wang", ""], [], ["wang"]), timeout=20)
    assert len(next(responses).find_entities.results) == 1
    assert next(responses).find_entities.results[1].error.reason == "EMPTY_TEXT"
    with pytest.raises(grpc.RpcError, match="has no texts"):
        next(responses)
    with pytest.raises(grpc.RpcError, match="set one of its fields"):
        next(ner.Annotate(iter([pb.AnnotateRequest()]), timeout=20))


def test_stream_that_is_abandoned(ner: Any) -> None:
    """A caller that cancels a stream leaves nothing behind."""
    stream = ner.Annotate((request for request in annotate(*[["wang"]] * 10_000)), timeout=20)
    next(stream)
    stream.cancel()
    assert len(ner.FindEntities(NER, timeout=20).results) == 1


class _Service:
    """A service that never answers, and a context; `started` counts its requests."""

    started = 0
    aborted: Any = None

    async def annotate(self, *_: Any, **__: Any) -> Any:
        self.started += 1
        await asyncio.sleep(100)

    def time_remaining(self) -> float:
        return 100.0

    async def abort(self, code: grpc.StatusCode, *_: Any) -> None:
        self.aborted = code
        raise grpc.aio.AbortError


async def _read_stream(requests: Any, service: Any) -> None:
    async for _ in _Servicer(service).annotate(requests, service):
        pass


@pytest.mark.anyio
async def test_requests_of_a_stream_at_a_time() -> None:
    """A stream has a few requests in flight; when it is cancelled, none is left."""

    async def requests() -> AsyncIterator[bytes]:
        for request in annotate(*[["wang"]] * 20):
            yield request.SerializeToString()

    service, before = _Service(), asyncio.all_tasks()
    stream = asyncio.ensure_future(_read_stream(requests(), service))
    for _ in range(50):
        await asyncio.sleep(0)
    assert service.started == 4
    stream.cancel()
    await asyncio.wait([stream])
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


@pytest.mark.anyio
async def test_stream_that_cannot_be_read() -> None:
    """If reading the requests fails, the stream ends; it does not wait for ever."""

    async def requests() -> AsyncIterator[bytes]:
        yield pb.AnnotateRequest().SerializeToString()
        raise OSError

    service = _Service()
    with pytest.raises(grpc.aio.AbortError):
        await asyncio.wait_for(_read_stream(requests(), service), 20)
    assert service.aborted is grpc.StatusCode.INVALID_ARGUMENT

    async def broken() -> AsyncIterator[bytes]:
        raise OSError
        yield b""

    with pytest.raises(grpc.aio.AbortError):
        await asyncio.wait_for(_read_stream(broken(), service), 20)
    assert service.aborted is grpc.StatusCode.INTERNAL


def test_slow_server(start_server: StartServer, make_stub: Any) -> None:
    """A caller's deadline ends its request; the status is DEADLINE_EXCEEDED."""
    answer = predict_method()

    def slow(data: bytes, context: Any) -> bytes:
        time.sleep(0.2)
        return answer(data, context)

    with running_gateway(start_server(slow).address) as running:
        stub = make_stub(running.channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.FindEntities(NER, timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert len(stub.FindEntities(NER, timeout=20).results) == 1
