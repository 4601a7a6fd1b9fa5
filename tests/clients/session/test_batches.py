"""Texts are grouped into requests by length, and predictions are checked against the requests."""

from __future__ import annotations

import numpy as np
import pytest

from bertbundle import InputError, ManifestError, ServerError
from bertbundle.contract.manifest import BUNDLE_INFO, InputSpec
from bertbundle.decoding.decoders import DECODERS
from bertbundle.session.batches import AskOptions
from fakes import FakeTransport, Model, Output, connect, make_manifest


@pytest.fixture
def transport() -> FakeTransport:
    """A transport to a token classification model."""
    return FakeTransport()


@pytest.fixture
def embedder() -> FakeTransport:
    """A transport to an embedding model."""
    return FakeTransport(Model(make_manifest("feature-extraction")))


# ---- requests


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
    """A text is padded to the shortest signature that fits it with its two special tokens."""
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
def test_requested_outputs(task: str, method: str, outputs: tuple[str, ...]) -> None:
    """Only the outputs that the decoder needs are requested, not the logits."""
    transport = FakeTransport(Model(make_manifest(task)))
    getattr(connect(transport), method)("wang")
    assert transport.calls[-1].outputs == outputs


def test_rows_of_all_texts() -> None:
    """A limit on the rows of a list is for all texts together: texts beyond it are errors, short ones excepted."""
    transport = FakeTransport()
    options = AskOptions(stride=2, keep_errors=True, max_rows=8)
    texts = ["wang " * 40, "wang", "wang " * 25, "in " * 19, "wang"]
    results = connect(transport).ask(DECODERS["token-classification"], texts, options)
    assert [type(result) for result in results] == [list, list, InputError, InputError, list]
    assert sum(len(call.inputs["input_ids"]) for call in transport.calls[1:]) == 7


def test_pad_values() -> None:
    """Each input is padded with its pad value in the manifest."""
    inputs = (InputSpec("input_ids", "int32", 9, 25), InputSpec("attention_mask", "int32", 0, 2))
    transport = FakeTransport(Model(make_manifest(inputs=inputs)))
    connect(transport).entities("wang")
    arrays = {name: array.tolist() for name, array in transport.calls[-1].inputs.items()}
    assert arrays == {"input_ids": [[2, 4, 3, 9]], "attention_mask": [[1, 1, 1, 0]]}


def test_unknown_input() -> None:
    """An input that this version does not know raises ManifestError."""
    manifest = make_manifest(inputs=(InputSpec("position_ids", "int32", 0, 12),))
    with pytest.raises(ManifestError, match=r"unknown input 'position_ids'\. Upgrade bertbundle"):
        connect(FakeTransport(Model(manifest))).entities("wang")


def test_grouped_by_length(embedder: FakeTransport) -> None:
    """Texts of one signature share a request, and results are in the order of the texts."""
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
def test_rows_per_call(embedder: FakeTransport, count: int, sizes: list[int]) -> None:
    """By default a request has at most 32 rows."""
    texts = ["a" if index % 3 else "b" for index in range(count)]
    vectors = connect(embedder).embed(texts)
    assert [len(call.inputs["input_ids"]) for call in embedder.calls[1:]] == sizes
    assert vectors[:, 0].tolist() == [17 if text == "a" else 18 for text in texts]


def test_model_name(transport: FakeTransport) -> None:
    """Each call has the name of the model."""
    connect(transport).entities("wang")
    assert {call.model for call in transport.calls} == {"tiny"}


def test_pairs_and_texts_in_one_list() -> None:
    """A pair is one row with the type ids 0 and 1; a list may contain both pairs and single texts."""
    transport = FakeTransport(Model(make_manifest("text-classification")))
    client = connect(transport)
    assert client.classify(("wang", "in")).label == "perhaps"
    assert transport.calls[-1].inputs["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 0, 0, 0]]
    assert [result.label for result in client.classify([("wang", "in"), "ber"])] == ["perhaps", "perhaps"]


# ---- invalid and long texts


def test_truncation(transport: FakeTransport) -> None:
    """A text that is too long raises an error with "error", and loses its end with "truncate"."""
    client, text = connect(transport), "wang " + "in " * 20
    with pytest.raises(InputError, match="text 0 has 23 tokens, this model takes at most 12"):
        client.entities(text, truncation="error")
    assert [entity.text for entity in client.entities(text, truncation="truncate")] == ["wang"]
    assert transport.calls[-1].inputs["input_ids"][0, -1] == 3


def test_unknown_truncation(transport: FakeTransport) -> None:
    """An unknown truncation raises a ValueError that lists the valid ones."""
    with pytest.raises(ValueError, match="truncation must be 'error', 'truncate' or 'window', got 'cut'"):
        connect(transport).entities("wang", truncation="cut")


@pytest.mark.parametrize(
    "text",
    [pytest.param("", id="empty"), pytest.param(" \n\t\u3000", id="blank"), pytest.param("\u200b\x00", id="dropped")],
)
def test_text_without_content(transport: FakeTransport, text: str) -> None:
    """A text without content raises an error with its index in the list, and no text is sent."""
    with pytest.raises(InputError, match=r"^text 1 .*Leave it out"):
        connect(transport).entities(["wang", text])
    assert transport.signatures == [BUNDLE_INFO]


def test_list_item_of_wrong_type(transport: FakeTransport) -> None:
    """A list item that is not a text raises a TypeError with its index."""
    with pytest.raises(TypeError, match="text 1 must be a str or a pair of str, got bytes"):
        connect(transport).entities(["wang", b"wang"])  # type: ignore[list-item]


# ---- predictions


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param({"label_ids": None}, "nothing for output 'label_ids', expected 1 rows", id="missing"),
        pytest.param({"label_scores": None}, "nothing for output 'label_scores'", id="missing-scores"),
        pytest.param(
            {"label_ids": lambda _: np.zeros((2, 4), np.int32)},
            r"shape \[2, 4\] for output 'label_ids', expected 1",
            id="rows",
        ),
        pytest.param(
            {"label_ids": lambda _: np.zeros((), np.int32)}, r"shape \[\] for output 'label_ids'", id="scalar"
        ),
    ],
)
def test_wrong_number_of_rows(overrides: dict[str, Output | None], message: str) -> None:
    """An output that is missing or has another number of rows than the request raises ServerError."""
    with pytest.raises(ServerError, match=message):
        connect(FakeTransport(Model(overrides=overrides))).entities("wang")
