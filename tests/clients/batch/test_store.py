"""Stores with a URI: which file a URI names, and what is refused; fsspec's memory stands for any store."""

from __future__ import annotations

import contextlib
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batch_files import make_bundle, parts, write_inputs
from bertbundle import InputError
from bertbundle.batch import Annotator, BatchJob, run_job
from bertbundle.batch.store import absolute, open_store
from bertbundle.batch.work import Counts
from model_server import free_port
from optional import require_package, skip_without
from paths import OTHERS
from waiting import wait_until


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of the small model."""
    return make_bundle(tmp_path_factory.mktemp("models"))


@pytest.fixture
def job(bundle: str, tmp_path: Path) -> BatchJob:
    """A job over three files of JSON lines, in about 15 shards."""
    source = write_inputs(tmp_path / "in")
    return BatchJob(Annotator(bundle=bundle), str(source), str(tmp_path / "out"), shard_bytes=400)


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty store in memory."""
    require_package("pyarrow")
    found = require_package("fsspec").filesystem("memory")
    found.store.clear()
    yield found
    found.store.clear()


def test_job_in_memory(job: BatchJob, memory: Any) -> None:
    """A job reads from and writes to a store with a URI, and resumes there; fsspec's memory stands for any store."""
    for path in Path(job.source).iterdir():
        memory.pipe(f"/batch-in/{path.name}", path.read_bytes())
    remote = replace(job, source="memory://batch-in/*.jsonl", output="memory://batch-out")
    run_job(job)
    assert run_job(remote) == Counts(120, 24)
    names = sorted(name for name in memory.find("/batch-out") if "/part-" in name and "/_" not in name)
    local = [path.read_bytes() for path in parts(Path(job.output))]
    assert [memory.cat(name) for name in names] == local
    memory.rm("/batch-out/_shards", recursive=True)
    assert run_job(remote, resume=True) == Counts(120, 24)
    assert [memory.cat(name) for name in names] == local
    with pytest.raises(InputError, match=r"already has output"):
        run_job(remote)
    assert run_job(replace(remote, shard_bytes=10_000), overwrite=True) == Counts(120, 24)
    assert len([name for name in memory.find("/batch-out") if "/part-" in name and "/_" not in name]) == 3


def test_unknown_store(job: BatchJob) -> None:
    """A store of an unknown kind is one message."""
    require_package("pyarrow")
    with pytest.raises(InputError, match=r"nonsense://bucket cannot be used"):
        run_job(replace(job, source="nonsense://bucket/in"))


ODD_NAMES = ["a b", "新闻", "50%25", "part#1", "x[1]", "a=b"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_are_not_parsed(name: str, memory: Any) -> None:
    """A file whose name is not a valid part of a URI is found in its directory, by a glob and by its path, and read."""
    uri = f"memory://data/{name}.jsonl"
    memory.pipe(f"/data/{name}.jsonl", b"content")
    store = open_store(uri)
    for pattern in ("memory://data", "memory://data/", "memory://data/*.jsonl", uri):
        (found,) = store.find(pattern)
        assert (found.path, found.size) == (uri, 7)
    with store.open(uri) as file:
        assert file.read() == b"content"


def test_hidden_and_deeper_files(memory: Any) -> None:
    """A directory is read with its subdirectories, without hidden files; a glob stays within its directory."""
    for path in ("/data/a", "/data/b/c", "/data/_SUCCESS", "/data/.tmp/d", "/database/e"):
        memory.pipe(path, b"")
    store = open_store("memory://data")
    assert [file.path for file in store.find("memory://data")] == ["memory://data/a", "memory://data/b/c"]
    assert [file.path for file in store.find("memory://data/*")] == ["memory://data/_SUCCESS", "memory://data/a"]
    assert [file.path for file in store.find("memory://data/*/c")] == ["memory://data/b/c"]
    assert store.names("memory://data") == {"a", "b", "_SUCCESS", ".tmp"}


def test_absolute() -> None:
    """The scheme of a URI has no case (RFC 3986, 3.1), and a slash at the end says nothing."""
    assert absolute("S3://Bucket/Dir/") == "s3://Bucket/Dir"
    assert absolute("s3://bucket") == absolute("s3://bucket/") == "s3://bucket/"
    assert absolute("/a/b/") == absolute("/a/./b") == "/a/b"


def test_options_of_a_store() -> None:
    """Options in a URI are refused; a wildcard is none."""
    with pytest.raises(InputError, match=r"has options. Set them in the environment, such as AWS_ENDPOINT_URL"):
        absolute("s3://bucket/dir?endpoint_override=localhost:9000")
    assert absolute("s3://bucket/part-?.jsonl") == "s3://bucket/part-?.jsonl"


# ---- S3: moto's server has its API


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """The process of a server with an empty bucket, which the environment names."""
    require_package("pyarrow")
    if not OTHERS.exists():
        skip_without("moto")
    port = free_port()
    process = subprocess.Popen([OTHERS, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: create_bucket(f"{address}/bucket"), 60)
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        yield process
    finally:
        process.kill()
        process.wait()


def create_bucket(url: str) -> bool:
    """Create a bucket; return False if the server is not up yet."""
    with contextlib.suppress(OSError), urllib.request.urlopen(urllib.request.Request(url, method="PUT")) as answer:  # noqa: S310 - http
        return bool(answer.status == 200)
    return False


@pytest.mark.cluster
def test_job_on_s3(job: BatchJob, s3: subprocess.Popen[bytes]) -> None:
    """A job reads from and writes to S3 as it does locally, and resumes there; a missing bucket or server is named."""
    store = open_store("s3://bucket")
    for number, path in enumerate(sorted(Path(job.source).iterdir())):
        store.write(f"s3://bucket/in/{ODD_NAMES[number]}/{number}.jsonl", path.read_bytes())
    remote = replace(job, source="s3://bucket/in", output="S3://bucket/answers/新/")
    run_job(job)
    assert run_job(remote) == Counts(120, 24)
    expected = sorted(path.read_bytes() for path in parts(Path(job.output)))
    assert sorted(store.open(file.path).read() for file in store.find("s3://bucket/answers/新")) == expected
    for file in store.find("s3://bucket/answers/新/_shards/*"):
        store.delete(file.path)
    assert run_job(remote, resume=True) == Counts(120, 24)
    assert sorted(store.open(file.path).read() for file in store.find("s3://bucket/answers/新")) == expected
    with pytest.raises(InputError, match=r"s3://absent/out/_job.json cannot be used: .*NO_SUCH_BUCKET"):
        run_job(replace(remote, output="s3://absent/out"))
    s3.kill()
    with pytest.raises(InputError, match=r"s3://bucket/in cannot be used: .*NETWORK_CONNECTION"):
        run_job(remote)
