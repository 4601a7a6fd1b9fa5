"""The client over a transport that records what it is asked."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bertbundle import (
    BertBundleError,
    Client,
    DeadlineExceeded,
    InputError,
    InvalidRequest,
    ManifestError,
    Retries,
    ServerError,
    SignatureNotFound,
    VersionStatus,
)
from bertbundle.contract.manifest import BUNDLE_INFO, InputSpec

if TYPE_CHECKING:
    from fakes import FakeTransport

    Fakes = Any


def connect(transport: Any, **options: Any) -> Client:
    """Return a client of the model ``tiny`` over a transport."""
    return Client("nowhere:1", "tiny", transport=transport, **{"concurrency": 1, **options})


@pytest.fixture
def transport(fakes: Fakes) -> FakeTransport:
    """A transport to a token classification model."""
    served: FakeTransport = fakes.FakeTransport()
    return served


@pytest.fixture
def classifier(fakes: Fakes) -> FakeTransport:
    """A transport to a text classification model."""
    served: FakeTransport = fakes.FakeTransport(fakes.Model(fakes.make_manifest("text-classification")))
    return served


@pytest.fixture
def embedder(fakes: Fakes) -> FakeTransport:
    """A transport to an embedding model."""
    served: FakeTransport = fakes.FakeTransport(fakes.Model(fakes.make_manifest("feature-extraction")))
    return served


# ---- what is asked


def test_nothing_is_sent_before_a_question(transport: FakeTransport) -> None:
    """Making a client makes no call."""
    connect(transport)
    assert transport.calls == []


def test_bundle_info_is_asked_once(transport: FakeTransport) -> None:
    """Manifest and tokenizer are fetched on first use, one row, and then held."""
    client = connect(transport)
    client.entities("wang")
    client.entities("wang")
    assert client.manifest().name == "tiny"
    assert transport.signatures == [BUNDLE_INFO, "length_4", "length_4"]
    info = transport.calls[0]
    assert info.inputs["row"].dtype == np.int32
    assert info.inputs["row"].tolist() == [0]
    assert info.outputs == ("manifest", "tokenizer")


@pytest.mark.parametrize(
    ("text", "signature", "length"),
    [
        pytest.param("a", "length_4", 4, id="shorter"),
        pytest.param("a b", "length_4", 4, id="exactly"),
        pytest.param("a b c", "length_8", 8, id="one-more"),
        pytest.param("a b c " * 3, "serving_default", 12, id="longest"),
    ],
)
def test_shortest_signature(transport: FakeTransport, text: str, signature: str, length: int) -> None:
    """The shortest signature that holds the text and its two special tokens is asked, padded to its length."""
    connect(transport).entities(text)
    call = transport.calls[-1]
    assert call.signature == signature
    assert {name: (array.shape, array.dtype) for name, array in call.inputs.items()} == {
        name: ((1, length), np.dtype(np.int32)) for name in ("input_ids", "attention_mask", "token_type_ids")
    }


@pytest.mark.parametrize(
    ("task", "method", "outputs"),
    [
        pytest.param("token-classification", "entities", ("label_ids", "label_scores"), id="entities"),
        pytest.param("text-classification", "classify", ("scores",), id="classify"),
        pytest.param("feature-extraction", "embed", ("sentence_embedding",), id="embed"),
    ],
)
def test_only_small_outputs_are_asked(fakes: Fakes, task: str, method: str, outputs: tuple[str, ...]) -> None:
    """The output filter names what the answer needs, never the logits."""
    transport = fakes.FakeTransport(fakes.Model(fakes.make_manifest(task)))
    getattr(connect(transport), method)("wang")
    assert transport.calls[-1].outputs == outputs


def test_pad_values_are_the_models(fakes: Fakes) -> None:
    """Rows are filled with the manifest's pad value of each input."""
    inputs = (InputSpec("input_ids", "int32", 9, 25), InputSpec("attention_mask", "int32", 0, 2))
    transport = fakes.FakeTransport(fakes.Model(fakes.make_manifest(inputs=inputs)))
    connect(transport).entities("wang")
    arrays = {name: array.tolist() for name, array in transport.calls[-1].inputs.items()}
    assert arrays == {"input_ids": [[2, 4, 3, 9]], "attention_mask": [[1, 1, 1, 0]]}


def test_an_unknown_input_is_an_error(fakes: Fakes) -> None:
    """An input this version does not know is never filled with something else."""
    manifest = fakes.make_manifest(inputs=(InputSpec("position_ids", "int32", 0, 12),))
    with pytest.raises(ManifestError, match=r"unknown input 'position_ids'\. Upgrade bertbundle"):
        connect(fakes.FakeTransport(fakes.Model(manifest))).entities("wang")


def test_lengths_are_grouped_and_order_is_kept(embedder: FakeTransport) -> None:
    """Texts of one signature travel together; answers come back in the order of the texts."""
    texts = ["a", "a b c", "b", "in in in", "c"]
    vectors = connect(embedder).embed(texts)
    assert embedder.signatures[1:] == ["length_4", "length_8"]
    assert [len(call.inputs["input_ids"]) for call in embedder.calls[1:]] == [3, 2]
    assert vectors.tolist() == [[17, 3], [17, 5], [18, 3], [6, 5], [19, 3]]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        pytest.param(32, [32], id="32"),
        pytest.param(33, [32, 1], id="33"),
        pytest.param(70, [32, 32, 6], id="70"),
    ],
)
def test_large_batches_are_split(embedder: FakeTransport, count: int, sizes: list[int]) -> None:
    """No call has more than 32 rows."""
    texts = ["a" if index % 3 else "b" for index in range(count)]
    vectors = connect(embedder).embed(texts)
    assert [len(call.inputs["input_ids"]) for call in embedder.calls[1:]] == sizes
    assert vectors[:, 0].tolist() == [17 if text == "a" else 18 for text in texts]


def test_the_model_name_is_sent(transport: FakeTransport) -> None:
    """Every call names the client's model."""
    connect(transport).entities("wang")
    assert {call.model for call in transport.calls} == {"tiny"}


# ---- what is answered


def test_entities(transport: FakeTransport) -> None:
    """Entities have label, text, offsets into the text as given, and the mean score of their tokens."""
    (person, place) = connect(transport).entities(" Wang lives in  BERLIN.")
    assert (person.label, person.text, person.start, person.end) == ("PER", "Wang", 1, 5)
    assert (place.label, place.text, place.start, place.end) == ("LOC", "BERLIN", 16, 22)
    assert person.score == pytest.approx(0.54)
    assert place.score == pytest.approx((0.57 + 0.58) / 2)


def test_a_text_gives_a_result_and_a_list_gives_a_list(transport: FakeTransport) -> None:
    """One text is answered with one result, a list of one with a list of one."""
    client = connect(transport)
    assert [client.entities("王建国")] == client.entities(["王建国"])
    assert [entity.text for entity in client.entities("王建国")] == ["王建国"]


@pytest.mark.parametrize(
    ("multi_label", "labels"),
    [pytest.param(False, ("perhaps",), id="single"), pytest.param(True, ("perhaps", "yes"), id="multi")],
)
def test_classify(fakes: Fakes, multi_label: bool, labels: tuple[str, ...]) -> None:
    """Scores come best first; with independent classes all of at least 0.5 hold."""
    manifest = fakes.make_manifest("text-classification", multi_label=multi_label)
    result = connect(fakes.FakeTransport(fakes.Model(manifest))).classify("wang")
    assert list(result.scores.items()) == [("perhaps", 0.75), ("yes", 0.5), ("no", 0.25)]
    assert (result.label, result.score, result.labels) == ("perhaps", 0.75, labels)


def test_no_label_may_hold(fakes: Fakes) -> None:
    """Of independent classes none may reach 0.5; the best is named all the same."""
    manifest = fakes.make_manifest("text-classification", multi_label=True)
    low = fakes.Model(manifest, change={"scores": lambda _: np.array([[0.1, 0.3, 0.2]], np.float32)})
    result = connect(fakes.FakeTransport(low)).classify("wang")
    assert result.labels == ()
    assert result.label == "perhaps"


def test_pairs(classifier: FakeTransport) -> None:
    """A tuple is a pair: one row with type ids 0 and 1; a list may mix pairs and texts."""
    client = connect(classifier)
    assert client.classify(("wang", "in")).label == "perhaps"
    assert classifier.calls[-1].inputs["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 0, 0, 0]]
    assert [result.label for result in client.classify([("wang", "in"), "ber"])] == ["perhaps", "perhaps"]


def test_embed(embedder: FakeTransport) -> None:
    """One text gives a float32 vector, a list a float32 matrix with a row per text."""
    client = connect(embedder)
    one, many = client.embed("wang"), client.embed(["wang"])
    assert one.dtype == many.dtype == np.float32
    assert (one.tolist(), many.tolist()) == ([4, 3], [[4, 3]])


def test_embeddings_are_float32_from_half_precision(fakes: Fakes) -> None:
    """A model that answers in half precision is widened, as the docstring promises float32."""
    half = fakes.Model(
        fakes.make_manifest("feature-extraction"),
        change={"sentence_embedding": lambda arrays: np.ones((len(arrays["input_ids"]), 2), np.float16)},
    )
    assert connect(fakes.FakeTransport(half)).embed(["wang", "in"]).dtype == np.float32


def test_status(transport: FakeTransport) -> None:
    """The states of the versions are the transport's."""
    assert connect(transport).status() == [VersionStatus(1, "AVAILABLE", "OK", "")]


def test_truncation(transport: FakeTransport) -> None:
    """A text that is too long is an error, or cut when the caller says so."""
    client, text = connect(transport), "wang " + "in " * 20
    with pytest.raises(InputError, match="text 0 has 23 tokens, this model takes at most 12"):
        client.entities(text, truncation="error")
    assert [entity.text for entity in client.entities(text, truncation="truncate")] == ["wang"]
    assert transport.calls[-1].inputs["input_ids"][0, -1] == 3


# ---- another version


def test_another_version_refreshes(fakes: Fakes) -> None:
    """When another version answers, its manifest and tokenizer are fetched and the texts are asked again."""
    words = {word: len(fakes.WORDS) - 1 - index for index, word in enumerate(fakes.WORDS)}
    old = fakes.Model(fakes.make_manifest("feature-extraction"))
    new = replace(old, version=2, tokenizer=fakes.make_tokenizer(words).to_str())
    transport = fakes.FakeTransport(old, old, new)
    client = connect(transport)
    assert client.embed("wang").tolist() == [4, 3]
    assert client.embed("wang").tolist() == [len(words) - 5, 3]
    assert transport.signatures == [BUNDLE_INFO, "length_4", "length_4", BUNDLE_INFO, "length_4"]
    client.embed("wang")
    assert transport.signatures[5:] == ["length_4"]


def test_labels_follow_the_version(fakes: Fakes) -> None:
    """Labels are read with the manifest of the version that answered."""
    old = fakes.Model()
    new = fakes.Model(fakes.make_manifest(labels=("O", "B-ORG", "I-ORG", "B-GPE", "I-GPE")), version=2)
    client = connect(fakes.FakeTransport(old, old, new))
    assert [client.entities("wang")[0].label for _ in range(2)] == ["PER", "ORG"]


def test_versions_are_never_mixed(fakes: Fakes) -> None:
    """A change in the middle of a batch throws away what the version before has answered."""
    old = fakes.Model(fakes.make_manifest("feature-extraction"))
    new = replace(
        old,
        version=2,
        change={"sentence_embedding": lambda arrays: np.full((len(arrays["input_ids"]), 2), 7, np.float32)},
    )
    transport = fakes.FakeTransport(old, old, new)  # bundle_info, the short texts, the long ones
    vectors = connect(transport).embed(["a", "a b c", "b"])
    assert transport.signatures == [BUNDLE_INFO, "length_4", "length_8", BUNDLE_INFO, "length_4", "length_8"]
    assert vectors.tolist() == [[7, 7]] * 3


def test_a_signature_that_is_gone_refreshes(fakes: Fakes) -> None:
    """A new version without a signature that is held does not lock the client out."""
    old = fakes.Model()
    new = fakes.Model(fakes.make_manifest(signatures={"serving_default": 12}), version=2)
    transport = fakes.FakeTransport(old, new)
    client = connect(transport)
    assert client.manifest().signatures["length_4"] == 4
    assert [entity.text for entity in client.entities("wang")] == ["wang"]
    assert transport.signatures == [BUNDLE_INFO, "length_4", BUNDLE_INFO, "serving_default"]


def test_a_refusal_by_the_same_version_is_raised(fakes: Fakes) -> None:
    """A refusal that no other version explains reaches the caller as it is."""

    def refuse(_: Any) -> Any:
        raise InvalidRequest("tensor parsing error", code="INVALID_ARGUMENT", details="tensor parsing error")

    transport = fakes.FakeTransport(fakes.Model(change={"label_ids": refuse}))
    with pytest.raises(InvalidRequest, match="tensor parsing error"):
        connect(transport).entities("wang")
    assert transport.signatures == [BUNDLE_INFO, "length_4", BUNDLE_INFO]


def test_not_a_bundle(fakes: Fakes) -> None:
    """A model without bundle_info is the server's own error, asked once."""

    def missing(_: Any) -> Any:
        raise SignatureNotFound('Serving signature key "bundle_info" not found.', code="FAILED_PRECONDITION")

    transport = fakes.FakeTransport(fakes.Model(change={"manifest": missing}))
    with pytest.raises(SignatureNotFound, match="bundle_info"):
        connect(transport).entities("wang")
    assert len(transport.calls) == 1


def test_versions_that_never_settle(fakes: Fakes) -> None:
    """Where each answer comes from yet another version the client gives up within a bounded number of calls."""
    transport = fakes.FakeTransport(*(replace(fakes.Model(), version=version) for version in range(40)))
    with pytest.raises(
        ServerError, match=r"the servers of model 'tiny' answer with different versions.*in 3 attempts no version"
    ):
        connect(transport).entities("wang")
    assert len(transport.calls) < 30


def replicas(fakes: Fakes, *versions: int) -> Any:
    """Return a transport to replicas that answer in turn, see `embedding_model`."""

    class Replicas(fakes.FakeTransport):  # type: ignore[misc]
        def predict(self, *arguments: Any, **options: Any) -> Any:
            with self.turn:
                self.served.append(self.served.pop(0))
                return fakes.FakeTransport(self.served[-1]).predict(*arguments, **options)

    transport = Replicas(*(embedding_model(fakes, version) for version in versions))
    transport.turn = threading.Lock()
    return transport


def embedding_model(fakes: Fakes, version: int) -> Any:
    """Return a version of a model whose embedding is its version and the first word's id."""

    def embedding(arrays: Any) -> Any:
        first = arrays["input_ids"][:, 1]
        return np.stack([np.full(len(first), version), first], axis=1).astype(np.float32)

    manifest = fakes.make_manifest("feature-extraction")
    return fakes.Model(manifest, version=version, change={"sentence_embedding": embedding})


MIXES = [
    pytest.param((1, 2), id="half"),
    pytest.param((1, 2, 1), id="a-third"),
    pytest.param((1, 1, 1, 1, 2), id="a-fifth"),
    pytest.param((2, 2, 2, 2, 1), id="four-fifths"),
]


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_rolling_update(fakes: Fakes, mix: tuple[int, ...], count: int) -> None:
    """Behind replicas of two versions each batch is answered, whole by one of them, and at last by the new one."""
    transport = replicas(fakes, 1)
    client = Client("", "tiny", transport=transport, retries=Retries(attempts=1), rows_per_call=1)
    words = ["wang", "lives", "today", "a"]
    texts = [words[index % len(words)] for index in range(count)]

    def versions() -> list[float]:
        rows = client.embed(texts)
        assert [fakes.WORDS[int(row[1])] for row in rows] == texts
        return list({float(row[0]) for row in rows})

    assert versions() == [1]
    transport.served[:] = replicas(fakes, *mix).served
    assert all(len(versions()) == 1 for _ in range(20))
    transport.served[:] = replicas(fakes, 2).served
    assert [versions() for _ in range(3)] == [[2]] * 3


def test_rolling_back(fakes: Fakes) -> None:
    """When an older version takes the place of the one held, the client follows."""
    transport = replicas(fakes, 2)
    client = connect(transport)
    assert client.embed("wang")[0] == 2
    transport.served[:] = replicas(fakes, 1).served
    assert client.embed(["wang", "a b c"])[:, 0].tolist() == [1, 1]


def test_the_newer_of_two_versions(fakes: Fakes) -> None:
    """Of two versions that answer as often the newer is taken, and kept while the older still answers."""
    transport = replicas(fakes, 1)
    client = Client("", "tiny", transport=transport, retries=Retries(attempts=1), rows_per_call=1)
    client.manifest()
    transport.served[:] = replicas(fakes, 1, 2).served
    assert [client.embed(["wang"] * 8)[0, 0] for _ in range(5)] == [2] * 5


# ---- what was given wrong


@pytest.mark.parametrize(
    ("served", "method", "advice"),
    [
        pytest.param("token-classification", "classify", r"use entities\(\)", id="classify-ner"),
        pytest.param("token-classification", "embed", r"use entities\(\)", id="embed-ner"),
        pytest.param("text-classification", "entities", r"use classify\(\)", id="entities-classifier"),
        pytest.param("feature-extraction", "entities", r"use embed\(\)", id="entities-embedder"),
        pytest.param("summarization", "embed", "upgrade bertbundle", id="task-of-the-future"),
    ],
)
def test_wrong_task(fakes: Fakes, served: str, method: str, advice: str) -> None:
    """A question the model cannot answer names the method that it can, and is not sent."""
    transport = fakes.FakeTransport(fakes.Model(fakes.make_manifest(served)))
    with pytest.raises(InputError, match=f"model 'tiny' does {served}.*{advice}"):
        getattr(connect(transport), method)("wang")
    assert transport.signatures == [BUNDLE_INFO]


@pytest.mark.parametrize("method", ["entities", "classify", "embed"])
def test_empty_list(transport: FakeTransport, method: str) -> None:
    """A batch of none is an error before anything is sent."""
    with pytest.raises(InputError, match=r"the batch is empty\. Give at least one text"):
        getattr(connect(transport), method)([])
    assert transport.calls == []


@pytest.mark.parametrize(
    "text",
    [pytest.param("", id="empty"), pytest.param(" \n\t\u3000", id="blank"), pytest.param("\u200b\x00", id="dropped")],
)
def test_text_without_content(transport: FakeTransport, text: str) -> None:
    """A text with nothing in it is an error that names its place in the list, and no part of the list is sent."""
    with pytest.raises(InputError, match=r"^text 1 .*Leave it out"):
        connect(transport).entities(["wang", text])
    assert transport.signatures == [BUNDLE_INFO]


@pytest.mark.parametrize(
    "texts", [pytest.param(b"wang", id="bytes"), pytest.param(7, id="int"), pytest.param(None, id="none")]
)
def test_texts_of_another_type(transport: FakeTransport, texts: Any) -> None:
    """What is neither a text nor a list is a TypeError."""
    with pytest.raises(
        TypeError, match=f"texts must be a str, a list or an iterator of str, got {type(texts).__name__}"
    ):
        connect(transport).entities(texts)


def test_a_list_with_another_type(transport: FakeTransport) -> None:
    """An item of a list that is no text is a TypeError that names its place."""
    with pytest.raises(TypeError, match="text 1 must be a str or a pair of str, got bytes"):
        connect(transport).entities(["wang", b"wang"])  # type: ignore[list-item]


@pytest.mark.parametrize("batch", [pytest.param(False, id="alone"), pytest.param(True, id="in-list")])
@pytest.mark.parametrize(
    ("task", "method"),
    [
        pytest.param("token-classification", "entities", id="entities"),
        pytest.param("feature-extraction", "embed", id="embed"),
    ],
)
def test_a_tuple_where_no_pair_is_taken(fakes: Fakes, task: str, method: str, batch: bool) -> None:
    """A tuple meant as a batch is not silently read as one pair."""
    pair: Any = ("wang", "berlin")
    transport = fakes.FakeTransport(fakes.Model(fakes.make_manifest(task)))
    with pytest.raises(TypeError, match=rf"{method}\(\) takes a text or a list or an iterator of texts, got a pair"):
        getattr(connect(transport), method)([pair] if batch else pair)
    assert transport.calls == []


def test_unknown_truncation(transport: FakeTransport) -> None:
    """An unknown option is a ValueError that lists the known ones."""
    with pytest.raises(ValueError, match="truncation must be 'error', 'truncate' or 'window', got 'cut'"):
        connect(transport).entities("wang", truncation="cut")


@pytest.mark.parametrize(
    "timeout", [pytest.param(value, id=str(value)) for value in (0, -1.0, float("nan"), float("inf"))]
)
def test_timeout_must_be_positive(transport: FakeTransport, timeout: float) -> None:
    """A timeout that is not a positive number of seconds is refused."""
    with pytest.raises(ValueError, match="timeout must be a positive number of seconds"):
        connect(transport, timeout=timeout)


# ---- what the server answered wrong


def _rows(shape: tuple[int, ...], dtype: Any = np.int32, value: int = 0) -> Any:
    return lambda _: np.full(shape, value, dtype)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"label_ids": None}, "nothing for output 'label_ids', expected 1 rows", id="missing"),
        pytest.param({"label_scores": None}, "nothing for output 'label_scores'", id="missing-scores"),
        pytest.param({"label_ids": _rows((2, 4))}, r"shape \[2, 4\] for output 'label_ids', expected 1", id="rows"),
        pytest.param({"label_ids": _rows(())}, r"shape \[\] for output 'label_ids'", id="scalar"),
        pytest.param({"label_ids": _rows((1, 4), value=5)}, r"label_ids outside \[0, 5\)", id="label-too-high"),
        pytest.param({"label_ids": _rows((1, 4), value=-1)}, r"label_ids outside \[0, 5\)", id="label-negative"),
        pytest.param({"label_ids": _rows((1, 2))}, "rows of .* for label_ids and label_scores of 3", id="too-short"),
        pytest.param({"label_ids": _rows((1, 4, 5))}, "rows of .* for label_ids and label_scores of 3", id="rank"),
        pytest.param({"manifest": _rows((1,))}, "int32 for output 'manifest', expected a string", id="manifest"),
    ],
)
def test_malformed_answers(fakes: Fakes, change: dict[str, Any], message: str) -> None:
    """An answer that does not fit the manifest is a ServerError, never a wrong result."""
    with pytest.raises(ServerError, match=message):
        connect(fakes.FakeTransport(fakes.Model(change=change))).entities("wang")


@pytest.mark.parametrize(
    ("task", "method", "change"),
    [
        pytest.param("text-classification", "classify", {"scores": _rows((1, 2), np.float32)}, id="scores"),
        pytest.param("text-classification", "classify", {"scores": _rows((1,), np.float32)}, id="scores-rank"),
        pytest.param("feature-extraction", "embed", {"sentence_embedding": _rows((1,), np.float32)}, id="embedding"),
    ],
)
def test_answers_of_another_shape(fakes: Fakes, task: str, method: str, change: dict[str, Any]) -> None:
    """An answer of another shape than the task's is a ServerError that names it."""
    transport = fakes.FakeTransport(fakes.Model(fakes.make_manifest(task), change=change))
    with pytest.raises(ServerError, match=r"the server answered .*\[.*\] per text for"):
        getattr(connect(transport), method)("wang")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"manifest": lambda _: np.array([b"{"], object)}, id="manifest-cut"),
        pytest.param({"manifest": lambda _: np.array([b"\xff"], object)}, id="manifest-not-utf8"),
        pytest.param({"tokenizer": lambda _: np.array([b"{}"], object)}, id="tokenizer-empty"),
        pytest.param({"tokenizer": lambda _: np.array([b"\xff"], object)}, id="tokenizer-not-utf8"),
    ],
)
def test_a_bundle_that_cannot_be_read(fakes: Fakes, change: dict[str, Any]) -> None:
    """A manifest or tokenizer that cannot be read is a ManifestError that says what to do."""
    with pytest.raises(ManifestError, match=r"Export the bundle again\.$"):
        connect(fakes.FakeTransport(fakes.Model(change=change))).entities("wang")


def test_a_label_scheme_of_the_future(fakes: Fakes) -> None:
    """A label scheme this version does not know is a ManifestError that says to upgrade."""
    manifest = fakes.make_manifest(label_scheme="BIOZ")
    with pytest.raises(ManifestError, match=r"unknown label scheme 'BIOZ'.*Upgrade bertbundle"):
        connect(fakes.FakeTransport(fakes.Model(manifest))).entities("wang")


def test_nothing_is_held_of_a_bundle_that_cannot_be_read(fakes: Fakes) -> None:
    """After a failure the next question starts anew."""
    broken = fakes.Model(change={"manifest": lambda _: np.array([b"{"], object)})
    client = connect(fakes.FakeTransport(broken, fakes.Model()))
    with pytest.raises(ManifestError):
        client.entities("wang")
    assert len(client.entities("wang")) == 1


# ---- time and closing


def test_the_timeout_covers_the_whole_call(fakes: Fakes) -> None:
    """Each request gets what is left of the timeout, and none is made when nothing is left."""

    def slow(arrays: Any) -> Any:
        time.sleep(0.2)
        return np.zeros((len(arrays["input_ids"]), 2), np.float32)

    model = fakes.Model(fakes.make_manifest("feature-extraction"), change={"sentence_embedding": slow})
    transport = fakes.FakeTransport(model)
    with pytest.raises(DeadlineExceeded, match=r"no answer within 0.5 s. Raise the timeout") as caught:
        connect(transport, timeout=0.5).embed(["a"] * 32 * 5)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    timeouts = transport.timeouts.copy()
    assert timeouts.pop(0) <= 0.5  # for the manifest, and at once
    assert all(later <= earlier - 0.2 for earlier, later in pairwise(timeouts))
    assert 2 <= len(timeouts) < 5


def test_each_call_has_its_own_timeout(embedder: FakeTransport) -> None:
    """The timeout starts anew with each method call."""
    client = connect(embedder, timeout=5.0)
    client.embed("a")
    time.sleep(0.3)
    client.embed("a")
    assert embedder.timeouts[-1] > 4.7


def test_the_context_manager_closes(transport: FakeTransport) -> None:
    """Leaving the context closes the transport, also after an error."""
    with pytest.raises(BertBundleError), connect(transport) as client:
        client.entities("")
    assert transport.closed
