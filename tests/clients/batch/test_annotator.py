"""Annotator: typed columns of every task, rows without an answer, retries, and pickling."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from batch_files import make_bundle
from bertbundle import Client, DeadlineExceeded, InputError, InvalidRequest, ServerError, ServerUnavailable
from bertbundle.batch import Annotator, connection
from bertbundle.batch import annotator as annotator_module
from bertbundle.batch.connection import Connection
from bertbundle.session.retries import Retries
from fakes import FailingTransport, FakeTransport, Model, connect, make_manifest
from optional import require_package

pa = require_package("pyarrow")
TEXTS = ["wang lives in berlin", "wang", "in berlin today"]


@pytest.fixture(autouse=True)
def close_clients() -> Iterator[None]:
    """Close the clients of this process after each test: the server of a later test may have the same port."""
    yield
    for opened, _ in list(connection._CLIENTS):
        opened.close()
    assert connection._CLIENTS == {}


def from_method(client: Client, task: str) -> list[dict[str, Any]]:
    """Return the results of the client's own method for the task, as JSON."""
    if task in ("token-classification", "span-classification"):
        return [{"entities": [vars_of(entity) for entity in found]} for found in client.entities(TEXTS)]
    if task == "text-classification":
        found = client.classify(TEXTS)
        return [{**vars_of(each), "labels": list(each.labels), "scores": list(each.scores.items())} for each in found]
    if task == "feature-extraction":
        return [{"embedding": vector.tolist()} for vector in client.embed(TEXTS)]
    if task == "regression":
        return [{"value": value} for value in client.regress(TEXTS)]
    if task == "question-answering":
        return [{"answer": vars_of(each)} for each in client.answer(TEXTS, TEXTS)]
    return [{"masks": [[vars_of(fill) for fill in mask] for mask in masks]} for masks in client.fill_mask(TEXTS)]


def vars_of(value: Any) -> dict[str, Any]:
    """Return the fields of a result."""
    return {name: getattr(value, name) for name in value.__slots__}


TASKS = [
    "token-classification",
    "span-classification",
    "text-classification",
    "feature-extraction",
    "regression",
    "question-answering",
    "fill-mask",
]


@pytest.mark.parametrize("task", TASKS)
def test_columns_of_each_task(task: str, serve: Callable[..., str]) -> None:
    """The columns have the values that the client's method for the task returns, and the announced schema."""
    address = serve(task)
    pair = "pair" if task == "question-answering" else None
    annotator = Annotator(server=address, model="tiny", pair=pair)
    batch = pa.record_batch({"id": [3, 1, 2], "text": TEXTS, **({"pair": TEXTS} if pair else {})})
    found = annotator(batch)
    assert found.schema == annotator.output_schema(batch.schema)
    rows = [
        {name: row[name] for name in row if name not in ("id", "text", "pair", "error")} for row in found.to_pylist()
    ]
    with Client(address, "tiny") as client:
        assert rows == from_method(client, task)
    assert found.column("id").to_pylist() == [3, 1, 2]
    assert found.column("error").null_count == 3


def test_heads(serve: Callable[..., str]) -> None:
    """A model with several heads has a struct with a field for each, or the columns of one head."""
    address = serve("multi-task")
    batch = pa.record_batch({"text": TEXTS})
    with Client(address, "tiny") as client:
        wanted = client.heads(TEXTS)
    (heads,) = Annotator(server=address, model="tiny", keep=())(batch).to_pylist()[:1]
    assert heads["heads"]["slots"]["entities"] == [vars_of(entity) for entity in wanted[0]["slots"]]
    assert dict(heads["heads"]["intent"]["scores"]) == wanted[0]["intent"].scores
    one = Annotator(server=address, model="tiny", keep=(), head="slots")(batch)
    assert one.schema.names == ["entities", "error"]
    assert [len(row["entities"]) for row in one.to_pylist()] == [len(result["slots"]) for result in wanted]


@pytest.mark.parametrize("string", ["string", "large_string", "string_view", "dictionary"])
def test_rows_without_an_answer(ner: list[str], string: str) -> None:
    """A row without a text has the reason in `error` and null in the results; the others are answered."""
    types = {"string": pa.string(), "large_string": pa.large_string(), "string_view": pa.string_view()}
    texts = pa.array(["wang", None, "", "berlin"], types.get(string, pa.string()))
    batch = pa.record_batch({"text": texts.dictionary_encode() if string == "dictionary" else texts})
    found = Annotator(server=ner[1], model="tiny")(batch)
    assert [row and row[0]["text"] for row in found.column("entities").to_pylist()] == ["wang", None, None, "berlin"]
    first, null, empty, last = found.column("error").to_pylist()
    assert (first, last) == (None, None)
    assert null == "column 'text' has None, expected a text"
    assert empty.startswith("the text is empty")


def test_text_that_is_not_utf8(ner: list[str]) -> None:
    """A text that is not UTF-8 has an error, and the other rows have their answers."""
    texts = pa.array([b"wang", b"a\xff"]).view(pa.string())
    annotated = Annotator(server=ner[1], model=ner[3])(pa.record_batch([texts], ["text"]))
    assert annotated.column("error").to_pylist() == [None, "column 'text' has b'a\\xff', expected a text"]
    assert annotated.column("entities").null_count == 1


def test_empty_batch(ner: list[str]) -> None:
    """A batch without rows has the columns of the results."""
    batch = pa.record_batch({"text": pa.array([], pa.string())})
    found = Annotator(server=ner[1], model="tiny")(batch)
    assert (len(found), found.schema.names) == (0, ["text", "entities", "error"])


def test_rows_have_the_dicts_of_the_command(serve: Callable[..., str]) -> None:
    """Rows of JSON have an embedding rounded to 7 digits, as `bertbundle predict` prints it; Arrow has all of them."""
    annotator = Annotator(server=serve("feature-extraction"), model="tiny")
    exact = annotator.answer(["wang"])[0]
    (row,) = annotator.answer_rows(["wang"])
    assert isinstance(row, dict)
    np.testing.assert_allclose(row["embedding"], exact, rtol=0, atol=5e-8)
    (vector,) = annotator(pa.record_batch({"text": ["wang"]})).column("embedding").to_numpy(zero_copy_only=False)
    np.testing.assert_array_equal(vector, exact)


# ---- retries


class Recorder:
    """Replaces the client of every connection."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, transport: FakeTransport) -> None:
        self.transport = transport
        client = connect(transport, retries=Retries(attempts=1))
        monkeypatch.setattr(Connection, "client", lambda _: client)
        monkeypatch.setattr(annotator_module, "_PAUSES", Retries(first_pause=0, longest_pause=0))


@pytest.mark.parametrize("error", [ServerUnavailable, DeadlineExceeded])
def test_temporary_errors(monkeypatch: pytest.MonkeyPatch, error: type[ServerError]) -> None:
    """A batch is tried again after a temporary error or a timeout, up to the number of attempts."""
    Recorder(monkeypatch, FailingTransport(Model(), None, error, error))
    annotator = Annotator(server="a:1", model="tiny", attempts=3)
    assert annotator.answer(["wang"])[0][0].text == "wang"
    Recorder(monkeypatch, FailingTransport(Model(), None, error, error, error))
    with pytest.raises(error):
        annotator.answer(["wang"])


def test_other_errors_are_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that the server rejects is not sent again."""
    transport = FailingTransport(Model(make_manifest()), None, InvalidRequest, InvalidRequest, None)
    Recorder(monkeypatch, transport)
    with pytest.raises(InvalidRequest):
        Annotator(server="a:1", model="tiny").answer(["wang"])
    assert transport.attempts == 3  # bundle_info, the request, and bundle_info again: no newer version


# ---- settings


def test_pickle(tmp_path: Any) -> None:
    """An annotator that has opened its client is pickled without it, and its copy works."""
    annotator = Annotator(bundle=make_bundle(tmp_path), threads=1)
    batch = pa.record_batch({"text": TEXTS})
    found = annotator(batch)
    cloudpickle = require_package("cloudpickle")
    for copy in (pickle.loads(pickle.dumps(annotator)), cloudpickle.loads(cloudpickle.dumps(annotator))):  # noqa: S301
        assert copy == annotator
        assert copy(batch) == found


@pytest.mark.parametrize(
    "settings",
    [{}, {"bundle": "a", "server": "b:1", "model": "c"}, {"server": "b:1"}, {"bundle": "a", "model": "c"}],
)
def test_bundle_or_server(settings: dict[str, str]) -> None:
    """A bundle, or a server and a model, and not both."""
    with pytest.raises(ValueError, match="pass either bundle=, or server= and model="):
        Annotator(**settings)  # type: ignore[arg-type]


def test_a_str_is_no_list(ner: list[str]) -> None:
    """A str where a list is expected is an error, not its letters."""
    with pytest.raises(TypeError, match="keep is a str"):
        Annotator(server=ner[1], model="tiny", keep="id")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="texts is a str"):
        Annotator(server=ner[1], model="tiny").answer("wang")


def test_table(ner: list[str]) -> None:
    """A table is answered as its batches, and an empty one has the columns, too."""
    annotator = Annotator(server=ner[1], model="tiny")
    table = pa.concat_tables([pa.table({"text": ["wang", ""]}), pa.table({"text": ["wang lives in berlin"]})])
    batches = [annotator(batch) for batch in table.to_batches()]
    assert len(batches) == 2
    assert annotator(table) == pa.Table.from_batches(batches)
    assert annotator(table[:0]).schema == batches[0].schema


def test_options_that_do_not_apply(ner: list[str]) -> None:
    """An option that the model's task does not have is refused by its name in Python."""
    with pytest.raises(InputError, match="omit pair="):
        Annotator(server=ner[1], model="tiny", pair="b").decoder()
    with pytest.raises(InputError, match="Omit head="):
        Annotator(server=ner[1], model="tiny", head="b").decoder()


def test_version_is_pinned(ner: list[str], tmp_path: Any) -> None:
    """A server is asked for the version of the plan; a bundle in the process has only one."""
    served = Annotator(server=ner[1], model="tiny")
    assert served.pinned(served.identity()).version == 1
    local = Annotator(bundle=make_bundle(tmp_path))
    assert local.pinned(local.identity()) == local
    assert local.identity().version == 1


def test_incomplete_copy(tmp_path: Any) -> None:
    """A bundle of which a file was not copied completely is refused before it is loaded."""
    import dataclasses
    from pathlib import Path

    from bertbundle import Manifest
    from bertbundle.contract.manifest import FileInfo

    path = Path(make_bundle(tmp_path)) / "1"
    model = path / "model.onnx"
    manifest = dataclasses.replace(Manifest.read(path), files={"model.onnx": FileInfo(model.stat().st_size, "")})
    (path / "bundle.json").write_text(manifest.to_json())
    assert Annotator(bundle=str(path)).identity().name == "tiny"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"model.onnx is \d+ bytes, expected \d+ bytes. Copy the bundle again"):
        Annotator(bundle=str(path), timeout=299).identity()
