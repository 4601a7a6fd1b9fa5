"""The results of each task: classifications, values, embeddings and fills."""

from __future__ import annotations

import numpy as np
import pytest

from bertbundle import Client, Fill, InputError, ServerError
from fakes import VOCABULARY, FakeTransport, Model, Output, connect, make_manifest


def make_client(task: str, **overrides: Output) -> Client:
    """Return a client of a model for a task."""
    return connect(FakeTransport(Model(make_manifest(task), overrides=overrides)))


@pytest.mark.parametrize(
    ("multi_label", "labels"),
    [pytest.param(False, ("perhaps",), id="single"), pytest.param(True, ("perhaps", "yes"), id="multi")],
)
def test_classify(multi_label: bool, labels: tuple[str, ...]) -> None:
    """Scores are sorted; the labels of a multi-label model are those with a score of at least 0.5."""
    manifest = make_manifest("text-classification", multi_label=multi_label)
    result = connect(FakeTransport(Model(manifest))).classify("wang")
    assert list(result.scores.items()) == [("perhaps", 0.75), ("yes", 0.5), ("no", 0.25)]
    assert (result.label, result.score, result.labels) == ("perhaps", 0.75, labels)


def test_no_label() -> None:
    """If no score of a multi-label model reaches 0.5, there are no labels, but still a best label."""
    manifest = make_manifest("text-classification", multi_label=True)
    model = Model(manifest, overrides={"scores": lambda _: np.array([[0.1, 0.3, 0.2]], np.float32)})
    result = connect(FakeTransport(model)).classify("wang")
    assert result.labels == ()
    assert result.label == "perhaps"


def test_regress() -> None:
    """A text or a pair gives a number, and a list gives the numbers in order."""
    client = make_client("regression")
    wang, lives = VOCABULARY["wang"], VOCABULARY["lives"]
    assert client.regress("wang lives") == wang
    assert client.regress(["lives", ("wang", "in Berlin")]) == [lives, wang]


def test_embeddings_of_half_precision() -> None:
    """Embeddings of a float16 model are converted to float32."""
    client = make_client(
        "feature-extraction", sentence_embedding=lambda arrays: np.ones((len(arrays["input_ids"]), 2), np.float16)
    )
    assert client.embed(["wang", "in"]).dtype == np.float32


def test_fill_mask() -> None:
    """Each mask gets the model's tokens, best first, with the text that results."""
    client = make_client("fill-mask")
    text = "[MASK] lives in [MASK]."
    first, second = client.fill_mask(text)
    assert first == [
        Fill("wang", VOCABULARY["wang"], "wang lives in [MASK].", 0, 6, 0.75),
        Fill("lives", VOCABULARY["lives"], "lives lives in [MASK].", 0, 6, 0.25),
    ]
    assert [fill.text for fill in second] == ["[MASK] lives in wang.", "[MASK] lives in lives."]
    assert client.fill_mask(["wang lives", text]) == [[], [first, second]]
    with pytest.raises(InputError, match=r"top_k is 3, but the model returns only the best 2 .*--top-k"):
        client.fill_mask(text, top_k=3)


@pytest.mark.parametrize(
    ("task", "method", "overrides"),
    [
        pytest.param("text-classification", "classify", {"scores": lambda _: np.zeros((1, 2))}, id="scores"),
        pytest.param("text-classification", "classify", {"scores": lambda _: np.zeros(1)}, id="scores-rank"),
        pytest.param("feature-extraction", "embed", {"sentence_embedding": lambda _: np.zeros(1)}, id="embedding"),
        pytest.param("regression", "regress", {"value": lambda _: np.zeros((1, 2))}, id="value"),
    ],
)
def test_wrong_shape(task: str, method: str, overrides: dict[str, Output]) -> None:
    """An output of the wrong shape raises a ServerError that names the shape."""
    with pytest.raises(ServerError, match=r"the server returned .*\[.*\] per text for"):
        getattr(make_client(task, **overrides), method)("wang")


@pytest.mark.parametrize(
    ("text", "token_ids", "message"),
    [
        pytest.param("a", lambda _: np.zeros((1, 4, 3), int), "expected 2 ids per token", id="top_k"),
        pytest.param("[MASK]", lambda _: np.full((1, 4, 2), 99), "no token with id 99", id="token"),
    ],
)
def test_malformed_token_ids(text: str, token_ids: Output, message: str) -> None:
    """Token ids of the wrong shape, or that are not in the vocabulary, raise an error."""
    with pytest.raises((ServerError, InputError), match=message):
        make_client("fill-mask", token_ids=token_ids).fill_mask(text)
