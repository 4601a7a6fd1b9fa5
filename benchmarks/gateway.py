"""The gateway beside the Python client, both in front of the same server.

    python benchmarks/gateway.py --size base

Measures texts per second of 16 callers with sentences of natural length, the latency of a lone caller with a short
text, and the resident memory of the gateway while 64 callers keep it at its limit. If TENSORFLOW_MODEL_SERVER names a
tensorflow_model_server binary, speed is also measured in front of that server with its default flags.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from bertbundle import Client
from bertbundle.text.v1 import text_service_pb2 as pb
from bertbundle_export.job.texts import PARITY_TEXTS
from harness import Row, finish, free_port, interleave, machine, parser, rows_of
from local_server import server_process, serving
from model_server import BINARY, model_server
from models import MAX_LENGTH, data_file, open_models
from ner_data import read_sentences

CALLERS, FLOOD, LONE_CALLS = 16, 64, 100
MODEL = "bfloat16"
DIRECT, GATEWAY, REST = "Python client", "gateway", "REST of the gateway"
SHORT_TEXT = "王建国在北京工作。"
TIMEOUT = 120.0
METHOD = "/bertbundle.text.v1.TextService/Embed"

Ask = Callable[[str], object]


def sentences(count: int) -> list[str]:
    """Return sentences of natural length: those of ResumeNER's test set, or the exporter's parity texts."""
    data = data_file("data/resume-ner/test.char.bmes")
    texts = ["".join(item.chars) for item in read_sentences(data)] if data.is_file() else list(PARITY_TEXTS)
    return [text[: MAX_LENGTH - 2] for text in texts[:count]]


def through_gateway(address: str) -> Ask:
    """Return a function that asks a gateway for an embedding, as a caller in any language does."""
    channel = grpc.insecure_channel(address)
    embed = channel.unary_unary(METHOD, pb.EmbedRequest.SerializeToString, pb.EmbedResponse.FromString)
    model = pb.ModelSelector(name=MODEL)

    def ask(text: str) -> object:
        (result,) = embed(pb.EmbedRequest(model=model, texts=[text]), timeout=TIMEOUT).results
        return result.embedding.values[0]

    return ask


def through_rest(port: int) -> Ask:
    """Return a function that asks a gateway over REST, each thread over a connection of its own."""
    threads = threading.local()

    def ask(text: str) -> object:
        if not hasattr(threads, "connection"):
            threads.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        threads.connection.request("POST", f"/v1/models/{MODEL}:embeddings", json.dumps({"texts": [text]}))
        return json.loads(threads.connection.getresponse().read())["results"][0]["embedding"][0]

    return ask


@contextlib.contextmanager
def gateway(server: str) -> Iterator[tuple[int, dict[str, Ask]]]:
    """Run a gateway in front of a server; yield its process id and the functions that ask it."""
    port = free_port()
    flags = [f"--server={server}", "--port=0", f"--rest_api_port={port}", f"--timeout={TIMEOUT}"]
    with server_process([sys.executable, "-m", "bertbundle_gateway", *flags]) as (pid, address):
        yield pid, {GATEWAY: through_gateway(address), REST: through_rest(port)}


def texts_per_second(ask: Ask, texts: Sequence[str]) -> float:
    """Return the speed of callers that share texts."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(ask, texts))
    return len(texts) / (time.perf_counter() - begin)


def median_ms(ask: Ask) -> float:
    """Return the median latency of a lone caller."""
    latencies = []
    for _ in range(LONE_CALLS):
        begin = time.perf_counter()
        ask(SHORT_TEXT)
        latencies.append(time.perf_counter() - begin)
    return float(np.median(latencies)) * 1e3


def measure_speed(server: str, rounds: int, count: int, suffix: str = "") -> list[Row]:
    """Compare the gateway with the client in front of a server."""
    texts = sentences(count)
    with Client(server, MODEL, concurrency=CALLERS, timeout=TIMEOUT) as client, gateway(server) as (_, through):
        asks: dict[str, Ask] = {DIRECT: client.embed, **through}
        _, speeds = interleave({name: partial(texts_per_second, each, texts) for name, each in asks.items()}, rounds)
        _, latencies = interleave({name: partial(median_ms, each) for name, each in asks.items()}, rounds)
    rows = rows_of(f"{CALLERS} callers{suffix}", "texts/s", speeds, DIRECT)
    rows += rows_of(f"1 caller, short text{suffix}", "ms p50", latencies, DIRECT, less=True)
    added = {
        name: [own - direct for own, direct in zip(latencies[name], latencies[DIRECT], strict=True)] for name in through
    }
    return rows + rows_of(f"1 caller, short text{suffix}", "ms added", added, GATEWAY, less=True)


def measure_memory(server: str, seconds: float) -> list[Row]:
    """Return the resident memory of a gateway at its limit, in the middle and at the end."""
    texts, stop = sentences(FLOOD), threading.Event()

    def flood(ask: Ask, text: str) -> None:
        while not stop.is_set():
            ask(text)

    with gateway(server) as (pid, through), ThreadPoolExecutor(FLOOD) as pool:
        asks = list(through.values())
        callers = [pool.submit(flood, asks[number % 2], texts[number % len(texts)]) for number in range(FLOOD)]
        found = []
        try:
            for _ in range(2):
                time.sleep(seconds / 2)
                found.append(resident_megabytes(pid))
        finally:
            stop.set()
        for caller in callers:
            caller.result()
    halves = {"after half of it": found[:1], GATEWAY: found[1:]}
    return rows_of(f"{FLOOD} callers, {seconds:g} s", "MB resident", halves, GATEWAY, less=True)


def resident_megabytes(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument("--sentences", type=int, default=96, help="number of sentences (default: %(default)s)")
    arguments.add_argument("--seconds", type=float, default=60.0, help="time at the limit (default: %(default)g)")
    options = arguments.parse_args()
    facts = machine()
    with open_models(options) as models:
        flags: dict[str, Any] = {"model_name": MODEL, "model_base_path": models.get(MODEL).parent}
        with serving(**flags) as server:
            rows = measure_speed(server, options.rounds, options.sentences)
            rows += measure_memory(server, options.seconds)
        if os.environ.get(BINARY):
            with model_server(**flags) as server:
                suffix = ", tensorflow_model_server"
                rows += measure_speed(server, options.rounds, options.sentences, suffix)
    finish("gateway", options, facts, rows)


if __name__ == "__main__":
    main()
