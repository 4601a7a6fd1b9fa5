"""Generated requests to a SavedModel that is no bundle: a result or the caller's error, and what a real server answers.

Without a real server, the reference for signatures that return their input is TensorFlow's own parser of tensors.
BERTBUNDLE_GENERATED_REQUESTS says how many requests; they are the same in every run of the same number.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compared_answers import MAX_DIMENSIONS, Answer, comparable, differs_on_purpose
from generated_requests import KILLING_NUMBERS, MAX_NUMBER, GeneratedRequest, generated_requests, official
from model_server import BINARY, Addresses
from optional import skip_without

pytestmark = pytest.mark.slow
REQUESTS = int(os.environ.get("BERTBUNDLE_GENERATED_REQUESTS") or 2_000)
AT_ONCE = 25
SECONDS = 30
SERVICE = "/tensorflow.serving.PredictionService/"
CODES = {"OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNIMPLEMENTED", "OUT_OF_RANGE"}
STATUSES = {200, 400, 501}
MAX_SIZE = 2**20  # of what TensorFlow's parser is asked to allocate

every_request = given(st.lists(generated_requests(), min_size=AT_ONCE, max_size=AT_ONCE))
generated = settings(
    max_examples=-(-REQUESTS // AT_ONCE),
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


class Caller:
    """Calls a server: several requests at once, over connections that stay open."""

    def __init__(self, addresses: Addresses) -> None:
        self._channel = grpc.insecure_channel(addresses.grpc)
        self._rest = urlsplit(addresses.rest)
        self._threads = ThreadPoolExecutor(4)
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []

    def send(self, requests: Sequence[GeneratedRequest]) -> list[Answer]:
        """Return the answers, in the requests' order."""
        waiting: list[Callable[[], Answer]] = [
            self._threads.submit(self._post, request).result if request.is_rest else self._call(request)
            for request in requests
        ]
        return [wait() for wait in waiting]

    def close(self) -> None:
        """Close the connections."""
        self._channel.close()
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()

    def _call(self, request: GeneratedRequest) -> Callable[[], Answer]:
        call = self._channel.unary_unary(SERVICE + request.method).future(request.data, timeout=SECONDS)

        def wait() -> Answer:
            try:
                return Answer("OK", message=call.result())
            except grpc.RpcError:
                return Answer(call.code().name, call.details() or "")

        return wait

    def _post(self, request: GeneratedRequest) -> Answer:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(self._rest.netloc, timeout=SECONDS)
            self._connections.append(self._local.connection)
        try:
            return self._exchange(self._local.connection, request)
        except ConnectionError:  # a server may close a connection that was idle; one that is gone accepts no new one
            self._local.connection.close()
            return self._exchange(self._local.connection, request)

    def _exchange(self, connection: http.client.HTTPConnection, request: GeneratedRequest) -> Answer:
        connection.request("POST", f"{self._rest.path}:{request.method}", request.data)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(errors="replace"))


@pytest.fixture(scope="module")
def embedded(serve_many: Callable[[str], Addresses]) -> Iterator[Caller]:
    """Give a caller of the embedded server, which is a process of its own."""
    caller = Caller(serve_many("saved_model"))
    yield caller
    caller.close()


@pytest.fixture(scope="module")
def real(serve_many: Callable[[str], Addresses]) -> Iterator[Caller]:
    """Give a caller of the real server."""
    if not os.environ.get(BINARY):
        skip_without("a real TensorFlow Serving")
    caller = Caller(serve_many("tensorflow_model_server"))
    yield caller
    caller.close()


def check_answer(request: GeneratedRequest, answer: Answer) -> None:
    """Check that a request got a result or an error that is the caller's: no crash, no hang, no INTERNAL."""
    assert answer.code in (STATUSES if request.is_rest else CODES), (request, answer)
    if request.is_rest:
        json.loads(answer.text)
    assert "Graph execution error" not in answer.text


@generated
@every_request
def check_all(embedded: Caller, tensorflow: Any, seen: Counter[str], requests: list[GeneratedRequest]) -> None:
    """Send requests, and compare the answers with what TensorFlow says."""
    for request, answer in zip(requests, embedded.send(requests), strict=True):
        check_answer(request, answer)
        seen[f"{request.method} {answer.code}"] += 1
        if request.method == "Predict":
            seen["compared"] += check_identity(request, answer, tensorflow)


def test_no_request_breaks_the_server(embedded: Caller, tensorflow: Any) -> None:
    """Every request is answered with a result or the caller's error; tensors come back as TensorFlow parses them."""
    seen: Counter[str] = Counter()
    check_all(embedded, tensorflow, seen)
    assert seen["Predict OK"] > REQUESTS / 20, seen
    assert seen["predict 200"] > REQUESTS / 50, seen
    assert seen["compared"] > REQUESTS / 10, seen


def check_identity(request: GeneratedRequest, answer: Answer, tensorflow: Any) -> bool:
    """Check the answer of a signature that returns its input, if the request is one; tell whether it is."""
    sent = official().Predict.FromString(request.data)
    if not request.signature.startswith(("t_", "anyint", "anystr")) or set(sent.inputs) != {"x"} or sent.output_filter:
        return False
    tensor = sent.inputs["x"]
    if len(tensor.tensor_shape.dim) > MAX_DIMENSIONS or tensor.dtype in KILLING_NUMBERS:
        return False
    if tensor.dtype > MAX_NUMBER or any(dim.size > MAX_SIZE for dim in tensor.tensor_shape.dim):
        return False
    try:
        dtype = tensorflow.as_dtype(tensor.dtype)
        expected = tensorflow.io.parse_tensor(tensor.SerializeToString(), dtype)
    except (TypeError, tensorflow.errors.OpError):
        assert (answer.code, answer.text) == ("INVALID_ARGUMENT", "tensor parsing error: x"), (tensor, answer)
        return True
    if answer.code != "OK":  # the signature is of another dtype
        assert answer.text.startswith("Expects arg[0] to be "), (tensor, answer)
        return True
    response = official().PredictResponse.FromString(answer.message).outputs["y"]
    found = tensorflow.io.parse_tensor(response.SerializeToString(), dtype)
    assert found.shape == expected.shape
    assert tensorflow.io.serialize_tensor(found).numpy() == tensorflow.io.serialize_tensor(expected).numpy()
    return True


@generated
@every_request
def compare_all(embedded: Caller, real: Caller, requests: list[GeneratedRequest]) -> None:
    """Send requests to both servers, and compare the answers."""
    safe = [request for request in requests if not request.kills]
    for request, ours, theirs in zip(safe, embedded.send(safe), real.send(safe), strict=True):
        check_answer(request, ours)
        if not differs_on_purpose(request, ours, theirs):
            assert ours.code == theirs.code, (request, ours, theirs)
            assert comparable(request, ours) == comparable(request, theirs), (request, ours, theirs)


def test_answers_are_those_of_a_real_server(embedded: Caller, real: Caller) -> None:
    """Every request is answered as by a real server, but for what docs/protocol.md lists."""
    compare_all(embedded, real)


TWO_INPUTS = GeneratedRequest("predict", b"{}", "two")
ONE_INPUT = GeneratedRequest("predict", b"{}", "t_i32")


@pytest.mark.parametrize(
    ("request_", "text", "other", "is_equal"),
    [
        (TWO_INPUTS, "Missing named input: a in 'inputs' object.", "Missing named input: b in 'inputs' object.", True),
        (TWO_INPUTS, "Missing named input: a in 'inputs' object.", "Missing 'inputs' or 'instances' key", False),
        (ONE_INPUT, "JSON Value: NaN Type: Number is not", "JSON Value:  Type: Number is not", True),
        (ONE_INPUT, "JSON Value: 1e+39 Type: Number is not", "JSON Value: 1e39 Type: Number is not", True),
        (ONE_INPUT, "JSON Value: 2147483648 Type: Number is not", "JSON Value: 2147483649 Type: Number is not", False),
        (ONE_INPUT, "tensor parsing error: x", "tensor parsing error: y", False),
    ],
)
def test_what_is_compared(request_: GeneratedRequest, text: str, other: str, is_equal: bool) -> None:
    """Only what a server may say otherwise is left out of the comparison."""
    found, expected = (comparable(request_, Answer(400, json.dumps({"error": message}))) for message in (text, other))
    assert (found == expected) is is_equal
