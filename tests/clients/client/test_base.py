"""The methods that both clients share."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from bertbundle import AsyncClient
from fakes import FakeAsyncTransport, FakeTransport, Model, connect, make_manifest


def test_entities() -> None:
    """Entities have a label, a text, offsets into the original text, and the mean score of their tokens."""
    (person, place) = connect(FakeTransport()).entities(" Wang lives in  BERLIN.")
    assert (person.label, person.text, person.start, person.end) == ("PER", "Wang", 1, 5)
    assert (place.label, place.text, place.start, place.end) == ("LOC", "BERLIN", 16, 22)
    assert person.score == pytest.approx(0.54)
    assert place.score == pytest.approx((0.57 + 0.58) / 2)


def test_text_and_list() -> None:
    """A text gives one result, and a list of one text gives a list of one result."""
    client = connect(FakeTransport())
    assert [client.entities("王建国")] == client.entities(["王建国"])
    assert [entity.text for entity in client.entities("王建国")] == ["王建国"]


def test_embed() -> None:
    """A text gives a float32 vector, and a list gives a float32 matrix with a row for each text."""
    client = connect(FakeTransport(Model(make_manifest("feature-extraction"))))
    vector, matrix = client.embed("wang"), client.embed(["wang"])
    assert vector.dtype == matrix.dtype == np.float32
    assert (vector.tolist(), matrix.tolist()) == ([4, 3], [[4, 3]])


@pytest.mark.parametrize(
    "texts", [pytest.param(b"wang", id="bytes"), pytest.param(7, id="int"), pytest.param(None, id="none")]
)
def test_texts_of_wrong_type(texts: Any) -> None:
    """An argument that is not a text, a list or an iterator raises TypeError."""
    with pytest.raises(
        TypeError, match=f"texts must be a str, a list or an iterator of str, got {type(texts).__name__}"
    ):
        connect(FakeTransport()).entities(texts)


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(connect(FakeTransport()), id="sync"),
        pytest.param(AsyncClient("", "tiny", transport=FakeAsyncTransport()), id="async"),
    ],
)
def test_pickle(client: Any) -> None:
    """Pickling a client, for example for another process, raises a TypeError that says what to do."""
    with pytest.raises(TypeError, match="cannot be pickled: create one in each process"):
        pickle.dumps(client)
