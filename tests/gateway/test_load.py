"""A gateway process at its limit, while its server is killed and started again: right answers or documented errors.

BERTBUNDLE_LOAD_SECONDS is the duration of the load. benchmarks/gateway.py measures the speed of the gateway under load.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from bertbundle.text.v1 import text_service_pb2 as pb
from embedded_server import start_process
from fakes import write_bundle
from gateways import MODEL
from http_calls import fetch
from waiting import wait_until

pytestmark = pytest.mark.slow
LOAD_SECONDS = float(os.environ.get("BERTBUNDLE_LOAD_SECONDS") or 5)
CALLERS, MAX_REQUESTS = 24, 8
MAX_MEGABYTES, MAX_GROWTH = 150, 20
LABELS = {"wang": "PER", "berlin": "LOC"}
WORDS = (*LABELS, "lives", "in", "today")
DOCUMENTED = {"OVERLOADED", "SERVER_UNAVAILABLE", "DEADLINE_EXCEEDED"}
Found: TypeAlias = "list[tuple[str, str, int, int]] | str"
"""The label, the text and the offsets of each entity; or the reason of an error."""
Ask: TypeAlias = Callable[[str], Found]


def make_text(rng: random.Random) -> tuple[str, Found]:
    """Return a text, short or long, and its entities."""
    words = rng.choices(WORDS, k=rng.choice((1, 2, 4, 40)))
    starts = [sum(len(word) + 1 for word in words[:index]) for index in range(len(words))]
    found = [
        (LABELS[word], word, start, start + len(word))
        for word, start in zip(words, starts, strict=True)
        if word in LABELS
    ]
    return " ".join(words), found


def over_rest(url: str) -> Ask:
    """Return a function that asks over REST."""

    def ask(text: str) -> Found:
        answer = json.loads(fetch(f"{url}/v1/models/tiny:entities", json.dumps({"texts": [text]}).encode())[2])
        if "error" in answer:
            return str(answer["error"]["details"][0]["reason"])
        entities = answer["results"][0]["entities"]
        return [(item["label"], item["text"], item["start"], item["end"]) for item in entities]

    return ask


def over_grpc(channel: grpc.Channel, make_stub: Any) -> Ask:
    """Return a function that asks over gRPC."""
    stub = make_stub(channel)

    def ask(text: str) -> Found:
        try:
            response = stub.FindEntities(pb.FindEntitiesRequest(model=MODEL, texts=[text]), timeout=60)
        except grpc.RpcError as error:
            info = error_details_pb2.ErrorInfo()
            rpc_status.from_call(error).details[0].Unpack(info)
            return str(info.reason)
        entities = response.results[0].entities.entities
        return [(item.label, item.text, item.span.start, item.span.end) for item in entities]

    return ask


def read_port(process: subprocess.Popen[str], pattern: str = "listening on ") -> int:
    """Return the port that a process announces."""
    assert process.stdout is not None
    match = re.search(rf"{pattern}\S*:(\d+)", process.stdout.readline())
    assert match is not None
    return int(match[1])


def megabytes(process: subprocess.Popen[str]) -> float:
    """Return the resident memory of a process (proc(5): statm counts pages)."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Server:
    """A `bertbundle-serve` process that is started again at the same port."""

    def __init__(self, base: Path) -> None:
        """Start the process with the model in a directory."""
        self._flags = ("--model_name=tiny", f"--model_base_path={base}")
        self._process = start_process(*self._flags)
        self.port = read_port(self._process)

    def restart(self) -> None:
        """Kill the process, and start another one."""
        self.kill()
        self._process = start_process(*self._flags, f"--port={self.port}")
        assert read_port(self._process) == self.port

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the model ``tiny``."""
    write_bundle(tmp_path / "tiny")
    started = Server(tmp_path / "tiny")
    yield started
    started.kill()


@pytest.fixture
def gateway(server: Server) -> Iterator[subprocess.Popen[str]]:
    """A gateway in front of the server; its standard output begins with its ports."""
    flags = [f"--server=127.0.0.1:{server.port}", "--port=0", f"--rest_api_port={free_port()}"]
    command = [sys.executable, "-m", "bertbundle_gateway", *flags, f"--max_requests={MAX_REQUESTS}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    yield process
    process.kill()
    process.communicate()


def free_port() -> int:
    """Return a port that is free now: 0 means no REST."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_restart_under_load(server: Server, gateway: subprocess.Popen[str], make_stub: Any) -> None:
    """Each request gets the right answer or a documented error, each caller gets answers again from the new server, and
    the memory of the gateway is small and does not grow.
    """
    channel = grpc.insecure_channel(f"127.0.0.1:{read_port(gateway)}")
    asks = (over_grpc(channel, make_stub), over_rest(f"http://127.0.0.1:{read_port(gateway, 'REST on http://')}"))
    end, restarted, wrong = threading.Event(), threading.Event(), list[str]()
    seen, answered_again = Counter[str](), set[int]()

    def caller(number: int) -> None:
        rng = random.Random(number)  # noqa: S311  # not for secrets
        while not end.is_set():
            text, expected = make_text(rng)
            is_new = restarted.is_set()
            found = asks[number % 2](text)
            seen[found if isinstance(found, str) else "OK"] += 1
            if not isinstance(found, str):
                wrong.extend([] if found == expected else [f"{text}: {found} instead of {expected}"])
                answered_again.update([number] if is_new else [])

    with ThreadPoolExecutor(CALLERS) as pool:
        callers = [pool.submit(caller, number) for number in range(CALLERS)]
        try:
            time.sleep(LOAD_SECONDS / 2)
            halfway = megabytes(gateway)
            server.restart()
            restarted.set()
            time.sleep(LOAD_SECONDS / 2)
            wait_until(lambda: len(answered_again) == CALLERS, 60)
        finally:
            end.set()
        for done in callers:
            done.result()
    assert wrong == []
    assert set(seen) <= {"OK", *DOCUMENTED}
    assert min(seen["OK"], seen["OVERLOADED"], seen["SERVER_UNAVAILABLE"]) > 0, seen
    memory = megabytes(gateway)
    assert memory < MAX_MEGABYTES
    assert memory - halfway < MAX_GROWTH
    channel.close()
    print(f"{dict(seen)}, {halfway:.0f} MB halfway, {memory:.0f} MB at the end")
