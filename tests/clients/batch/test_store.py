"""Stores: which file a path or a URI names, and what is refused; fsspec's memory stands for any store with a URI."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batch_files import parts
from bertbundle import InputError
from bertbundle.batch import BatchJob, run_job
from bertbundle.batch.store import absolute, open_store
from bertbundle.batch.work import Counts
from model_server import free_port
from optional import require_package, skip_without
from paths import OTHERS
from waiting import wait_until


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
    """A directory is read with its subdirectories, without hidden files; a glob matches files of one depth."""
    for path in ("/data/a", "/data/b/c", "/data/_SUCCESS", "/data/.tmp/d", "/database/e"):
        memory.pipe(path, b"")
    store = open_store("memory://data")
    assert [file.path for file in store.find("memory://data")] == ["memory://data/a", "memory://data/b/c"]
    assert [file.path for file in store.find("memory://data/[!b]*")] == ["memory://data/_SUCCESS", "memory://data/a"]
    assert [file.path for file in store.find("memory://data/*/c")] == ["memory://data/b/c"]
    assert store.names("memory://data") == {"a", "b", "_SUCCESS", ".tmp"}


def test_absolute() -> None:
    """The scheme of a URI has no case (RFC 3986, 3.1), and a slash at the end says nothing."""
    assert absolute("S3://Bucket/Dir/") == "s3://Bucket/Dir"
    assert absolute("s3://bucket") == absolute("s3://bucket/") == "s3://bucket/"
    assert absolute("/a/b/") == absolute("/a/./b") == "/a/b"


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("file:///a/b/", "/a/b"),
        ("file://localhost/a/b", "/a/b"),
        ("FILE://LOCALHOST/a", "/a"),
        ("file:///sp%20ace/50%25/%E6%96%B0", "/sp ace/50%/新"),
        ("file:///not escaped/新/*.jsonl", "/not escaped/新/*.jsonl"),
    ],
)
def test_file_uris(location: str, path: str) -> None:
    """A URI of a local file is percent-decoded (RFC 8089), and its host is none or localhost."""
    assert absolute(location) == path


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("file:/tmp/x", "one slash after file:, a URI has two. Write it as file:///directory, or ./file:/tmp/x for"),
        ("s3:/bucket/in", "one slash after s3:, a URI has two. Write it as s3://bucket/directory, or ./s3:/bucket/in"),
        ("hdfs:/in", "one slash after hdfs:, a URI has two. Write it as hdfs://host/directory, or ./hdfs:/in for a"),
        ("file://tmp/x", "file://tmp/x names a file of the host tmp. Write it as file:///directory."),
        ("s3:///in", "s3:///in has no bucket. Write it as s3://bucket/directory."),
        ("gs://", "gs:// has no bucket. Write it as gs://bucket/directory."),
        ("memory:///", "memory:/// has no bucket. Write it as memory://host/directory."),
    ],
)
def test_malformed_uris(location: str, message: str) -> None:
    """What is almost a URI is no local path, and a URI without a bucket or a place is refused."""
    with pytest.raises(InputError, match=re.escape(message)):
        absolute(location)


def test_other_paths_with_a_colon() -> None:
    """A drive of Windows, a colon in a name and a path that begins with a dot are no URIs."""
    for location in ("C:/a", "a:b", "./file:/a"):
        assert absolute(location) == str(Path.cwd() / Path(location))


def test_uri_of_a_file(job: BatchJob, tmp_path: Path) -> None:
    """A job reads from and writes to URIs of files, into the directory that their percent-encoding names."""
    Path(job.source).rename(tmp_path / "sp ace")
    remote = replace(job, source=f"file://{tmp_path}/sp%20ace", output=f"file://localhost{tmp_path}/50%25")
    assert run_job(remote) == Counts(120, 24)
    assert parts(tmp_path / "50%")
    with pytest.raises(InputError, match=r"the output \S+/sp ace/out is inside of the input \S+/sp ace\. "):
        run_job(replace(remote, output=f"{tmp_path}/sp ace/out"))


def test_special_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe, a socket and a device have no size to plan shards from, and are refused: by path, directory and glob."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    for pattern in (tmp_path / "pipe.txt", tmp_path, tmp_path / "*.txt"):
        with pytest.raises(InputError, match=r"/pipe.txt is a pipe, expected a file. Pass a pipe as FILE, without --"):
            open_store(str(pattern)).find(str(pattern))
    with pytest.raises(InputError, match=r"^/dev/null is a device, expected a file"):
        open_store("/dev/null").find("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("a")  # a relative path: that of a socket must be short
    with pytest.raises(InputError, match=r"/a is a socket, expected a file"):
        open_store(str(tmp_path)).find(str(tmp_path / "a"))


def test_pipe_of_the_shell() -> None:
    """/dev/stdin and <(command), which are links to a pipe, are refused."""
    reader, writer = os.pipe()
    path = f"/dev/fd/{reader}"
    with pytest.raises(InputError, match=rf"^{path} is a pipe, expected a file"):
        open_store(path).find(path)
    for end in (reader, writer):
        os.close(end)


def write_tree(base: Path) -> None:
    """Write files beside and in directories, one of which is hidden."""
    for name in ("0.jsonl", "sub/1.jsonl", "sub/deep/2.jsonl", "_shards/3.jsonl"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("{}\n")


@pytest.mark.parametrize(
    ("glob", "directory"), [("*", "sub"), ("s*", "sub"), ("*/*", "sub/deep"), ("**/d*", "sub/deep")]
)
def test_glob_of_directories(tmp_path: Path, glob: str, directory: str) -> None:
    """A glob that matches a directory is refused: its files would be left out."""
    write_tree(tmp_path)
    message = (
        rf"/{re.escape(glob)} matches the directory {tmp_path}/{directory}\. Pass the directory itself, or a glob "
    )
    with pytest.raises(InputError, match=message):
        open_store(str(tmp_path)).find(f"{tmp_path}/{glob}")


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("*.jsonl", ["0.jsonl"]),
        ("*/*.jsonl", ["_shards/3.jsonl", "sub/1.jsonl"]),
        ("**/[12].jsonl", ["sub/1.jsonl", "sub/deep/2.jsonl"]),
        ("**", ["0.jsonl", "_shards/3.jsonl", "sub/1.jsonl", "sub/deep/2.jsonl"]),
        ("sub/**", ["sub/1.jsonl", "sub/deep/2.jsonl"]),
        ("_*", []),
        ("e*", []),
    ],
)
def test_glob_of_files(tmp_path: Path, glob: str, names: list[str]) -> None:
    """A glob may match directories if it also matches their files, or if they have none to read."""
    write_tree(tmp_path)
    (tmp_path / "empty").mkdir()
    found = open_store(str(tmp_path)).find(f"{tmp_path}/{glob}")
    assert [str(Path(file.path).relative_to(tmp_path)) for file in found] == names


def test_glob_of_directories_in_a_store(memory: Any) -> None:
    """A glob that matches a directory of a store is refused, too, unless the directory is hidden."""
    for path in ("/data/a", "/data/b/c", "/data/_d/e"):
        memory.pipe(path, b"")
    store = open_store("memory://data")
    with pytest.raises(
        InputError, match=r"^memory://data/\* matches the directory memory://data/b\. Pass the directory"
    ):
        store.find("memory://data/*")
    assert [file.path for file in store.find("memory://data/[!b]")] == ["memory://data/a"]
    assert [file.path for file in store.find("memory://data/_*")] == []


@pytest.mark.parametrize("used", ["find", "names", "open"])
def test_no_pyarrow(monkeypatch: pytest.MonkeyPatch, used: str) -> None:
    """Without pyarrow, input and output with a URI are one message with the command that installs it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"s3:// needs pyarrow: pip install 'bertbundle\[parquet\]'\.$"):
        getattr(open_store("s3://bucket/in"), used)("s3://bucket/in")


@pytest.mark.parametrize("used", ["find", "names", "open", "delete"])
def test_empty_part_of_a_key(monkeypatch: pytest.MonkeyPatch, used: str) -> None:
    """Two slashes in a key of S3, which pyarrow refuses before it sends a request, are one message."""
    require_package("pyarrow")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"^s3://b/a//c cannot be used: Empty path component in path b/a//c\.$"):
        getattr(open_store("s3://b"), used)("s3://b/a//c")


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
    for source in ("s3://absent/in", "s3://absent/in/*.jsonl"):
        with pytest.raises(InputError, match=r"^s3://absent/in\S*: the bucket absent does not exist\.$"):
            run_job(replace(remote, source=source))
    for source in ("s3://bucket/none", "s3://bucket/none/*"):
        with pytest.raises(
            InputError, match=r"^s3://bucket/none\S* has no files\. Pass a directory with files, or a glob"
        ):
            run_job(replace(remote, source=source))
    with pytest.raises(InputError, match=r"^s3://bucket/in/\* matches the directory s3://bucket/in/50%25\. Pass"):
        run_job(replace(remote, source="s3://bucket/in/*"))
    with pytest.raises(InputError, match=r"^s3://absent/out/_job.json: the bucket absent does not exist"):
        run_job(replace(remote, output="s3://absent/out"))
    s3.kill()
    with pytest.raises(InputError, match=r"s3://bucket/in cannot be used: .*NETWORK_CONNECTION"):
        run_job(remote)
