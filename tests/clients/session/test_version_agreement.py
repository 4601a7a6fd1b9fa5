"""All results of a list come from one version of the model, also during a rolling update."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bertbundle import InputError, InvalidRequest, PredictCall, Prediction, Retries, ServerError
from bertbundle.contract.heads import Head
from bertbundle.contract.manifest import BUNDLE_INFO
from fakes import HEADS, WORDS, FakeTransport, Model, connect, make_manifest, make_tokenizer

NO_RETRIES = Retries(attempts=1)


# ---- one server that changes its version


def test_new_tokenizer() -> None:
    """When another version answers, its manifest and tokenizer are requested, and the texts are sent again."""
    vocabulary = {word: len(WORDS) - 1 - index for index, word in enumerate(WORDS)}
    old = Model(make_manifest("feature-extraction"))
    new = replace(old, version=2, tokenizer=make_tokenizer(vocabulary).to_str())
    transport = FakeTransport(old, old, new)
    client = connect(transport)
    assert client.embed("wang").tolist() == [4, 3]
    assert client.embed("wang").tolist() == [len(vocabulary) - 5, 3]
    assert transport.signatures == [BUNDLE_INFO, "length_4", "length_4", BUNDLE_INFO, "length_4"]
    client.embed("wang")
    assert transport.signatures[5:] == ["length_4"]


def test_new_labels() -> None:
    """Labels are those in the manifest of the version that answered."""
    old = Model()
    new = Model(make_manifest(labels=("O", "B-ORG", "I-ORG", "B-GPE", "I-GPE")), version=2)
    client = connect(FakeTransport(old, old, new))
    assert [client.entities("wang")[0].label for _ in range(2)] == ["PER", "ORG"]


def test_new_task() -> None:
    """If a new version finds nested entities, `entities` answers with its task's decoder, and back."""
    tagger, spans = Model(), Model(make_manifest("span-classification"), version=2)
    client = connect(FakeTransport(tagger, tagger, spans))
    assert [[entity.label for entity in client.entities("in berlin")] for _ in range(3)] == [
        ["LOC"],
        ["PLACE", "LOC"],
        ["PLACE", "LOC"],
    ]
    back = connect(FakeTransport(replace(spans, version=1), replace(spans, version=1), replace(tagger, version=2)))
    assert [[entity.label for entity in back.entities("in berlin")] for _ in range(2)] == [["PLACE", "LOC"], ["LOC"]]


def test_versions_are_never_mixed() -> None:
    """If the version changes within a batch, the results of the previous version are dropped."""
    old = Model(make_manifest("feature-extraction"))
    new = replace(
        old,
        version=2,
        overrides={"sentence_embedding": lambda arrays: np.full((len(arrays["input_ids"]), 2), 7, np.float32)},
    )
    transport = FakeTransport(old, old, new)  # for bundle_info, the short texts and the long text
    vectors = connect(transport).embed(["a", "a b c", "b"])
    assert transport.signatures == [BUNDLE_INFO, "length_4", "length_8", BUNDLE_INFO, "length_4", "length_8"]
    assert vectors.tolist() == [[7, 7]] * 3


def test_removed_signature() -> None:
    """If the new version lacks the requested signature, its manifest is requested and another signature used."""
    old = Model()
    new = Model(make_manifest(signatures={"serving_default": 12}), version=2)
    transport = FakeTransport(old, new)
    client = connect(transport)
    assert client.manifest().signatures["length_4"] == 4
    assert [entity.text for entity in client.entities("wang")] == ["wang"]
    assert transport.signatures == [BUNDLE_INFO, "length_4", BUNDLE_INFO, "serving_default"]


def test_larger_maximum_length() -> None:
    """If a text is too long for the loaded version, the client checks whether a new version accepts it."""
    long_text = "wang lives in a b c"
    old = Model(make_manifest(max_length=4, signatures={"serving_default": 4}))
    client = connect(FakeTransport(old, old, Model(version=2)))
    assert client.entities("wang")
    assert [entity.text for entity in client.entities(long_text, truncation="error")] == ["wang"]
    assert client.manifest().max_length == 12


def test_rejected_by_the_same_version() -> None:
    """If the version has not changed, the server's error is raised."""

    def reject(_: Any) -> Any:
        raise InvalidRequest("tensor parsing error", code="INVALID_ARGUMENT", details="tensor parsing error")

    transport = FakeTransport(Model(overrides={"label_ids": reject}))
    with pytest.raises(InvalidRequest, match="tensor parsing error"):
        connect(transport).entities("wang")
    assert transport.signatures == [BUNDLE_INFO, "length_4", BUNDLE_INFO]


def test_different_version_in_each_response() -> None:
    """If each response comes from a different version, an error is raised after a limited number of calls."""
    transport = FakeTransport(*(Model(version=version) for version in range(40)))
    with pytest.raises(
        ServerError, match=r"the servers of model 'tiny' answer with different versions.*in 3 attempts no version"
    ):
        connect(transport).entities("wang")
    assert len(transport.calls) < 30


# ---- replicas of different versions


class Replicas(FakeTransport):
    """A transport to replicas that take turns; see `embedding_model`."""

    def __init__(self, *versions: int) -> None:
        super().__init__(*(embedding_model(version) for version in versions))
        self._turns_lock = threading.Lock()

    def deploy(self, *versions: int) -> None:
        """Replace the replicas."""
        self.models[:] = [embedding_model(version) for version in versions]

    def predict(self, call: PredictCall, **options: Any) -> Prediction:
        """See `Transport.predict`."""
        with self._turns_lock:
            self.models.append(self.models.pop(0))
            return FakeTransport(self.models[-1]).predict(call, **options)


def embedding_model(version: int) -> Model:
    """Return a version of a model whose embedding is its version and the first word's id."""

    def embedding(arrays: Any) -> Any:
        first = arrays["input_ids"][:, 1]
        return np.stack([np.full(len(first), version), first], axis=1).astype(np.float32)

    manifest = make_manifest("feature-extraction")
    return Model(manifest, version=version, overrides={"sentence_embedding": embedding})


MIXES = [
    pytest.param((1, 2), id="half"),
    pytest.param((1, 2, 1), id="a-third"),
    pytest.param((1, 1, 1, 1, 2), id="a-fifth"),
    pytest.param((2, 2, 2, 2, 1), id="four-fifths"),
]


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_rolling_update(mix: tuple[int, ...], count: int) -> None:
    """While replicas have two versions, each batch has the results of one; after the update, those of the new one."""
    transport = Replicas(1)
    client = connect(transport, retries=NO_RETRIES, rows_per_call=1, concurrency=4)
    words = ["wang", "lives", "today", "a"]
    texts = [words[index % len(words)] for index in range(count)]

    def versions() -> list[float]:
        rows = client.embed(texts)
        assert [WORDS[int(row[1])] for row in rows] == texts
        return list({float(row[0]) for row in rows})

    assert versions() == [1]
    transport.deploy(*mix)
    assert all(len(versions()) == 1 for _ in range(20))
    transport.deploy(2)
    assert [versions() for _ in range(3)] == [[2]] * 3


def test_rollback() -> None:
    """When an older version replaces the loaded one, the client uses the older version."""
    transport = Replicas(2)
    client = connect(transport)
    assert client.embed("wang")[0] == 2
    transport.deploy(1)
    assert client.embed(["wang", "a b c"])[:, 0].tolist() == [1, 1]


def test_newer_version_is_preferred() -> None:
    """Of two versions that answer equally often, the newer one is used, and kept while the older one still answers."""
    transport = Replicas(1)
    client = connect(transport, retries=NO_RETRIES, rows_per_call=1, concurrency=4)
    client.manifest()
    transport.deploy(1, 2)
    assert [client.embed(["wang"] * 8)[0, 0] for _ in range(5)] == [2] * 5


# ---- arguments that do not fit the model


@pytest.mark.parametrize(
    ("task", "method", "advice"),
    [
        pytest.param("token-classification", "classify", r"use entities\(\)", id="classify-ner"),
        pytest.param("token-classification", "embed", r"use entities\(\)", id="embed-ner"),
        pytest.param("text-classification", "entities", r"use classify\(\)", id="entities-classifier"),
        pytest.param("feature-extraction", "entities", r"use embed\(\)", id="entities-embedder"),
        pytest.param("question-answering", "embed", r"use answer\(\)", id="embed-reader"),
        pytest.param("summarization", "embed", "upgrade bertbundle", id="unknown-task"),
    ],
)
def test_wrong_task(task: str, method: str, advice: str) -> None:
    """A method for another task than the model's raises an error that names the right method, and sends no text."""
    transport = FakeTransport(Model(make_manifest(task)))
    with pytest.raises(InputError, match=f"model 'tiny' is for {task}.*{advice}"):
        getattr(connect(transport), method)("wang")
    assert transport.signatures == [BUNDLE_INFO]


@pytest.mark.parametrize("method", ["entities", "classify", "embed"])
def test_empty_list(method: str) -> None:
    """An empty list raises an error before any request."""
    transport = FakeTransport()
    with pytest.raises(InputError, match=r"the batch is empty\. Pass at least one text"):
        getattr(connect(transport), method)([])
    assert transport.calls == []


@pytest.mark.parametrize("in_list", [pytest.param(False, id="alone"), pytest.param(True, id="in-list")])
@pytest.mark.parametrize(
    ("task", "method"),
    [
        pytest.param("token-classification", "entities", id="entities"),
        pytest.param("feature-extraction", "embed", id="embed"),
        pytest.param("fill-mask", "fill_mask", id="fill_mask"),
    ],
)
def test_pair_where_a_text_is_expected(task: str, method: str, in_list: bool) -> None:
    """A pair raises a TypeError if the task takes single texts, before any request."""
    pair: Any = ("wang", "berlin")
    transport = FakeTransport(Model(make_manifest(task)))
    with pytest.raises(TypeError, match=rf"{method}\(\) takes a text or a list or an iterator of texts, got a pair"):
        getattr(connect(transport), method)([pair] if in_list else pair)
    assert transport.calls == []


# ---- which head of a model answers


TWO_TAGGERS = {"slots": HEADS["slots"], "names": HEADS["slots"], "intent": HEADS["intent"]}


@pytest.mark.parametrize(
    ("heads", "method", "options", "message"),
    [
        pytest.param({}, "entities", {"head": "slots"}, "has one head, for token-classification: omit head", id="one"),
        pytest.param(
            HEADS,
            "entities",
            {"head": "tags"},
            r"has no head 'tags', its heads are intent \(text-classification\), slots \(token-classification\)",
            id="unknown",
        ),
        pytest.param(
            HEADS,
            "entities",
            {"head": "intent"},
            r"has the head 'intent' for text-classification, entities\(\) needs .*: use classify\(\)",
            id="other-task",
        ),
        pytest.param(HEADS, "regress", {}, r"is for multi-task, with the heads intent .* use heads\(\)", id="no-head"),
        pytest.param(TWO_TAGGERS, "entities", {}, r"choose one with head='slots', or call heads\(\)", id="several"),
        pytest.param(HEADS, "entities", {"head": ["slots"]}, r"has no head \['slots'\], its heads are", id="list"),
        pytest.param({}, "heads", {}, r"heads\(\) needs a model for multi-task: use entities\(\)", id="heads"),
        pytest.param(
            {**HEADS, "new": Head("summarization")}, "heads", {}, "a head for summarization: upgrade", id="future"
        ),
    ],
)
def test_no_head_or_several(heads: dict[str, Head], method: str, options: dict[str, Any], message: str) -> None:
    """If it is unclear which head answers, the error names the heads and says what to do."""
    manifest = make_manifest("multi-task" if heads else "token-classification", heads=heads)
    client = connect(FakeTransport(Model(manifest)))
    with pytest.raises(InputError, match=message):
        getattr(client, method)("wang", **options)


def test_new_heads() -> None:
    """A head that a new version has is found: the manifest is requested again before the call is refused."""
    transport = FakeTransport(Model(), Model(make_manifest("multi-task"), version=2))
    client = connect(transport)
    assert client.manifest().heads == {}
    assert [entity.text for entity in client.entities("wang", head="slots")] == ["wang"]
    assert transport.signatures == [BUNDLE_INFO, BUNDLE_INFO, "length_4"]
