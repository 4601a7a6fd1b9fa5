"""Embeddings over OpenAI's route, lists of 32 texts, beside sentence-transformers behind a simple FastAPI app.

    python benchmarks/embeddings_route.py --peer build/peers/bin/python

``make bench-peers`` creates the environment of the peer (fastapi_peer.py); without it only our servers are measured.
All sides use the weights of all-MiniLM-L6-v2, receive the same JSON over HTTP, and return lists of numbers. Ours are a
gateway in front of an embedded server, and the embedded server with its own text API, with the bundle in the precision
that is fast on this processor and in int8. The results are compared before anything is timed.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import Row, finish, free_port, interleave, machine, parser, rows_of
from local_server import running, serving
from peers import MODEL, check, export, texts
from real_weights import fetch

LIST, CALLERS = 32, (1, 4)
NAME = "minilm"
PEER, EMBEDDED, GATEWAY = "sentence-transformers", "embedded server", "gateway"
PRECISIONS = ("auto", "int8")
START_SECONDS = 300.0
TIMEOUT_MS = 300_000
HERE = Path(__file__).resolve().parent

Embed = Callable[[Sequence[str]], Any]


def embed(port: int, sentences: Sequence[str]) -> list[list[float]]:
    """Ask for the embeddings of texts, in lists of 32, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    with contextlib.closing(connection):
        return [vector for start in range(0, len(sentences), LIST) for vector in ask(connection, sentences, start)]


def ask(connection: http.client.HTTPConnection, sentences: Sequence[str], start: int) -> list[list[float]]:
    """Ask for the embeddings of one list."""
    body = json.dumps({"model": NAME, "input": sentences[start : start + LIST]})
    connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    document = json.loads(response.read())
    if response.status != 200:
        raise SystemExit(f"status {response.status}: {document}")
    return [item["embedding"] for item in document["data"]]


@contextlib.contextmanager
def peer(python: Path, source: Path) -> Iterator[dict[str, Embed]]:
    """Run the peer; yield nothing, and say so, if the interpreter does not have its packages."""
    found = subprocess.run([python, "-c", "import sentence_transformers, fastapi, uvicorn"], capture_output=True)
    if found.returncode:
        print(f"skipped: {PEER}. {python} does not have it: make build/peers/.ready, then pass --peer.")
        yield {}
        return
    port = free_port()
    process = subprocess.Popen([python, HERE / "fastapi_peer.py", source, str(port)])
    try:
        wait_for(port, process)
        yield {PEER: partial(embed, port)}
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process listens.

    Raises:
        SystemExit: it ends, or does not listen in time.
    """
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise SystemExit(f"{PEER} does not listen on port {port}.")


@contextlib.contextmanager
def ours(source: Path, work: Path) -> Iterator[dict[str, Embed]]:
    """Export and serve; yield a function per server that embeds texts."""
    with contextlib.ExitStack() as stack:
        embeds: dict[str, Embed] = {}
        for precision in PRECISIONS:
            base = work / precision / NAME
            if not base.exists():
                export(Path(sys.executable), source, base, precision)
            port = free_port()
            flags: dict[str, Any] = {"model_name": NAME, "model_base_path": base, "rest_api_port": port}
            flags |= {"rest_api_timeout_in_ms": TIMEOUT_MS, "text_api": True}
            address = stack.enter_context(serving(**flags))
            embeds[f"{EMBEDDED}, {precision}"] = partial(embed, port)
            embeds[f"{GATEWAY}, {precision}"] = partial(embed, stack.enter_context(gateway(address)))
        yield embeds


@contextlib.contextmanager
def gateway(server: str) -> Iterator[int]:
    """Run a gateway in front of a server; yield its REST port."""
    port = free_port()
    flags = [
        f"--server={server}",
        "--port=0",
        f"--rest_api_port={port}",
        "--timeout=300",
        f"--rest_api_timeout_in_ms={TIMEOUT_MS}",
    ]
    with running([sys.executable, "-m", "bertbundle_gateway", *flags]):
        yield port


def texts_per_second(embed_: Embed, sentences: Sequence[str], callers: int) -> float:
    """Return the speed of callers, each of which embeds all texts."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        for done in [pool.submit(embed_, sentences) for _ in range(callers)]:
            done.result()
    return callers * len(sentences) / (time.perf_counter() - begin)


def measure(embeds: dict[str, Embed], sentences: Sequence[str], rounds: int) -> list[Row]:
    """Return the speed of each side for each number of callers."""
    rows = []
    for callers in CALLERS:
        calls = {name: partial(texts_per_second, each, sentences, callers) for name, each in embeds.items()}
        _, speeds = interleave(calls, rounds)
        base = PEER if PEER in embeds else next(iter(embeds))
        case = f"lists of {LIST} texts, callers" + ("" if PEER in embeds else ", without the peer")
        rows += rows_of(case, "texts/s", speeds, base, at=callers)
    return rows


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--peer", type=Path, default=Path(sys.executable), metavar="PYTHON", help="the Python of the peer's environment"
    )
    arguments.add_argument("--sentences", type=int, help="maximum number of sentences (default: all)")
    options = arguments.parse_args()
    facts = machine()
    sentences, dataset = texts()
    sentences = sentences[: options.sentences]
    source = fetch(MODEL)
    with TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        # Not resolved: the interpreter of a virtual environment is a link, whose directory identifies the environment.
        with peer(options.peer.absolute(), source) as theirs, ours(source, work) as served:
            embeds = theirs | served
            check(embeds, sentences[:LIST])
            rows = measure(embeds, sentences, options.rounds)
    finish("embeddings_route", options, facts | {"texts": dataset}, rows)


if __name__ == "__main__":
    main()
