"""The archive for SageMaker's TensorFlow Serving container: what is in it, and that its handler answers."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inference
import pack
from bertbundle import BertBundleError, Client, InputError
from fakes import FakeServer, Model, make_manifest, predict_method
from model_server import model_server
from optional import needs_model_server

Context = namedtuple(  # as in tfs_utils.py of aws/sagemaker-tensorflow-serving-container
    "Context",
    "model_name, model_version, method, rest_uri, grpc_port, channel, custom_attributes, request_content_type, "
    "accept_header, content_length",
)

TASKS = {"ner": "token-classification", "pairs": "question-answering"}


def context(port: int | str, model: str | None = None, content_type: str = "application/json") -> Context:
    """Return what the container passes for a request; it names a model only if it serves several."""
    uri = "http://localhost:8501/v1/models/ner:predict"
    return Context(model, None, None, uri, str(port), None, None, content_type, "application/json", None)


def ask(port: int | str, body: Any, **about: Any) -> Any:
    """Call the handler; return the document of its response."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    text, content_type = inference.handler(io.BytesIO(data), context(port, **about))
    assert content_type == "application/json"
    return json.loads(text)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The gRPC port of a server with a tagger and a reader."""
    server = FakeServer(predict_method(models={name: Model(make_manifest(task)) for name, task in TASKS.items()}))
    yield server.port
    server.stop()


@pytest.fixture(autouse=True)
def default_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that the container sets to the name of its only model."""
    monkeypatch.setenv("TFS_DEFAULT_MODEL_NAME", "ner")


def test_entities(port: int) -> None:
    """Texts are answered by the only model, each with its entities."""
    first, second = ask(port, {"texts": ["Wang lives in Berlin", "nothing"]})["results"]
    found = [(entity["label"], entity["text"], entity["start"], entity["end"]) for entity in first["entities"]]
    assert found == [("PER", "Wang", 0, 4), ("LOC", "Berlin", 14, 20)]
    assert second == {"entities": []}


def test_named_model(port: int) -> None:
    """The model that the container names is asked; pairs are lists of two texts."""
    (result,) = ask(port, {"texts": [["who", "Wang lives in Berlin"]]}, model="pairs")["results"]
    assert (result["answer"]["text"], result["answer"]["start"]) == ("Berlin", 14)


def test_errors_of_texts(port: int) -> None:
    """A text that cannot be answered has an error, others have their results; `truncation` is the client's."""
    long = "wang " * 500
    results = ask(port, {"texts": ["wang", long], "truncation": "error"})["results"]
    assert [entity["text"] for entity in results[0]["entities"]] == ["wang"]
    assert "tokens" in results[1]["error"]
    (result,) = ask(port, {"texts": [long], "truncation": "truncate"})["results"]
    assert result["entities"]


def test_not_finite() -> None:
    """A result with NaN is an error: Python would write what is no JSON."""
    model = Model(make_manifest("regression"), overrides={"value": lambda _: np.array([np.nan], np.float32)})
    server = FakeServer(predict_method(models={"ner": model}))
    try:
        with pytest.raises(BertBundleError, match="NaN or infinity"):
            ask(server.port, {"texts": ["wang"]})
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"wang", "is not JSON"),
        ([], 'no list "texts"'),
        ({"texts": "wang"}, 'no list "texts"'),
        ({"texts": ["wang"], "method": "entities"}, "unknown field 'method'"),
        ({"texts": ["wang"], "truncation": "cut"}, "truncation"),
    ],
    ids=str,
)
def test_wrong_requests(port: int, body: Any, message: str) -> None:
    """A request that is wrong gets one message that says what to send."""
    with pytest.raises((InputError, ValueError), match=message):
        ask(port, body)
    with pytest.raises(InputError, match="text/csv"):
        ask(port, {"texts": ["wang"]}, content_type="text/csv")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The directory of a model with two versions of a bundle's files."""
    for version in ("1", "2"):
        folder = tmp_path / "models/ner" / version
        (folder / "variables").mkdir(parents=True)
        for name in ("saved_model.pb", "variables/variables.index", "model.onnx", "bundle.json"):
            (folder / name).write_bytes(name.encode())
    return tmp_path / "models/ner"


def names(archive: Path) -> set[str]:
    """Return the files in an archive, those of the client as one."""
    with tarfile.open(archive) as tar:
        files = [member.name for member in tar.getmembers() if member.isfile()]
    return {"bertbundle" if "/bertbundle/" in name else name for name in files}


def test_archive(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The archive has each version without ONNX files, the handler, the client, and what the client requires."""
    output = tmp_path / "out/model.tar.gz"
    assert pack.main([str(model), "--output", str(output)]) == 0
    assert capsys.readouterr().out.startswith(f"{output}: ")
    versions = {f"ner/{version}/{name}" for version in "12" for name in ("saved_model.pb", "bundle.json")}
    variables = {f"ner/{version}/variables/variables.index" for version in "12"}
    assert names(output) == {*versions, *variables, "code/inference.py", "code/requirements.txt", "bertbundle"}
    with tarfile.open(output) as tar:
        requirements = tar.extractfile("code/requirements.txt")
        assert requirements is not None
        assert {line.split(b">=")[0] for line in requirements} == {b"numpy", b"grpcio", b"protobuf", b"tokenizers"}
    assert [path.name for path in output.parent.iterdir()] == ["model.tar.gz"]


def test_handler_in_the_archive(model: Path, tmp_path: Path, port: int) -> None:
    """The unpacked handler answers in a process in which bertbundle is that of the archive."""
    pack.pack(model, tmp_path / "model.tar.gz")
    with tarfile.open(tmp_path / "model.tar.gz") as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    program = f"""
import io, json, types, bertbundle, inference
context = types.SimpleNamespace(model_name=None, grpc_port={port}, request_content_type="application/json")
print(bertbundle.__file__)
print(inference.handler(io.BytesIO(b'{{"texts": ["wang"]}}'), context)[0])
"""
    code = tmp_path / "unpacked/code"
    packages = [path for path in sys.path if path.endswith("site-packages")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(code), *packages])}
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, answer = done.stdout.splitlines()
    assert Path(where) == code / "bertbundle/__init__.py"
    assert json.loads(answer)["results"][0]["entities"][0]["text"] == "wang"


def test_wheels(model: Path, tmp_path: Path) -> None:
    """With wheels, the archive has their files and the client in code/lib, and no requirements.txt."""
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels/some-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some/__init__.py", "")
    pack.pack(model, tmp_path / "model.tar.gz", tmp_path / "wheels")
    found = names(tmp_path / "model.tar.gz")
    assert {"code/lib/some/__init__.py", "bertbundle", "code/inference.py"} <= found
    assert "code/requirements.txt" not in found


def test_mistakes(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory without versions, without wheels or a wrong name is one message, exit code 2 and no file."""
    empty, output = tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    good = str(output / "model.tar.gz")
    for arguments, message in (
        ([str(model / "1"), "--output", good], "no version with a saved_model.pb"),
        ([str(tmp_path / "none"), "--output", good], "no version with a saved_model.pb"),
        ([str(model), "--output", str(output / "model.zip")], "ends with .tar.gz"),
        ([str(model), "--output", good, "--wheels", str(empty)], "no wheels"),
    ):
        assert pack.main(arguments) == 2
        assert message in capsys.readouterr().err
    assert not output.exists() or not list(output.iterdir())


@pytest.mark.slow
@needs_model_server
def test_tensorflow_serving(minilm: Path, tmp_path: Path) -> None:
    """The archive answers as the bundle does, on a real TensorFlow Serving with the container's flags."""
    pack.pack(minilm.parent, tmp_path / "model.tar.gz")
    with tarfile.open(tmp_path / "model.tar.gz") as tar:
        tar.extractall(tmp_path / "opt", filter="data")
    name = minilm.parent.name
    config = tmp_path / "model-config.cfg"  # as written by the container's tfs_utils.py
    policy = f"model_version_policy: {{ specific: {{ versions: {minilm.name} }} }}"
    fields = f"name: '{name}' base_path: '{tmp_path / 'opt' / name}' model_platform: 'tensorflow' {policy}"
    config.write_text(f"model_config_list: {{ config: {{ {fields} }} }}", encoding="utf-8")
    with model_server(name, model_config_file=config, max_num_load_retries=0) as address:
        (result,) = ask(address.rpartition(":")[2], {"texts": ["Wang lives in Berlin"]}, model=name)["results"]
    with Client.local(minilm) as client:
        np.testing.assert_allclose(result["embedding"], client.embed("Wang lives in Berlin"), atol=1e-4)
