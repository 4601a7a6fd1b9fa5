"""The results of all heads of a model from one encoding and one call."""

from __future__ import annotations

from typing import Any

import pytest

from bertbundle import Client, Head, InputError, TextTooLong
from bertbundle.contract.manifest import BUNDLE_INFO
from fakes import HEADS, FakeTransport, Model, connect, make_manifest

REQUESTED = ("intent.scores", "slots.label_ids", "slots.label_scores")


def client_of(task: str = "multi-task", **changes: Any) -> Client:
    """Return a client of the small model."""
    return connect(FakeTransport(Model(make_manifest(task, **changes))))


def test_heads_are_decoded_as_by_their_own_methods() -> None:
    """Each head's result equals that of a model with only this head; the server is called once, for all outputs."""
    transport = FakeTransport(Model(make_manifest("multi-task")))
    result = connect(transport).heads("Wang lives in Berlin")
    assert [*result] == ["intent", "slots"]
    assert result["slots"] == client_of("token-classification").entities("Wang lives in Berlin")
    assert result["intent"] == client_of("text-classification").classify("Wang lives in Berlin")
    assert [(call.signature, call.outputs) for call in transport.calls[1:]] == [("length_8", REQUESTED)]
    assert transport.signatures[0] == BUNDLE_INFO


def test_lists_and_iterators() -> None:
    """A list gives a list, and an iterator gives an iterator, in order."""
    client = client_of()
    texts = ["wang", "in Berlin today", "lives"]
    assert client.heads(texts) == [client.heads(text) for text in texts]
    assert list(client.heads(iter(texts))) == client.heads(texts)


def test_one_head_by_its_method() -> None:
    """The method of a task uses the only head for it; `head` names it; only its outputs are requested."""
    transport = FakeTransport(Model(make_manifest("multi-task")))
    client = connect(transport)
    assert (
        client.entities("wang")
        == client.entities("wang", head="slots")
        == client_of("token-classification").entities("wang")
    )
    assert transport.calls[-1].outputs == ("slots.label_ids", "slots.label_scores")
    assert client.classify("wang", top_k=1).scores == {"perhaps": 0.75}
    assert client.classify("wang", head="intent").label == "perhaps"
    assert client.entities(["Wang", "lives"], is_split_into_words=True)[0].text == "Wang"


def test_one_of_two_heads_for_a_task() -> None:
    """Each of two heads for one task has labels of its own."""
    labels = ("O", "B-ORG", "I-ORG", "B-GPE", "I-GPE")
    other = Head("token-classification", labels=labels, label_scheme="BIO", label_decoding="argmax")
    client = client_of(heads={"slots": HEADS["slots"], "names": other})
    assert client.entities("wang", head="slots")[0].label == "PER"
    assert client.entities("wang", head="names")[0].label == "ORG"
    assert {name: found[0].label for name, found in client.heads("wang").items()} == {"slots": "PER", "names": "ORG"}


def test_long_texts() -> None:
    """The strictest default of the heads decides; the windows of a text are merged for each head by its own rule."""
    text = "Wang lives in Berlin today. " * 6
    client = client_of()
    with pytest.raises(TextTooLong):
        client.heads(text)
    result = client.heads(text, truncation="window", stride=2)
    assert result["slots"] == client_of("token-classification").entities(text, stride=2)
    assert result["intent"] == client_of("text-classification").classify(text, truncation="window", stride=2)
    two_taggers = {"slots": HEADS["slots"], "intent": HEADS["slots"]}
    taggers = client_of(heads=two_taggers)
    assert taggers.heads(text)["intent"] == client_of("token-classification").entities(text)


def test_pairs() -> None:
    """Pairs are taken if all heads take pairs, and otherwise by the methods of the heads that do."""
    client = client_of()
    with pytest.raises(TypeError, match=r"heads\(\) takes a text or a list or an iterator of texts, got a pair"):
        client.heads(("wang", "in"))
    assert client.classify(("wang", "in")).label == "perhaps"
    classes = {"intent": HEADS["intent"], "mood": HEADS["intent"]}
    both = client_of(heads=classes).heads(("wang", "in"))
    assert both["intent"] == both["mood"] == client.classify(("wang", "in"))


def test_invalid_text() -> None:
    """An invalid text raises the error of the other methods."""
    with pytest.raises(InputError, match="text 1 is empty"):
        client_of().heads(["wang", " "])
